"""A rule as calls on lists of tensors: exact, in every format, and no call too many."""

import numpy as np
import pytest
import torch
from harness.cases import distance, gradients, reference
from harness.own_rules import RULES as OWN
from harness.torch_cases import (
    LAYOUTS,
    apart,
    backends,
    launches,
    memory,
    parameters,
    states,
    train,
)

from adam_nbdev import optim
from adam_nbdev.kernels import foreach_printer, lists
from adam_nbdev.kernels.foreach_printer import foreach_source
from adam_nbdev.kernels.lists import Lists, lists_of, portions
from adam_nbdev.language.primitives import ema, sqrt
from adam_nbdev.language.rule import parse
from adam_nbdev.optim import Optimizer
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.rules import RULES

ADAM = RULES["adam"]


def stepped(rule, grads, param=None, most=None, cut=2, **hyperparameters):
    """The parameter after every step, in lists of tensors, and the state at the end."""
    param = torch.zeros_like(grads[0]) if param is None else param
    kernel, history, state = Lists(rule), [], start(rule, param)
    slots = {name: x for name, x in state.items() if isinstance(x, float)}
    elements = (x for x in state.values() if isinstance(x, torch.Tensor))
    arrays = [list(x.clone().split(cut)) for x in (param, param, *elements)]
    for step, grad in enumerate(grads, start=1):
        chosen = parse(rule).hyperparameters(step, hyperparameters)
        row, slots = kernel.scalars({**chosen, **slots, "step": step})
        arrays[1] = list(grad.split(cut))
        kernel.run(row, arrays, most)
        history.append(torch.cat(arrays[0]).clone())
    kept = dict(zip(kernel.lowered.arrays[2:], map(torch.cat, arrays[2:]), strict=True))
    return torch.stack(history), {**kept, **slots}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_lists_are_as_exact_as_their_precision(rule, dtype, bound):
    grads = torch.from_numpy(gradients()).to(dtype)
    found, _ = stepped(rule, grads, most=3)
    assert distance(found.numpy(), reference(rule, grads.numpy())) < bound


@pytest.mark.parametrize("rule", OWN, ids=lambda rule: rule.__name__)
def test_a_rule_as_users_write_them_is_a_step_of_lists_at_once(rule):
    grads = torch.randn(20, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    param = torch.full((7,), 0.25, dtype=torch.float64)
    wanted, state = param.clone(), start(rule, param)
    for step, grad in enumerate(grads, start=1):
        wanted, state = advance(rule, wanted, grad, state, step)
    found, kept = stepped(rule, grads, param, most=4, cut=3)
    assert torch.allclose(found[-1], wanted, rtol=1e-13, atol=0)
    for name, value in state.items():
        assert np.allclose(kept[name], value, rtol=1e-12, atol=1e-300)


#: How many calls of torch each rule takes, whatever the number of tensors.
CALLS = {"gradient_descent": 1, "momentum": 3, "adagrad": 4, "adam": 7, "amsgrad_torch": 8}


@pytest.mark.parametrize("name", CALLS)
def test_no_call_too_many(name):
    text = foreach_source(RULES[name])[1].split("def elements")[1]
    assert text.count("_torch._foreach_") == CALLS[name] and "_lists." not in text


def swapped(param, grad, a, b, step, lr=0.1):
    a, b = b, a + grad
    return param - lr * a, a, b


def twice(param, grad, m, last, step, lr=0.1):
    m = ema(m, grad, 0.9)
    return param - lr * m, m, 1 * m


def before(param, grad, last, step, lr=0.1):
    update = lr * grad * sqrt(last * last + 1)
    return param - update, param


def untouched(param, grad, first, step, lr=0.1):
    first = grad
    return param - lr * first, first


def fixed(param, grad, count, step, lr=0.1):
    count = lr * step
    return param - count * grad, count


@pytest.mark.parametrize("rule", [swapped, twice, before, untouched, fixed])
def test_what_is_stored_in_the_end_is_what_was_computed(rule):
    """Slots that change places, that are equal, that are another array as it was."""
    grads = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = grads.clone()
    param = torch.ones(5, dtype=torch.float64)
    wanted, state = param, start(rule, param)
    for step, grad in enumerate(grads, start=1):
        wanted, state = advance(rule, wanted, grad, state, step)
    found, slots = stepped(rule, grads, param)
    assert torch.allclose(found[-1], wanted, rtol=1e-14)
    assert all(torch.allclose(slots[name], state[name], rtol=1e-14) for name in state)
    assert torch.equal(grads, kept), "gradients are read only"


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_never_written_to(name):
    grads = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    kept = grads.clone()
    stepped(RULES[name], grads)
    assert torch.equal(grads, kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_and_rounded_once(dtype):
    grads = torch.randn(30, 50, generator=torch.Generator().manual_seed(0)).to(dtype)
    param = torch.zeros(50, dtype=dtype)
    wide, state = torch.zeros(50), start(ADAM, torch.zeros(50))
    found, _ = stepped(ADAM, grads[:1])
    wide, _ = advance(ADAM, wide, grads[0].float(), state, 1)
    assert torch.equal(found[0], wide.to(dtype))
    found, _ = stepped(ADAM, grads, param, most=16)
    wide, state = torch.zeros(50), start(ADAM, torch.zeros(50))
    for step, grad in enumerate(grads, start=1):
        wide, state = advance(ADAM, wide, grad.float(), state, step)
        wide = wide.to(dtype).float()
    assert apart([found[-1]], [wide]) < 2 * torch.finfo(dtype).eps


def test_what_single_precision_does_not_hold_is_computed_in_double():
    grads = torch.tensor([[1e-4, 0.0, 3.0]] * 5)
    tiny, _ = stepped(ADAM, grads, eps=1e-50)
    assert tiny[0].tolist() == pytest.approx([-1e-3, 0.0, -1e-3])

    def floor(param, grad, step, lr=0.1):
        return param - lr * grad / (grad * grad + 1e-60)

    assert stepped(floor, torch.tensor([[1e-25, 2.0]]))[0][0].tolist() == pytest.approx(
        [-1e24, -0.05]
    )


def test_a_gradient_whose_square_overflows_single_precision_is_survived():
    found, state = stepped(ADAM, torch.tensor([[2e19], [1.0], [1.0]]))
    assert found.isfinite().all() and state["v"].isfinite().all()
    assert found[0].item() == pytest.approx(-1e-3, rel=1e-5)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_number_that_is_none_stays_in_its_element(rule):
    grads = torch.from_numpy(gradients(10)).float()
    clean, _ = stepped(rule, grads)
    grads[4, 1] = np.nan
    found, _ = stepped(rule, grads)
    assert found[-1, 1].isnan() and torch.equal(found[-1, [0, 2]], clean[-1, [0, 2]])


@pytest.mark.parametrize("most", [1, 4, 7, 100])
def test_portions_are_all_there_is_once_and_none_too_large(most):
    sizes = [(3, 2), (0,), (5,), (), (2, 0), (13,), (1,)]
    one = [torch.randn(size) for size in sizes]
    turned = torch.randn(4, 3).T
    arrays = [[*one, turned], [*map(torch.clone, one), turned.clone()]]
    found = list(portions(arrays, most))
    assert all(sum(x.numel() for x in piece[0]) <= max(most, 1) for piece in found)
    assert all([x.shape for x in a] == [x.shape for x in b] for a, b in found)
    total = sum(x.numel() for piece in found for x in piece[0])
    assert total == sum(x.numel() for x in arrays[0])
    for piece in found:
        for x in piece[0]:
            x += 1
    assert all(torch.equal(a, b + 1) for a, b in zip(*arrays, strict=True))
    assert not list(portions([[torch.ones(0)]], most)) and not list(portions([[]], most))


def test_one_rule_is_printed_once_and_anew_when_it_changes():
    assert lists_of(ADAM) is lists_of(ADAM)
    assert lists_of(ADAM) is not lists_of(RULES["adamw"])


# In the optimizer


def kinds():
    """Parameters of several shapes, formats and layouts; those of one row go together."""
    made = parameters(torch.float32) + parameters(torch.float64, shapes=[(3,), (0,)])
    made += parameters(torch.bfloat16, shapes=[(4, 2)])
    made.append(torch.nn.Parameter(memory(*LAYOUTS["transposed"])))
    return made


def test_parameters_that_go_together_are_told_so():
    params = kinds()
    opt = optim.Adam(params, backend="tensors")
    train(params, opt, 3)
    assert set(backends(opt)) == {"tensors"}
    assert launches(opt) == [[0, 1, 2, 3, 4], [5, 6], [7], [8]]


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RMSprop", "SGD"])
def test_groups_counts_and_slots_are_as_by_the_kernel(name):
    """Groups that differ, parameters passed over, a learning rate that changes."""
    results = []
    for backend in (None, "tensors"):
        params = parameters(shapes=[(300,), (2, 3), (5,), (), (1000,)])
        groups = [{"params": params[:2], "lr": 0.1}, {"params": params[2:], "weight_decay": 0.1}]
        opt = getattr(optim, name)(groups, lr=0.01, backend=backend)
        train(params, opt, 10)
        opt.param_groups[0]["lr"] = 0.2
        train(params, opt, 10, first=10)
        results.append((params, states(opt)))
    (ours, kept), (wanted, others) = results
    assert apart(ours, wanted) < 1e-12 and kept.keys() == others.keys()
    assert all(kept[k] == v for k, v in others.items() if k[1] == "step")
    assert all(torch.allclose(kept[k], v, rtol=1e-10, atol=1e-14) for k, v in others.items())


def test_two_parameters_that_share_memory_are_stepped_one_after_the_other():
    results = []
    for backend in (None, "tensors"):
        base = torch.zeros(6, dtype=torch.float64)
        params = [torch.nn.Parameter(base[:4]), torch.nn.Parameter(base[2:])]
        for i, param in enumerate(params):
            param.grad = torch.full_like(param, 1.0 + i)
        optim.Adam(params, lr=0.1, backend=backend).step()
        results.append(base)
    assert torch.allclose(*results)


def test_an_update_invalidates_what_autograd_has_saved():
    weight = torch.nn.Parameter(torch.ones(3))
    loss = (weight * weight).sum()
    weight.grad = torch.ones(3)
    optim.Adam([weight], backend="tensors").step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_clipping_and_the_guard_are_as_by_the_kernel():
    results = []
    for backend in (None, "tensors"):
        params = parameters(torch.float64)
        opt = optim.Adam(params, lr=0.1, max_norm=0.5, nonfinite="skip", backend=backend)
        train(params, opt, 5)
        params[0].grad.fill_(np.nan)
        opt.step()
        assert opt.skipped == 1
        results.append(params)
    assert apart(*results) < 1e-12


def test_a_rule_of_the_users_own_on_lists():
    def heavy(param, grad, m, step, lr=0.1, decay=0.9):
        m = ema(m, grad, decay)
        return param - lr * m, m

    results = []
    for backend in (None, "tensors"):
        params = parameters()
        opt = Optimizer.from_rule(heavy)(params, backend=backend)
        train(params, opt, 10)
        results.append(params)
    assert apart(*results) < 1e-12


def test_no_list_but_the_one_that_is_needed_is_made():
    """Beside what it steps, Adam needs memory for the root of one piece."""
    from torch.utils._python_dispatch import TorchDispatchMode

    made = []

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **kwargs or {})
            new = not function.overloadpacket.__name__.endswith("_")
            if new and isinstance(found, (list, tuple)):
                made.append(sum(x.numel() for x in found))
            return found

    kernel = lists_of(ADAM)
    arrays = [[torch.ones(10), torch.ones(7)] for _ in range(4)]
    row, _ = kernel.scalars({**parse(ADAM).defaults, "step": 1})
    with Noted():
        kernel.run(row, arrays, most=100)
    assert made == [17]


# Planted faults


def factor_forgotten(patch):
    def product(calls, x, y):
        x, y = (y, x) if isinstance(x, foreach_printer.Node) else (x, y)
        if isinstance(y, foreach_printer.Node):
            return x._replace(factor=y)
        return original(calls, x, y)

    original = foreach_printer._RULES["*"]
    patch.setitem(foreach_printer._RULES, "*", product)


def everything_in_place(patch):
    def places(found):
        place = {}
        for out, call in found.calls.items():
            place[out] = place.get(call.args[0], call.args[0])
        return place

    patch.setattr(foreach_printer, "places", places)


def difference_turned(patch):
    patch.setitem(foreach_printer._RULES, "-", foreach_printer._sum)


def pieces_overlap(patch):
    def flat(tensor):
        return tensor.as_strided((tensor.numel(),), (0,)) if tensor.numel() > 3 else tensor

    patch.setattr(lists, "flat", flat)


@pytest.mark.parametrize(
    "fault", [factor_forgotten, everything_in_place, difference_turned, pieces_overlap]
)
def test_planted_faults_are_seen(fault, monkeypatch):
    grads = torch.from_numpy(gradients())
    names = ("adam", "nadam", "rmsprop_centred", "adagrad")

    def wrong():
        for name in names:
            try:
                found, _ = stepped(RULES[name], grads.repeat(1, 3), most=3, cut=5)
            except RuntimeError:
                return True
            wanted = reference(RULES[name], grads.numpy())
            if not distance(found[:, :3].numpy(), wanted) < 1e-13:
                return True
        return False

    assert not wrong()
    fault(monkeypatch)
    assert wrong()
