"""A differentiable step: the gradient goes to the parameter and to every hyperparameter."""

import pytest
import torch

from adam_nbdev import optim
from adam_nbdev.optim import Optimizer
from adam_nbdev.rules import RULES

Heavy, Laprop = map(Optimizer.from_rule, (RULES["momentum"], RULES["laprop"]))
COMMON = {"lr": 0.1, "weight_decay": 0.3}
#: Optimizers with options, each of which gets the gradient.
CASES = {
    "Adam": (optim.Adam, {**COMMON, "betas": (0.8, 0.9), "eps": 1e-2}),
    "Adam, amsgrad": (optim.Adam, {**COMMON, "betas": (0.8, 0.9), "eps": 1e-2, "amsgrad": True}),
    "AdamW": (optim.AdamW, {**COMMON, "betas": (0.8, 0.9), "eps": 1e-2}),
    "NAdam": (optim.NAdam, {**COMMON, "betas": (0.8, 0.9), "eps": 1e-2, "momentum_decay": 0.1}),
    "NAdam, decoupled": (optim.NAdam, {**COMMON, "decoupled_weight_decay": True}),
    "RMSprop": (optim.RMSprop, {**COMMON, "alpha": 0.8, "momentum": 0.9, "eps": 1e-2}),
    "RMSprop, centered": (optim.RMSprop, {**COMMON, "alpha": 0.8, "centered": True}),
    "Adagrad": (optim.Adagrad, {**COMMON, "lr_decay": 0.1, "eps": 1e-2}),
    "SGD": (optim.SGD, COMMON),
    "SGD, momentum": (optim.SGD, {**COMMON, "momentum": 0.9, "dampening": 0.3}),
    "SGD, nesterov": (optim.SGD, {**COMMON, "momentum": 0.9, "nesterov": True}),
    "Rprop": (optim.Rprop, {"lr": 0.1, "etas": (0.5, 1.2)}),
    "Momentum": (Heavy, COMMON),
    "Laprop": (Laprop, COMMON),
}
NUMBERS = [
    (case, name, place)
    for case, (_, options) in CASES.items()
    for name, value in options.items()
    if not isinstance(value, bool)
    for place in (range(2) if isinstance(value, tuple) else [None])
]
START = (1.0, -2.1, 3.2)


def put(options, name, place, value):
    """The options with one number in the place of another."""
    if place is None:
        return {**options, name: value}
    other = list(options[name])
    other[place] = value
    if isinstance(value, torch.Tensor):  # torch wants two of them
        other[1 - place] = torch.tensor(other[1 - place], dtype=torch.float64)
    return {**options, name: tuple(other)}


def end(make, options, start=START, steps=6):
    """A number that six steps lead to, with gradients that depend on the parameter."""
    carried = options.get("differentiable", False)
    base = torch.tensor(start, dtype=torch.float64) if isinstance(start, tuple) else start
    weight = base.clone() if carried else torch.nn.Parameter(base.detach().clone())
    opt = make([weight], **options)
    for step in range(steps):
        weight.grad = (step + 1.0) * torch.sin(base + step)
        opt.step()
    return (weight**2).sum()


@pytest.mark.parametrize(("case", "name", "place"), NUMBERS)
def test_the_gradient_of_a_hyperparameter_is_that_of_central_differences(case, name, place):
    make, options = CASES[case]
    value = options[name] if place is None else options[name][place]
    leaf = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    loss = end(make, {**put(options, name, place, leaf), "differentiable": True})
    (slope,) = torch.autograd.grad(loss, leaf)
    near = [end(make, put(options, name, place, value + h)).item() for h in (1e-6, -1e-6)]
    assert end(make, options).item() == pytest.approx(loss.item(), rel=1e-12)
    assert slope.item() == pytest.approx((near[0] - near[1]) / 2e-6, rel=1e-6, abs=1e-8)
    assert slope.item() != 0


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_of_the_parameter_is_that_of_central_differences(case):
    make, options = CASES[case]
    start = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(end(make, {**options, "differentiable": True}, start), start)
    for i in range(3):
        points = [tuple(x + h * (i == j) for j, x in enumerate(START)) for h in (1e-6, -1e-6)]
        near = [end(make, options, point).item() for point in points]
        assert slope[i].item() == pytest.approx((near[0] - near[1]) / 2e-6, rel=1e-6, abs=1e-8)


#: Where torch carries the gradient; elsewhere it raises an error, and SGD detaches its first one.
IN_TORCH = [
    *(("Adam", name) for name in ("lr", "betas", "eps", "weight_decay")),
    *(("AdamW", name) for name in ("lr", "betas", "eps", "weight_decay")),
    *(("NAdam", "eps"), ("NAdam, decoupled", "weight_decay")),
    *(("RMSprop", "momentum"), ("RMSprop", "eps"), ("Adagrad", "eps")),
    *(("SGD", "lr"), ("SGD", "weight_decay"), ("SGD, nesterov", "lr")),
]


@pytest.mark.parametrize(("case", "name"), IN_TORCH)
def test_the_gradient_is_torchs_where_torch_has_one(case, name):
    kind, options = CASES[case]
    slopes = []
    for make in (kind, getattr(torch.optim, kind.__name__)):
        value = options[name]
        leaf = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        given = tuple(leaf) if isinstance(value, tuple) else leaf
        loss = end(make, {**options, name: given, "differentiable": True})
        slopes += torch.autograd.grad(loss, leaf)
    assert torch.allclose(*slopes, rtol=1e-5)  # torch corrects the bias in single precision


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_hyperparameter_of_any_dtype_as_one_number_or_a_tensor_of_one(dtype, shape):
    leaf = torch.full(shape, 0.125, dtype=dtype, requires_grad=True)
    loss = end(optim.Adam, {"lr": leaf, "differentiable": True})
    (slope,) = torch.autograd.grad(loss, leaf)
    wide = torch.tensor(0.125, dtype=torch.float64, requires_grad=True)
    loss = end(optim.Adam, {"lr": wide, "differentiable": True})
    assert slope.shape == shape and slope.dtype == dtype
    assert slope.double().item() == pytest.approx(
        torch.autograd.grad(loss, wide)[0].item(), rel=4 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW, optim.SGD, Heavy])
def test_weight_decay_that_is_zero_has_its_gradient(make):
    leaf = torch.zeros((), dtype=torch.float64, requires_grad=True)
    options = {"lr": 0.1, "weight_decay": leaf, "differentiable": True}
    (slope,) = torch.autograd.grad(end(make, options), leaf)
    near = [end(make, {"lr": 0.1, "weight_decay": h}).item() for h in (0.0, 1e-7)]
    assert slope.item() == pytest.approx((near[1] - near[0]) / 1e-7, rel=1e-4) and slope != 0


def test_without_the_option_a_tensor_that_asks_for_the_gradient_is_a_number():
    """Neither is there a graph nor a warning."""
    leaf = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    for make in (optim.Adam, optim.SGD, Heavy):
        loss = end(make, {"lr": leaf})
        assert loss.item() == end(make, {"lr": 0.1}).item()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_sorting_anew_keeps_the_graph_of_a_running_product():
    """A gradient that is missing once makes a new plan, with the same tensors."""
    slopes = []
    for missing in (False, True):
        leaf = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        one, two = (torch.ones(3, dtype=torch.float64).requires_grad_().clone() for _ in range(2))
        betas = leaf, torch.tensor(0.9, dtype=torch.float64)
        opt = optim.NAdam([one, two], betas=betas, differentiable=True)
        for step in range(4):
            one.grad = torch.full((3,), 1.0 + step, dtype=torch.float64)
            two.grad = None if missing and step == 2 else one.grad
            opt.step()
        slopes += torch.autograd.grad((one**2).sum(), leaf)
    assert torch.equal(*slopes) and slopes[0] != 0


def test_clipping_within_a_differentiable_step_is_refused():
    """The length of the gradient is computed without autograd, so its slope would be left out."""
    weight = torch.ones(3, requires_grad=True).clone()
    opt = optim.Adam([weight], max_norm=1.0, differentiable=True)
    weight.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="leave out max_norm, and use clip_grad_norm_"):
        opt.step()
    assert torch.equal(weight, torch.ones(3)) and not opt.state
