"""Rules that optax has and torch has not, beside optax's own, in float64 over a thousand steps."""

import jax
import numpy as np
import optax
import pytest
from harness.cases import beginning, distance, gradients, run

from adam_nbdev.language.rule import parse
from adam_nbdev.rules import RULES

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
}


def optax_run(optimizer, grads, slots, begin):
    """An optimizer of optax on these gradients: (steps, 1 + slots, n)."""

    def step(carried, grad):
        param, state = carried
        update, state = optimizer.update(grad, state, param)
        param = optax.apply_updates(param, update)
        kept = [optax.tree_utils.tree_get(state, slot) for slot in slots]
        return (param, state), jax.numpy.stack([param, *kept])

    with jax.enable_x64(True):
        param = jax.numpy.full(grads.shape[1:], begin)
        _, history = jax.lax.scan(step, (param, optimizer.init(param)), jax.numpy.array(grads))
    return np.asarray(history)


@pytest.mark.long
@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_optax_over_a_thousand_steps(name):
    make, slots, given = PEERS[name]
    grads = gradients(1000)
    theirs = optax_run(make(**given), grads, slots.values(), beginning(given))
    assert theirs.dtype == np.float64
    ours = run(RULES[name], grads, **given)
    assert list(slots) == list(parse(RULES[name]).slots)
    assert max(distance(ours[:, i], theirs[:, i]) for i in range(theirs.shape[1])) < 1e-11
