"""LaProp, beside the parents of Adam"""

import numpy as np

from adam_nbdev.rules import laprop
from harness.oracles import BETAS, EPS, Evidence, grid, path, weighted


def formula(grads, param, lr, beta1, beta2, eps):
    steps = np.arange(1, len(grads) + 1)[:, None]
    v = weighted(grads**2, beta2)
    m = weighted(grads / (np.sqrt(v / (1 - beta2**steps)) + eps), beta1)
    return path(param, lr * m / (1 - beta1**steps), m, v)


LAPROP = Evidence(
    laprop,
    oracles=[(formula, grid({"lr": 0.03}, BETAS, EPS))],
    faults=[
        ("v not corrected", "(sqrt(v_hat) + eps)", "(sqrt(v) + eps)"),
        ("m not corrected", "lr * m_hat", "lr * m"),
        ("Adam", "rescaled = grad / (sqrt(v_hat) + eps)\n    m = ema(m, rescaled, beta1)", "m = ema(m, grad, beta1)\n    rescaled = m / (sqrt(v_hat) + eps)"),
        ("summed", "ema(m, rescaled, beta1)", "beta1 * m + rescaled"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("state overwritten", "param - update, m, v", "param - update, m_hat, v_hat"),
    ],
    typical=(
        ["m"],
        "it averages quotients of both signs: where they cancel, one unit of a summand is many of "
        "the sum",
    ),
    scale_free=True,
)  # fmt: skip
