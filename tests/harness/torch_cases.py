"""Models, gradients, options and comparisons for the tests of the torch optimizers."""

import functools
import io

import numpy as np
import pytest
import torch
from torch.testing._internal import common_optimizers
from torch.utils._python_dispatch import TorchDispatchMode

from adam_nbdev import optim
from adam_nbdev.language.primitives import ema, sign

from .cases import SCALES

#: The classes that stand in for one of torch.optim. All tests of "every class" run over them.
NAMES = tuple(getattr(optim, "CLASSES", ("Adam", "AdamW", "Adagrad", "RMSprop", "SGD")))
#: What torch's own tests try on each of its classes.
INFO = {info.optim_cls.__name__: info for info in common_optimizers.optim_db}

#: Where torch differs from us, and why; the tests that compare with torch ask here.
NAN_IS_PASSED_OVER = {
    "Rprop": "torch takes the sign of a NaN gradient to be 0 and goes on; ours shows the NaN",
}
DOUBLE_STATE = {
    "NAdam": "torch keeps `mu_product` in the default dtype; ours is a double for every dtype",
}

#: Options that show a wrong rule, beside those of torch's own tests.
OPTIONS = {
    "Adam": [
        {"lr": 0.1, "weight_decay": 0.5},
        {"betas": (0.8, 0.9), "eps": 1e-3},
        {"amsgrad": True},
    ],
    "AdamW": [{"lr": 0.1, "weight_decay": 0.5}, {"amsgrad": True, "maximize": True}],
    "Adadelta": [
        {"lr": 0.5, "rho": 0.6, "eps": 1e-3, "weight_decay": 0.5},
        {"rho": 0.95, "maximize": True},
    ],
    "Adagrad": [{"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}],
    "Adamax": [
        {"lr": 0.1, "weight_decay": 0.5},
        {"betas": (0.8, 0.9), "eps": 1e-3, "maximize": True},
    ],
    "NAdam": [
        {"lr": 0.1, "weight_decay": 0.5, "momentum_decay": 0.1},
        {"betas": (0.8, 0.9), "eps": 1e-3},
        {"lr": 0.1, "weight_decay": 0.5, "decoupled_weight_decay": True},
    ],
    "RAdam": [
        {"lr": 0.1, "weight_decay": 0.5, "betas": (0.8, 0.9), "eps": 1e-3},
        {"betas": (0.9, 0.5), "maximize": True},
        {"lr": 0.1, "weight_decay": 0.5, "decoupled_weight_decay": True},
    ],
    "RMSprop": [
        {"momentum": 0.9, "weight_decay": 0.5},
        {"centered": True},
        {"centered": True, "momentum": 0.9, "maximize": True, "alpha": 0.9},
    ],
    "Rprop": [{"lr": 0.1, "etas": (0.7, 1.5), "step_sizes": (1e-3, 0.2)}],
    "SGD": [
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ],
}


def cases(*marks_of_torchs):
    """Parameters of a test: a name and options, those of torch's own tests and then ours."""
    made = []
    for name in NAMES:
        theirs = [o.kwargs for o in INFO[name].optim_inputs_func("cpu")]
        for i, options in enumerate(theirs + OPTIONS.get(name, [])):
            marks = marks_of_torchs if i < len(theirs) else ()
            made.append(pytest.param(name, options, id=f"{name}-{i}", marks=marks))
    return made


CASES = cases()

SHAPES = ((3, 4), (5,), (), (2, 3, 2), (1000,))
#: Shapes and strides that are not those of a new tensor.
LAYOUTS = {
    "transposed": ((4, 6), (1, 4)),
    "channels last": ((2, 3, 4, 5), (60, 1, 15, 3)),
    "every second": ((4, 6), (12, 2)),
}

#: The kernel where a parameter fits one, and the rule read on tensors.
both_backends = pytest.mark.parametrize("backend", [None, "tensors"], ids=["kernel", "tensors"])


def parameters(dtype=torch.float64, seed=0, shapes=SHAPES):
    """Normal parameters of these shapes, the same numbers in every dtype."""
    rng = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]
    return [torch.nn.Parameter(p.to(dtype)) for p in made]


@functools.cache
def scales(shape):
    """Three scales side by side, in a tensor of that shape."""
    return torch.tensor(np.resize(SCALES, shape.numel())).reshape(shape)


def gradient(param, rng):
    """A gradient in the dtype and layout of a parameter, of three scales side by side."""
    real = torch.view_as_real(param) if param.is_complex() else param
    grad = torch.randn(real.shape, generator=rng, dtype=torch.float64)
    grad = (grad * scales(real.shape)).to(real.dtype)
    grad = torch.view_as_complex(grad) if param.is_complex() else grad
    return torch.empty_like(param).copy_(grad)


def train(params, opt, steps=60, seed=1, first=0):
    """Steps with gradients that change; one parameter is passed over now and then."""
    for step in range(first, first + steps):
        rng = torch.Generator().manual_seed(1000 * seed + step)
        for i, param in enumerate(params):
            param.grad = None if step % 7 == 3 and i == 1 else gradient(param, rng)
        opt.step()


def apart(params, others):
    """Largest normwise relative distance of two lists of tensors."""
    pairs = [
        (p.detach().cdouble(), q.detach().cdouble()) for p, q in zip(params, others, strict=True)
    ]
    return max(float(torch.linalg.norm(p - q) / torch.linalg.norm(q)) for p, q in pairs)


def states(opt):
    """The state by the number of the parameter and the key."""
    return {
        (i, key): value
        for i, state in opt.state_dict()["state"].items()
        for key, value in state.items()
        if value is not None
    }


def both(name, dtype=torch.float64, shapes=SHAPES, ours=None, **options):
    """Our optimizer and torch's, each on parameters of its own."""
    made = []
    for module, more in ((optim, ours or {}), (torch.optim, {})):
        params = parameters(dtype, shapes=shapes)
        made.append((params, getattr(module, name)(params, **options, **more)))
    if name in DOUBLE_STATE:
        make_state_in_double(made[1][1])
    return made


def make_state_in_double(opt):
    """Let an optimizer of torch make its scalars as doubles, but its step counts as ever."""

    @opt.register_step_pre_hook
    def begin(*_):
        torch.set_default_dtype(torch.float64)

    @opt.register_step_post_hook
    def end(*_):
        torch.set_default_dtype(torch.float32)
        for state in opt.state.values():
            state["step"] = state["step"].float()


def backends(opt):
    """The backend of every parameter that has a gradient, in the order of the groups."""
    return [row.backend for row in opt.explain_backend() if row.backend is not None]


def launches(opt):
    """For every launch of a kernel, the numbers of its parameters."""
    members = {}
    for row in opt.explain_backend():
        if row.launch is not None:
            members.setdefault(row.launch, []).append(row.parameter)
    return [members[launch] for launch in sorted(members)]


class Additions(TorchDispatchMode):
    """Counts what torch adds or subtracts, one tensor or a list, in the steps of an optimizer."""

    def __init__(self, opt):
        super().__init__()
        self.count = 0
        opt.register_step_pre_hook(lambda *_: self.__enter__() and None)
        opt.register_step_post_hook(lambda *_: self.__exit__(None, None, None))

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.count += "sub" in name or name.startswith("_foreach_add")
        return function(*args, **kwargs or {})


def saved(opt):
    """A checkpoint: the state after a trip through a file that holds data only."""
    file = io.BytesIO()
    torch.save(opt.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def memory(shape, stride):
    """Zeros of that shape and stride, in memory of their own."""
    base = torch.zeros(shape, dtype=torch.float64)
    size = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    return torch.zeros(size, dtype=torch.float64).as_strided(shape, stride).copy_(base)


def signum(param, grad, m, step, lr=0.01, beta1=0.9):
    """A rule that the catalogue does not have."""
    m = ema(m, grad, beta1)
    update = lr * sign(m)
    return param - update, m
