"""Tensors of every kind: layouts, views, complex and sparse ones, and memory that moves."""

import collections
import copy

import pytest
import torch
from harness.torch_cases import (
    LAYOUTS,
    NAMES,
    OPTIONS,
    apart,
    backends,
    both,
    gradient,
    launches,
    memory,
    parameters,
    signum,
    train,
)
from torch.overrides import TorchFunctionMode

from adam_nbdev import optim
from adam_nbdev.optim import Optimizer

# Layouts


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("same", [True, False])
def test_strides_of_any_order(layout, same):
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(memory(*LAYOUTS[layout]))
        opt = module.Adam([param], lr=0.1)
        for step in range(10):
            grad = gradient(param, torch.Generator().manual_seed(step)).contiguous()
            param.grad = memory(*LAYOUTS[layout]).copy_(grad) if same else grad
            opt.step()
        results.append([param])
        if module is optim:
            fits = same and layout != "every second"
            assert backends(opt) == ["kernel" if fits else "tensors"]
    assert apart(*results) < 1e-12


def test_a_parameter_that_is_transposed_in_its_memory():
    results = []
    for module in (optim, torch.optim):
        (param,) = parameters(shapes=[(4, 4)])
        opt = module.Adam([param], lr=0.1)
        for step in range(6):
            if step == 3:
                param.data = param.data.t()
            grad = gradient(param, torch.Generator().manual_seed(step)).reshape(16)
            param.grad = grad.clone().reshape(4, 4)
            assert param.grad.is_contiguous()
            opt.step()
        results.append([param])
    assert apart(*results) < 1e-12


@pytest.mark.parametrize("turned", [True, False])
def test_a_gradient_with_other_strides_than_the_one_before(turned):
    results = []
    for module in (optim, torch.optim):
        (param,) = parameters(shapes=[(4, 6)])
        if turned:
            param.data = memory(*LAYOUTS["transposed"])
        opt = module.Adam([param], lr=0.1)
        for step in range(6):
            grad = gradient(param, torch.Generator().manual_seed(step))
            other = torch.zeros(24, dtype=torch.float64).as_strided(
                (4, 6), ((6, 1), (1, 4))[not turned]
            )
            param.grad = other.copy_(grad) if step % 2 else grad
            opt.step()
        results.append([param])
    assert apart(*results) < 1e-12


def test_state_with_other_strides_takes_the_kernel():
    param = torch.nn.Parameter(torch.randn(2, 3, 4, 5))
    turned = torch.nn.Parameter(param.detach().to(memory_format=torch.channels_last))
    opt, other = (optim.Adam([p], state_dtype=torch.bfloat16) for p in (param, turned))
    param.grad = torch.randn(2, 3, 4, 5)
    opt.step()
    other.load_state_dict(opt.state_dict())
    before = other.state[turned]["exp_avg"].clone()
    turned.grad = torch.zeros_like(turned)
    other.step()
    assert backends(other) == ["kernel"]
    after = other.state[turned]["exp_avg"]
    assert torch.allclose(after.float(), 0.9 * before.float(), rtol=1e-2)


# Views


def test_a_parameter_and_its_view_are_stepped_one_after_the_other():
    base = torch.zeros(3 * 16384)
    views = base, base.view(3, -1), base[16384:], base[:16384]
    params = [torch.nn.Parameter(view) for view in views]
    opt = optim.SGD(params, lr=1.0)
    for param in params:
        param.grad = torch.ones_like(param)
    opt.step()
    assert backends(opt) == ["kernel"] * 4 and len(launches(opt)) == 4
    assert torch.equal(base, torch.full_like(base, -3.0))
    parts = [torch.nn.Parameter(part) for part in torch.zeros(100).split(10)]
    opt = optim.SGD(parts)
    for part in parts:
        part.grad = torch.ones_like(part)
    opt.step()
    assert launches(opt) == [list(range(10))], "parts that do not overlap share a launch"


@pytest.mark.parametrize("size", [7, 1003])
def test_a_gradient_that_is_a_view_of_its_parameter(size):
    results = []
    for module in (optim, torch.optim):
        params = parameters(shapes=[(size,)])
        opt = module.Adam(params, lr=0.1)
        for _ in range(20):
            params[0].grad = params[0].detach()
            opt.step()
        results.append(params)
    assert apart(*results) < 1e-14


def test_a_gradient_that_is_a_negated_view():
    """Autograd makes such of one element; its memory holds the number with the other sign."""
    x, y = (torch.nn.Parameter(torch.tensor(1.0)) for _ in range(2))
    opt = optim.SGD([x, y], lr=1.0)
    for step in range(3):
        x.grad = y.grad = None
        factor = 1 + 2j if step == 1 else 1.0
        loss = torch.complex(x, y).conj() * factor
        (loss.imag if step == 1 else loss.real + 0 * y).backward()
        assert y.grad.is_neg() == (step == 1)
        opt.step()
    assert y.item() == 2.0 and x.item() == -3.0


def test_a_gradient_that_is_a_conjugated_view():
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.zeros(4, dtype=torch.complex128))
        opt = module.SGD([param], lr=1.0)
        for step in range(3):
            grad = torch.full((4,), 1 + 2j, dtype=torch.complex128)
            param.grad = grad.conj() if step == 1 else grad
            opt.step()
        results.append(param.detach())
    assert torch.equal(*results) and results[0][0] == -3 - 2j


def test_a_bfloat16_parameter_that_becomes_float16_in_its_memory():
    """A bfloat16 parameter that becomes float16 where it was: of the same size, other numbers."""
    param = torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
    opt = optim.SGD([param], lr=0.5)
    for dtype in (torch.bfloat16, torch.float16):
        param.grad = None
        param.data = param.data.view(dtype).fill_(1.0)
        param.grad = torch.ones_like(param)
        opt.step()
        assert torch.equal(param.detach(), torch.full((8,), 0.5, dtype=dtype))


def test_backward_after_a_step_notices_that_a_parameter_was_changed():
    for make in (optim.Adam, Optimizer.from_rule(signum)):
        param = torch.nn.Parameter(torch.ones(3))
        opt = make([param])
        for _ in range(2):
            param.grad = torch.ones(3)
            opt.step()
        loss = (param**3).sum()
        opt.step()
        assert backends(opt) == ["kernel"]
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


# Complex and sparse


@pytest.mark.parametrize("name", NAMES)
def test_complex_parameters_by_component(name):
    options = OPTIONS[name][0]
    (ours, a), (torchs, b) = both(name, torch.complex128, **options)
    train(ours, a, 20), train(torchs, b, 20)
    assert set(backends(a)) == {"kernel"} and apart(ours, torchs) < 1e-12
    real = [
        torch.nn.Parameter(torch.view_as_real(p.detach())) for p in parameters(torch.complex128)
    ]
    opt = getattr(optim, name)(real, **options)
    for step in range(20):
        rng = torch.Generator().manual_seed(1000 + step)
        for i, (p, q) in enumerate(zip(real, parameters(torch.complex128), strict=True)):
            p.grad = None if step % 7 == 3 and i == 1 else torch.view_as_real(gradient(q, rng))
        opt.step()
    assert all(
        torch.equal(torch.view_as_real(p.detach()), q) for p, q in zip(ours, real, strict=True)
    )


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sgd_and_adagrad_take_sparse_gradients(name):
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.ones(5, 2, dtype=torch.float64))
        opt = getattr(module, name)([param], lr=0.1)
        for _ in range(3):
            with torch.sparse.check_sparse_tensor_invariants():
                ones = torch.ones(2, 2, dtype=torch.float64)
                param.grad = torch.sparse_coo_tensor([[0, 3]], ones, (5, 2))
                opt.step()
        results.append([param])
    assert apart(*results) < 1e-14


# Memory that moves


def test_a_parameter_whose_memory_moves_is_followed():
    results = []
    for module in (optim, torch.optim):
        params = parameters()
        opt = module.Adam(params, lr=0.1)
        train(params, opt, 5)
        for param in params:
            param.data = param.data.clone() + 1
        train(params, opt, 5, first=5)
        opt.state[params[0]]["exp_avg"] = torch.ones_like(params[0])
        opt.state[params[0]]["step"] = torch.tensor(3.0)
        opt.state[params[1]]["exp_avg"].fill_(0.5)
        train(params, opt, 5, first=10)
        results.append(params)
    assert apart(*results) < 1e-12


@pytest.mark.parametrize("key", ["exp_avg", "step"])
def test_state_that_moves_to_shared_memory_is_followed(key):
    """Its old memory is free then, and may be another's."""
    results = []
    for shared in (True, False):
        param = torch.nn.Parameter(torch.ones(1000))
        opt = optim.Adam([param], lr=0.1)
        for step in range(6):
            param.grad = torch.full_like(param, 1.0 + step)
            opt.step()
            if shared and step == 2:
                opt.state[param][key].share_memory_()
        results.append([param, opt.state[param][key]])
    assert all(map(torch.equal, *results))


def from_state(opt, param):
    return opt.state[param]["exp_avg"]


def from_state_dict(opt, param):
    return opt.state_dict()["state"][0]["exp_avg"]


def from_alias(opt, param):
    return opt.alias[param]["exp_avg"]


def from_copy(opt, param):
    return copy.copy(opt).state[param]["exp_avg"]


def from_wrapper(opt, param):
    class Wrapper(type(opt)):
        def __init__(self):
            self.__dict__.update(opt.__dict__)

    return Wrapper().state[param]["exp_avg"]


@torch.compile(backend="eager")
def compiled(opt, param):
    found = opt.state[param]["exp_avg"]
    return found, found.norm()


def from_compiled_function(opt, param):
    return compiled(opt, param)[0]


class KeepsAlias:
    def add_param_group(self, group):
        super().add_param_group(group)
        self.alias = self.state


class Aliased(KeepsAlias, optim.Adam):
    """Ours, of which a subclass keeps the state under another name."""


class AliasedTorch(KeepsAlias, torch.optim.Adam):
    """Torch's, of which a subclass keeps the state under another name."""


@pytest.mark.parametrize(
    "way",
    [from_state, from_state_dict, from_alias, from_copy, from_wrapper, from_compiled_function],
)
def test_state_that_anyone_was_shown_is_followed_when_it_moves(way):
    """One step passes between the look and the move, which is followed as torch's own does."""

    def run(kind, moves):
        param = torch.nn.Parameter(torch.ones(1000))
        opt = kind([param], lr=0.1)
        for step in range(6):
            param.grad = torch.full_like(param, 1.0 + step)
            opt.step()
            if step == 2:
                found = way(opt, param)
            if moves and step == 3:
                found.data = found.clone() + 1
        return param.detach()

    kind = Aliased if way is from_alias else optim.Adam
    assert not torch.equal(run(kind, True), run(kind, False))
    theirs = AliasedTorch if way is from_alias else torch.optim.Adam
    assert all(apart([run(kind, m)], [run(theirs, m)]) < 1e-6 for m in (True, False))


class Addresses(TorchFunctionMode):
    """Notes the tensors whose address is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.data_ptr:
            self.asked.append(args[0])
        return function(*args, **kwargs or {})


def test_state_that_nobody_was_shown_is_not_looked_at():
    """The step asks for the addresses of parameters and gradients alone."""
    params = parameters()
    opt = optim.Adam(params)
    every = collections.Counter()
    for part in ("unseen", "seen", "loaded"):
        if part == "seen":
            kept = copy.deepcopy(opt.state_dict())
        if part == "loaded":
            opt.load_state_dict(kept)
        for param in params:
            param.grad = torch.ones_like(param)
        opt.step()
        known = [*params, *(param.grad for param in params)]
        for _ in range(3):
            with Addresses() as addresses:
                opt.step()
            assert all(any(x is y for y in addresses.asked) for x in known)
            every[part] += any(not any(x is y for y in known) for x in addresses.asked)
    assert every == {"unseen": 0, "seen": 3, "loaded": 0}
