"""Every rule against torch.optim, or the formula of its paper where torch has no such rule."""

import numpy as np
import pytest
import torch
from harness.cases import beginning, distance, gradients, run
from harness.evidence import EVIDENCE
from harness.oracles import disagreement, torch_run

from adam_nbdev.language.primitives import l2
from adam_nbdev.rules import RULES, adam, adamw


@pytest.mark.long
@pytest.mark.parametrize("name", RULES)
def test_agrees_with_its_oracles_over_a_thousand_steps(name):
    assert disagreement(RULES[name], EVIDENCE[name], gradients(1000)) < 1e-11


def adam_l2(param, grad, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01):
    grad = l2(param, grad, weight_decay)
    return adam(param, grad, m, v, step, lr, beta1, beta2, eps)


@pytest.mark.parametrize(("ours", "theirs"), [(adamw, "AdamW"), (adam_l2, "Adam")])
def test_both_kinds_of_weight_decay_agree_with_torch_at_a_large_rate(ours, theirs):
    grads = gradients(1000)
    expected = torch_run(
        lambda p: getattr(torch.optim, theirs)(p, lr=0.1, weight_decay=0.5),
        grads,
        ["exp_avg", "exp_avg_sq"],
        beginning({"weight_decay": 0.5}),
    )
    got = run(ours, grads, lr=0.1, weight_decay=0.5)
    assert max(distance(got[:, i], expected[:, i]) for i in range(3)) < 1e-11


@pytest.mark.parametrize("name", ["rmsprop_centred", "rmsprop_centred_momentum"])
def test_centred_rmsprop_stays_finite_where_torch_gives_nan(name):
    grads = np.full((300, 64), np.linspace(0.5, 2, 64), dtype=np.float32)
    with np.errstate(all="ignore"):
        ours = run(RULES[name], grads, decay=np.float32(0.9), eps=np.float32(1e-8))
    param = torch.zeros(64, requires_grad=True)
    momentum = 0.9 if name.endswith("momentum") else 0
    optimizer = torch.optim.RMSprop([param], alpha=0.9, centered=True, momentum=momentum)
    for grad in grads:
        param.grad = torch.from_numpy(grad)
        optimizer.step()
    assert (ours[:, 1] < ours[:, 2] ** 2).any(), "the clamp was never needed"
    assert np.isfinite(ours).all() and torch.isnan(param).any()


def test_rprop_shows_a_nan_gradient_that_torch_passes_over():
    grads = np.array([[1.0, 1.0], [np.nan, 1.0], [1.0, 1.0]])
    theirs = torch_run(lambda p: torch.optim.Rprop(p), grads, [])
    assert np.isfinite(theirs).all() and theirs[1, 0, 0] == theirs[0, 0, 0]
    ours = run(RULES["rprop"], grads)
    assert np.isnan(ours[1:, 0, 0]).all() and np.array_equal(ours[:, 0, 1], theirs[:, 0, 1])


def test_rprop_compares_signs_where_torch_loses_a_product_of_small_gradients():
    grads = np.full((5, 1), 1e-200)
    theirs = torch_run(lambda p: torch.optim.Rprop(p), grads, ["step_size"])
    ours = run(RULES["rprop"], grads)
    assert np.allclose(theirs[:, 1, 0], 0.01)
    assert np.allclose(ours[:, 2, 0], 0.01 * 1.2 ** np.arange(5))
