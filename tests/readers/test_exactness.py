"""Every rule against the 50-digit run of itself, in every kind of number."""

import numpy as np
import pytest
import torch
from harness.cases import distance, gradients, reference, run

from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.trace import table
from adam_nbdev.rules import RULES


def arrays_run(rule, grads, **hyperparameters):
    param, history = grads[0] * 0, []
    state = start(rule, param)
    for step, grad in enumerate(grads, start=1):
        param, state = advance(rule, param, grad, state, step, **hyperparameters)
        history.append(param.tolist())
    return np.array(history)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_double_precision_within_1e13_of_fifty_digits(rule):
    grads = gradients()
    expected = reference(rule, grads)
    floats = [[s[-1].value for s in table(rule, map(float, c)).steps] for c in grads.T]
    assert distance(run(rule, grads)[:, 0], expected) < 1e-13
    assert distance(np.array(floats).T, expected) < 1e-13
    assert distance(arrays_run(rule, grads), expected) < 1e-13
    assert distance(arrays_run(rule, torch.from_numpy(grads)), expected) < 1e-13


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_single_precision_within_2e6_of_fifty_digits(rule):
    grads = gradients().astype(np.float32)
    expected = reference(rule, grads)
    assert distance(arrays_run(rule, grads), expected) < 2e-6
    assert distance(arrays_run(rule, torch.from_numpy(grads)), expected) < 2e-6


@pytest.mark.parametrize("beta2", [0.9999, 0.99999])
def test_bias_correction_does_not_cancel_in_single_precision(beta2):
    grads = gradients(steps=3).astype(np.float32)
    expected = reference(RULES["adam"], grads, beta2=beta2)
    assert distance(arrays_run(RULES["adam"], grads, beta2=beta2), expected) < 1e-6


def test_scheduled_decay_rate_is_read_at_every_step():
    grads, ramp = gradients(), {"beta1": lambda step: 1 - 1 / (step + 1), "lr": lambda s: 1 / s}
    expected = reference(RULES["adam"], grads, **ramp)
    assert distance(arrays_run(RULES["adam"], grads, **ramp), expected) < 1e-13


def test_half_precision_moves_where_a_cast_would_lose_eps():
    grads = np.array([[0.0, 1e-4]] * 50, dtype=np.float16)
    path = arrays_run(RULES["adam"], grads, lr=0.01)
    assert np.isfinite(path).all() and path[-1, 0] == 0 and -0.6 < path[-1, 1] < -0.4


def test_bfloat16_parameter_moves_from_zero_although_beta2_rounds_to_one_there():
    path = arrays_run(RULES["adam"], torch.ones(200, 1, dtype=torch.bfloat16))
    assert -0.25 < path[-1, 0] < -0.15


@pytest.mark.long
def test_bfloat16_state_is_kept_in_float32_and_reaches_its_level():
    adam, grad = RULES["adam"], torch.ones(1, dtype=torch.bfloat16)
    param, state = grad * 0, start(adam, grad)
    for step in range(1, 6001):
        param, state = advance(adam, param, grad, state, step)
    assert state["v"].dtype == torch.float32 and abs(state["v"].item() - 1) < 0.01


@pytest.mark.parametrize("make", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_a_gradient_whose_square_overflows_single_precision_is_survived(make):
    adam = RULES["adam"]
    one = make([0.0]) * 1
    param = one.astype(np.float32) if make is np.asarray else one.float()
    state = start(adam, param)
    for step, size in enumerate([2e19, 1.0, 1.0], start=1):
        param, state = advance(adam, param, param * 0 + size, state, step)
    assert np.isfinite(param.tolist()).all() and np.isfinite(state["v"].tolist()).all()
