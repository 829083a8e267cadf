"""Adam without its correction"""

import numpy as np

from adam_nbdev.rules import adam_uncorrected
from harness.oracles import BETAS, EPS, Evidence, grid, path, weighted


def formula(grads, param, lr, beta1, beta2, eps):
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    return path(param, lr * m / (np.sqrt(v) + eps), m, v)


ADAM_UNCORRECTED = Evidence(
    adam_uncorrected,
    oracles=[(formula, grid({"lr": 0.03}, BETAS, EPS))],
    faults=[
        ("corrected", "lr * m / (sqrt(v) + eps)", "lr * unbias(m, beta1, step) / (sqrt(unbias(v, beta2, step)) + eps)"),
        ("m corrected", "lr * m /", "lr * unbias(m, beta1, step) /"),
        ("eps inside the root", "(sqrt(v) + eps)", "sqrt(v + eps)"),
        ("momentum on the rescaled gradient", "lr * m / (sqrt(v) + eps)", "lr * grad / (sqrt(v) + eps)"),
    ],
    scale_free=True,
)  # fmt: skip
