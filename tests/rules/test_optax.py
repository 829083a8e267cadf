"""Rules that optax has and torch has not, beside optax's own, in float64 over a thousand steps."""

import numpy as np
import optax
import optax.contrib
import pytest
from harness.cases import beginning, distance, gradients, run
from harness.libraries import optax_run

from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import ema, sqrt, unbias, where
from adam_nbdev.language.rule import parse
from adam_nbdev.rules import RULES, adan, yogi

#: For each rule the optimizer of optax, its names of the slots, and hyperparameters.
PEERS = {
    "lion": (
        lambda lr, beta1, beta2, weight_decay: optax.lion(lr, beta1, beta2, None, weight_decay),
        {"m": "mu"},
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.5},
    ),
    "amsgrad_corrected": (
        lambda lr, beta1, beta2, eps: optax.amsgrad(lr, beta1, beta2, eps),
        {"m": "mu", "v": "nu", "v_max": "nu_max"},
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
    ),
    "signum": (
        lambda lr, beta1: optax.chain(optax.ema(beta1, debias=False), optax.sign_sgd(lr)),
        {"m": "ema"},
        {"lr": 0.1, "beta1": 0.8},
    ),
    "adabelief": (
        lambda lr, beta1, beta2, eps: optax.adabelief(lr, beta1, beta2, eps, eps),
        {"m": "mu", "v": "nu"},
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
    ),
    "ademamix": (
        lambda lr, beta1, beta2, beta3, mix, eps, weight_decay: optax.contrib.ademamix(
            lr, beta1, beta2, beta3, mix, eps, weight_decay=weight_decay
        ),
        {"m": "m1", "slow": "m2", "v": "nu"},
        {
            "lr": 0.1,
            "beta1": 0.8,
            "beta2": 0.95,
            "beta3": 0.99,
            "mix": 3.0,
            "eps": 1e-3,
            "weight_decay": 0.5,
        },
    ),
}


def apart(rule, optimizer, slots, given):
    """How far a rule and an optimizer of optax are apart after a thousand steps."""
    grads = gradients(1000)
    theirs = optax_run(optimizer, grads, slots.values(), beginning(given))
    assert theirs.dtype == np.float64 and list(slots) == list(parse(rule).slots)
    ours = run(rule, grads, **given)
    return max(distance(ours[:, i], theirs[:, i]) for i in range(theirs.shape[1]))


@pytest.mark.long
@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_optax_over_a_thousand_steps(name):
    make, slots, given = PEERS[name]
    assert apart(RULES[name], make(**given), slots, given) < 1e-11


def yogi_of_optax(
    param, grad, m: Slot(start=1e-6), v: Slot(start=1e-6), step,
    lr=0.01, beta1=0.9, beta2=0.999, eps=1e-3,
):  # fmt: skip
    return yogi(param, grad, m, v, step, lr, beta1, beta2, eps)


def adan_of_optax(
    param, grad, m, d, v, previous, step, lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8
):
    change = where(step > 1, grad - previous, 0 * grad)
    grad_ahead = grad + (1 - beta2) * change
    square = grad_ahead * grad_ahead
    m, d, v = ema(m, grad, beta1), ema(d, change, beta2), ema(v, square, beta3)
    m_hat, d_hat = unbias(m, beta1, step), unbias(d, beta2, step)
    v_hat = unbias(v, beta3, step)
    update = lr * (m_hat + (1 - beta2) * d_hat) / (sqrt(v_hat) + eps)
    return param - update, m, d, v, grad


@pytest.mark.long
def test_the_yogi_of_optax_starts_its_first_average_above_zero_too():
    given = {"lr": 0.1, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}
    theirs, slots = optax.yogi(0.1, 0.8, 0.95, 1e-3), {"m": "mu", "v": "nu"}
    assert apart(yogi_of_optax, theirs, slots, given) < 1e-11
    assert apart(yogi, theirs, slots, given) > 1e-3


@pytest.mark.long
def test_the_adan_of_optax_takes_its_decay_rate_for_the_weight_of_today():
    """The paper multiplies a change by 1 - beta2, and its beta2 is 1 less the decay rate."""
    given = {"lr": 0.1, "beta1": 0.95, "beta2": 0.8, "beta3": 0.9, "eps": 1e-3}
    theirs = optax.adan(0.1, 0.95, 0.8, 0.9, 1e-3, 0.0)
    slots = {"m": "m", "d": "v", "v": "n", "previous": "g"}
    assert apart(adan_of_optax, theirs, slots, given) < 1e-11
    assert apart(adan, theirs, slots, given) > 0.1
