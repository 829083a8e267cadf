"""State that is shared between processes, as in A3C: every process steps it, as with torch."""

import multiprocessing

import pytest
import torch
from harness.torch_cases import apart, backends, gradient, make_state_in_double, parameters

from adam_nbdev import optim

SHAPES = [(3, 4), (5,)]
CASES = {
    "Adam": {"amsgrad": True},
    "NAdam": {},
    "RMSprop": {"momentum": 0.9},
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
}


def steps(params, opt, first, last):
    for step in range(first, last):
        for i, param in enumerate(params):
            param.grad = gradient(param, torch.Generator().manual_seed(10 * step + i))
        opt.step()


def everything(opt):
    for state in opt.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def in_forks(module, name, share, before=2, **options):
    """Some steps, then two processes of three steps each, one after the other, then two steps."""
    params = parameters(shapes=SHAPES)
    for param in params:
        param.share_memory_()
    opt = getattr(module, name)(params, lr=0.1, **options)
    if name == "NAdam" and module is torch.optim:
        make_state_in_double(opt)
    steps(params, opt, 0, before)
    share(opt)
    context = multiprocessing.get_context("fork")
    for number in range(2):
        first = before + 3 * number
        process = context.Process(target=steps, args=(params, opt, first, first + 3))
        process.start()
        process.join()
        assert process.exitcode == 0
    steps(params, opt, before + 6, before + 8)
    return params, opt


def all_of_it(opt):
    for value in everything(opt):
        value.share_memory_()


def but_not_the_count(opt):
    for state in opt.state.values():
        for key, value in state.items():
            if key != "step" and isinstance(value, torch.Tensor):
                value.share_memory_()


def only_the_count(opt):
    for state in opt.state.values():
        if "step" in state:
            state["step"].share_memory_()


forks = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@forks
@pytest.mark.parametrize("share", [all_of_it, but_not_the_count, only_the_count])
@pytest.mark.parametrize("name", CASES)
def test_forks_step_the_shared_state_as_with_torch(name, share):
    ours, theirs = (in_forks(m, name, share, **CASES[name]) for m in (optim, torch.optim))
    assert apart(ours[0], theirs[0]) < 1e-12
    for p, q in zip(ours[0], theirs[0], strict=True):
        one, other = ours[1].state[p], theirs[1].state[q]
        assert one.keys() == other.keys()
        for key, value in other.items():
            assert value is None or apart([one[key]], [value]) < 1e-12


def by_hand(opt):
    """The state is made by hand before the first step, the count as a tensor of one element."""
    for group in opt.param_groups:
        for param in group["params"]:
            zeros = [torch.zeros_like(param).detach().share_memory_() for _ in range(2)]
            state = dict(zip(("exp_avg", "exp_avg_sq"), zeros, strict=True))
            opt.state[param].update(state, step=torch.zeros(1).share_memory_())


@forks
def test_a_state_that_is_made_by_hand_in_shared_memory():
    ours, theirs = (in_forks(m, "Adam", by_hand, before=0) for m in (optim, torch.optim))
    assert apart(ours[0], theirs[0]) < 1e-12
    assert all(ours[1].state[p]["step"].tolist() == [8.0] for p in ours[0])
    assert set(backends(ours[1])) == {"tensors"}
    rows = ours[1].explain_backend()
    assert all("shared with other processes" in row.why for row in rows)


@pytest.mark.parametrize("backend", [None, "tensors"])
def test_shared_state_of_another_dtype_is_written_to_and_not_replaced(backend):
    """A step would make float32 of it, for itself alone."""
    param = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    opt = optim.Adam([param], lr=0.1, backend=backend)
    shared = {key: torch.zeros(4, dtype=torch.bfloat16) for key in ("exp_avg", "exp_avg_sq")}
    shared = {key: value.share_memory_() for key, value in shared.items()}
    opt.state[param].update(shared, step=torch.tensor(0.0))
    for _ in range(3):
        param.grad = torch.ones_like(param)
        opt.step()
    assert all(opt.state[param][key] is value and value.any() for key, value in shared.items())
