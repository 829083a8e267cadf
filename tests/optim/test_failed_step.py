"""A step that fails, or is interrupted, changes nothing that it does not count."""

import numpy as np
import pytest
import torch
from harness.torch_cases import both_backends, gradient, parameters, states, train

from adam_nbdev import optim
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import ema
from adam_nbdev.optim import Optimizer, ways


def mixed(param, grad, product: Slot(start=1.0, per="tensor"), m, step, lr=0.1):
    m = ema(m, grad, 0.9)
    product = product * grad
    return param - lr * product * m, product, m


@both_backends
@pytest.mark.parametrize("shape", [(3,), (1,), (), (0,)], ids=str)
def test_a_tensor_slot_that_depends_on_an_element_is_refused(shape, backend):
    """Before anything is made, and whatever the shape: one element does not make it a number."""
    param = torch.nn.Parameter(torch.ones(shape))
    opt = Optimizer.from_rule(mixed)([param], backend=backend)
    param.grad = torch.ones(shape)
    with pytest.raises(TypeError, match="'product' depends on an element"):
        opt.step()
    assert torch.equal(param, torch.ones(shape)) and not opt.state


def two_ways():
    """One parameter for the kernel, and two that are read on tensors, all with gradients."""
    params = parameters(torch.float32, shapes=[(4,)])
    params += [torch.zeros(8, dtype=torch.float64)[::2].requires_grad_() for _ in range(2)]
    opt = optim.NAdam(params, lr=0.1)
    for step in range(2):
        for i, param in enumerate(params):
            param.grad = gradient(param, torch.Generator().manual_seed(10 * step + i))
        opt.step()
    return params, opt


def everything(params, opt):
    return [x.detach().clone() for x in (*params, *states(opt).values())]


def test_an_error_on_tensors_leaves_its_parameter_and_those_of_the_kernel(monkeypatch):
    params, opt = two_ways()
    before = everything(params, opt)

    def fails(*args, **kwargs):
        raise MemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(ways, "advance", fails)  # patches internals
        with pytest.raises(MemoryError):
            opt.step()
    assert all(map(torch.equal, before, everything(params, opt)))
    opt.step()
    assert all(state["step"] == 3 for state in opt.state.values())


def test_a_parameter_that_cannot_be_written_to_keeps_its_state():
    params, opt = two_ways()
    before = everything(params, opt)
    params[1].data = torch.zeros(1, dtype=torch.float64).expand(4)
    before[1] = params[1].detach().clone()
    with pytest.raises(RuntimeError):
        opt.step()
    assert all(map(torch.equal, before, everything(params, opt)))


@pytest.mark.parametrize("launched", [False, True])
def test_a_step_is_counted_if_the_launch_began(launched, monkeypatch):
    """An interrupt does not cut a launch short, and one before it leaves nothing to count."""

    class Interrupted(ways.Batch):  # patches internals
        def run(self, *args):
            if launched:
                super().run(*args)
            raise KeyboardInterrupt

    param = torch.nn.Parameter(torch.ones(5))
    twin = torch.nn.Parameter(torch.ones(5))
    opt, other = optim.NAdam([param], lr=0.1), optim.NAdam([twin], lr=0.1)
    for step in range(4):
        param.grad = torch.full((5,), 1.0 + step)
        twin.grad = param.grad.clone()
        if step == 2:
            opt._plan.buckets[0].batch.__class__ = Interrupted
            version = param._version
            with pytest.raises(KeyboardInterrupt):
                opt.step()
            assert (param._version > version) == launched
            opt._plan.buckets[0].batch.__class__ = ways.Batch
        else:
            opt.step()
        if step != 2 or launched:
            other.step()
        assert torch.equal(param, twin)
        assert all(map(torch.equal, states(opt).values(), states(other).values()))


@pytest.mark.parametrize("name", ["Adam", "SGD", "NAdam"])
def test_a_parameter_that_repeats_one_number_is_refused_as_by_torch(name):
    for module in (optim, torch.optim):
        plain = torch.nn.Parameter(torch.zeros(3))
        param = torch.nn.Parameter(torch.zeros(1))
        param.data = torch.zeros(2, 1).expand(2, 4)
        opt = getattr(module, name)([plain, param], lr=0.1)
        plain.grad, param.grad = torch.ones(3), torch.ones(2, 4)
        with pytest.raises(RuntimeError) as error:
            opt.step()
        assert not param.any() and (module is torch.optim or not (plain.any() or opt.state))
    assert "\n" not in str(error.value)
    param.data = torch.zeros(2, 1).expand(2, 1)
    param.grad = torch.ones(2, 1)
    opt = getattr(optim, name)([param], lr=0.1)
    opt.step()
    assert param.all()


DTYPES = [torch.int32, torch.int64, torch.float64, torch.bfloat16, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "RMSprop", "Adam"])
def test_a_gradient_of_another_dtype_is_stepped_as_by_torch_or_refused(name, dtype):
    """Torch's Adam takes none at all; ours takes every one that is real."""
    ends = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.ones(4))
        param.grad_dtype = None
        param.grad = torch.tensor([1, 2, 3, -4]).to(dtype)
        opt = getattr(module, name)([param], lr=0.1)
        if dtype.is_complex:
            before = str(opt.state)
            with pytest.raises(RuntimeError):
                opt.step()
            assert torch.equal(param, torch.ones(4))
            assert module is torch.optim or str(opt.state) == before
        elif module is optim or name != "Adam":
            opt.step(), opt.step()
        ends.append(param.detach())
    assert name == "Adam" or torch.allclose(*ends, rtol=1e-6)


@both_backends
def test_a_real_gradient_of_a_complex_parameter(backend):
    ends = []
    for module, options in ((optim, {"backend": backend}), (torch.optim, {})):
        param = torch.nn.Parameter(torch.full((4,), 1 + 2j))
        param.grad_dtype = None
        opt = module.SGD([param], lr=0.5, **options)
        for _ in range(2):
            param.grad = torch.tensor([1.0, 2.0, 3.0, -4.0])
            opt.step()
        ends.append(param.detach())
    assert torch.equal(*ends)


class Interrupted(np.ndarray):
    """A table that is interrupted where some of its columns are written."""

    def __setitem__(self, key, value):
        if isinstance(key, tuple):
            raise KeyboardInterrupt
        super().__setitem__(key, value)


def test_an_interrupt_while_gradients_are_noted_leaves_no_half_of_a_table():
    params = parameters(torch.float32, shapes=[(4,), (3,)])
    opt = optim.Adam(params, lr=0.1)
    train(params, opt, 2)
    batch, grad = opt._plan.buckets[0].batch, params[1].grad  # patches internals
    whole, params[1].grad, before = batch.pointers, None, [p.detach().clone() for p in params]
    batch.pointers = whole.view(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        opt.step()
    batch.pointers, params[1].grad = whole, grad  # at the address where it was
    opt.step()
    assert not any(map(torch.equal, before, params))
