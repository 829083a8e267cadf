"""AMSGrad three ways, and ADOPT"""

import numpy as np

from adam_nbdev.rules import adopt, amsgrad, amsgrad_corrected, amsgrad_torch
from harness.oracles import BETAS, EPS, Evidence, grid, in_torch, path, weighted

ADAMS = grid({"lr": 0.03}, BETAS, EPS)


def raw(grads, param, lr, beta1, beta2, eps):
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    v_max = np.maximum.accumulate(v)
    return path(param, lr * m / (np.sqrt(v_max) + eps), m, v, v_max)


def corrected(grads, param, lr, beta1, beta2, eps):
    steps = np.arange(1, len(grads) + 1)[:, None]
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    v_max = np.maximum.accumulate(v / (1 - beta2**steps))
    return path(param, lr * m / (1 - beta1**steps) / (np.sqrt(v_max) + eps), m, v, v_max)


def delayed(grads, param, lr, beta1, beta2, eps):
    steps = np.arange(1, len(grads) + 1)[:, None]
    v = weighted(grads**2, beta2) + beta2**steps * grads[0] ** 2
    rescaled = np.zeros_like(grads)
    rescaled[1:] = grads[1:] / np.maximum(np.sqrt(v[:-1]), eps)
    m = weighted(rescaled, beta1)
    return path(param, lr * m, m, v)


AMSGRAD = Evidence(
    amsgrad,
    oracles=[(raw, ADAMS)],
    faults=[
        ("the maximum ignored", "sqrt(v_max)", "sqrt(v)"),
        ("v replaced by its maximum", "param - update, m, v, v_max", "param - update, m, v_max, v_max"),
        ("maximum of the corrected", "maximum(v_max, v)", "maximum(v_max, unbias(v, beta2, step))"),
        ("minimum", "maximum(v_max, v)", "-maximum(-v_max, -v)"),
        ("old v", "v_max = maximum(v_max, v)", "v_max = maximum(v_max, (v - (1 - beta2) * square) / beta2)"),
    ],
    scale_free=True,
)  # fmt: skip


AMSGRAD_CORRECTED = Evidence(
    amsgrad_corrected,
    oracles=[(corrected, ADAMS)],
    faults=[
        ("maximum of the raw", "maximum(v_max, v_hat)", "maximum(v_max, v)"),
        ("as torch", "maximum(v_max, v_hat)\n    update = lr * m_hat / (sqrt(v_max) + eps)", "maximum(v_max, v)\n    update = lr * m_hat / (sqrt(unbias(v_max, beta2, step)) + eps)"),
        ("the maximum ignored", "sqrt(v_max)", "sqrt(v_hat)"),
    ],
)  # fmt: skip


AMSGRAD_TORCH = Evidence(
    amsgrad_torch,
    oracles=[(in_torch(amsgrad_torch), grid({"lr": 0.03}, BETAS[:2], EPS))],
    faults=[
        ("as the paper", "sqrt(v_hat)", "sqrt(v_max)"),
        ("maximum of the corrected", "maximum(v_max, v)", "maximum(v_max, unbias(v, beta2, step))"),
        ("the maximum ignored", "unbias(v_max, beta2, step)", "unbias(v, beta2, step)"),
    ],
)  # fmt: skip


ADOPT = Evidence(
    adopt,
    oracles=[(delayed, ADAMS)],
    faults=[
        ("today's v", "grad / maximum(sqrt(v), eps)", "grad / maximum(sqrt(ema(v, square, beta2)), eps)"),
        ("the first step taken", "0 * grad", "grad / maximum(sqrt(square), eps)"),
        ("v starts at 0", "where(step > 1, ema(v, square, beta2), square)", "ema(v, square, beta2)"),
        ("eps added", "maximum(sqrt(v), eps)", "(sqrt(v) + eps)"),
        ("average, then rescale", "rescaled, beta1)", "grad, beta1) / maximum(sqrt(v), eps)"),
        ("corrected", "lr * m", "lr * unbias(m, beta1, step)"),
    ],
)  # fmt: skip
