"""The guard of a step: clipping, NaN and infinite gradients, and torch's GradScaler."""

import copy
import weakref

import numpy as np
import pytest
import torch
from harness.torch_cases import (
    LAYOUTS,
    NAMES,
    NAN_IS_PASSED_OVER,
    apart,
    both,
    both_backends,
    gradient,
    memory,
    parameters,
    states,
    train,
)

from adam_nbdev import optim

# Clipping


@both_backends
def test_clipping_within_the_step_is_clip_grad_norm_and_leaves_the_gradients(backend):
    for bound in (0.5, 1e9):
        options = {"max_norm": bound, "backend": backend}
        (ours, a), (torchs, b) = both("AdamW", ours=options, lr=0.1, weight_decay=0.1)
        for step in range(10):
            rng = torch.Generator().manual_seed(step)
            for p, q in zip(ours, torchs, strict=True):
                p.grad = gradient(p, rng)
                q.grad = p.grad.clone()
            kept = [p.grad.clone() for p in ours]
            torch.nn.utils.clip_grad_norm_(torchs, bound)
            a.step(), b.step()
            assert all(torch.equal(p.grad, g) for p, g in zip(ours, kept, strict=True))
        assert apart(ours, torchs) < 1e-12


def test_clipping_takes_the_norm_of_all_parameters_together():
    results = []
    for module in (optim, torch.optim):
        params = parameters(torch.float64) + parameters(torch.float32, seed=1)
        params.append(torch.nn.Parameter(memory(*LAYOUTS["transposed"])))
        params.append(torch.nn.Parameter(memory(*LAYOUTS["every second"])))
        options = {"max_norm": 0.5} if module is optim else {}
        opt = module.SGD(params, lr=0.1, **options)
        for step in range(3):
            for i, param in enumerate(params):
                param.grad = gradient(param, torch.Generator().manual_seed(20 * step + i)) / 1e3
            if module is torch.optim:
                torch.nn.utils.clip_grad_norm_(params, 0.5)
            opt.step()
        results.append(params)
    assert apart(*results) < 1e-6


def test_clipping_of_nan_and_inf_is_that_of_clip_grad_norm():
    results = []
    for module in (optim, torch.optim):
        param = torch.nn.Parameter(torch.zeros(3))
        opt = module.SGD([param], lr=1.0, **({"max_norm": 1.0} if module is optim else {}))
        for bad in (float("inf"), float("nan")):
            param.data.zero_()
            param.grad = torch.tensor([bad, 1e6, 1.0])
            if module is torch.optim:
                torch.nn.utils.clip_grad_norm_([param], 1.0)
            opt.step()
            results.append(param.detach().clone())
    assert all(
        torch.equal(p.isnan(), q.isnan()) for p, q in zip(results, results[2:], strict=False)
    )
    assert results[0][1] == 0 and results[1].isnan().all()


def test_clipping_of_a_gradient_as_small_as_torchs_guard_against_zero():
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = optim.SGD([param], lr=1.0, max_norm=1e-6)
    param.grad = torch.full_like(param, 1e-6)
    opt.step()
    assert param.item() == pytest.approx(-0.5e-6, rel=1e-9)


def test_clipping_of_a_sparse_gradient():
    param = torch.nn.Parameter(torch.zeros(5, 2))
    opt = optim.SGD([param], lr=1.0, max_norm=0.5)
    rows, ones = torch.tensor([[0, 0]]), torch.ones(2, 2)
    param.grad = torch.sparse_coo_tensor(rows, ones, (5, 2), check_invariants=True)
    opt.step()
    assert param.detach().norm().item() == pytest.approx(0.5, rel=1e-5)


# NaN and infinite gradients


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2e21])
@both_backends
@pytest.mark.parametrize("name", NAMES)
def test_a_nan_or_inf_gradient_is_skipped_on_request(name, bad, backend):
    """Everything is as if the step had not been there: parameters, state, and what comes after."""
    results = []
    for spoiled in (True, False):
        params = parameters(torch.float32)
        opt = getattr(optim, name)(params, lr=0.1, nonfinite="skip", backend=backend)
        train(params, opt, 3)
        if spoiled:
            for param in params:
                param.grad = torch.ones_like(param)
            params[3].grad[1, 0, 1] = bad
            opt.step()
        train(params, opt, 3, first=3)
        results.append((params, states(opt), opt.skipped))
    (ours, kept, skipped), (wanted, plain, none) = results
    assert (skipped, none) == (1, 0)
    assert all(map(torch.equal, ours, wanted))
    assert kept.keys() == plain.keys()
    assert all(torch.equal(kept[key], plain[key]) for key in plain)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            float("nan"),
            r"gradients not finite, of parameter 1, of shape \(5,\); nothing was changed",
        ),
        (
            2e21,
            r"squares add up to (inf|4e\+42), more than its state can hold; nothing was changed",
        ),
    ],
)
@both_backends
def test_a_nan_or_overflowing_gradient_is_an_error_on_request(bad, message, backend):
    params = parameters(torch.float32)
    opt = optim.Adam(params, nonfinite="raise", max_norm=1.0, backend=backend)
    train(params, opt, 3)
    before = [p.detach().clone() for p in params], copy.deepcopy(states(opt))
    params[1].grad = torch.full_like(params[1], 0.0)
    params[1].grad[2] = bad
    with pytest.raises(FloatingPointError, match=message):
        opt.step()
    assert all(map(torch.equal, params, before[0]))
    assert all(torch.equal(value, before[1][key]) for key, value in states(opt).items())
    copied = copy.deepcopy(opt)
    copied.param_groups[0]["params"][1].grad = params[1].grad.clone()
    with pytest.raises(FloatingPointError, match=message):
        copied.step()


@pytest.mark.parametrize("name", NAMES)
@both_backends
def test_a_nan_at_the_first_step_that_is_skipped_leaves_no_state(name, backend):
    """A buffer of zeros would be taken for that of a step; SGD dampens from the second on."""
    options = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
    results = []
    for spoiled in (True, False):
        params = parameters(torch.float32)
        options |= {"nonfinite": "skip", "backend": backend}
        opt = getattr(optim, name)(params, lr=0.1, **options)
        before = states(opt).keys()
        if spoiled:
            params[0].grad = torch.full_like(params[0], torch.nan)
            opt.step()
            assert states(opt).keys() == before
        train(params, opt, 3)
        results.append(params)
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@both_backends
def test_a_large_finite_gradient_is_stepped_and_inf_is_not(dtype, backend):
    """In half precision its norm is inf; the square of the double is inf in single precision."""
    size = 1e25 if dtype == torch.float64 else 1000.0
    param = torch.nn.Parameter(torch.zeros(10_000, dtype=dtype))
    opt = optim.SGD([param], lr=1.0, nonfinite="raise", max_norm=100.0, backend=backend)
    param.grad = torch.full_like(param, size)
    opt.step()
    assert param.detach().double() == pytest.approx(-np.ones(10_000), rel=1e-2)
    param.grad[7] = torch.inf if dtype != torch.float64 else 1e200  # whose square is inf
    with pytest.raises(FloatingPointError):
        opt.step()


@both_backends
def test_a_single_element_whose_square_is_inf_is_skipped(backend):
    param = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    opt = optim.SGD([param], nonfinite="skip", max_norm=1.0, backend=backend)
    param.grad = torch.full_like(param, 1e200)
    opt.step()
    assert param.item() == 0 and opt.skipped == 1


def test_a_step_refused_for_nan_lets_go_of_the_gradients():
    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], nonfinite="skip")
    for value in (1.0, torch.nan):
        param.grad = torch.full((3,), value)
        opt.step()
    gone = weakref.ref(param.grad)
    opt.zero_grad()
    assert gone() is None


@pytest.mark.parametrize("name", NAMES)
def test_without_a_request_a_nan_goes_where_torchs_goes(name):
    """The differences are those of the table in the harness."""
    ends = []
    for params, opt in both(name):
        train(params, opt, 3)
        for param in params:
            param.grad = torch.ones_like(param)
        params[0].grad[1, 2] = torch.nan
        opt.step()
        train(params, opt, 3, first=3)
        ends.append([param.isnan() for param in params])
    ours, theirs = ends
    assert ours[0].nonzero().tolist() == [[1, 2]] and not any(nan.any() for nan in ours[1:])
    same = all(map(torch.equal, ours, theirs))
    assert same == (name not in NAN_IS_PASSED_OVER)


def test_without_a_request_a_nan_stays_within_its_element_and_a_large_gradient_is_survived():
    param = torch.nn.Parameter(torch.zeros(3))
    opt = optim.Adam([param], lr=0.1)
    for step in range(5):
        param.grad = torch.ones(3)
        param.grad[:2] = torch.tensor([float("nan"), 2e19]) if step == 0 else 1.0
        opt.step()
    assert param.isnan().tolist() == [True, False, False]
    with pytest.raises(ValueError, match='nonfinite is \'ignore\'; give None, "skip" or "raise"'):
        optim.Adam([param], nonfinite="ignore")


def test_grad_scaler_unscales_skips_inf_and_goes_on():
    results = []
    for module in (optim, torch.optim):
        params = parameters(torch.float32)
        opt = module.Adam(params, lr=0.1, fused=True)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)
        for step in range(12):
            opt.zero_grad()
            loss = sum((p**2).sum() for p in params) * (float("inf") if step == 5 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        results.append((params, opt.state[params[0]]["step"].item()))
    assert apart(results[0][0], results[1][0]) < 3e-6
    assert results[0][1] == results[1][1] == 11
