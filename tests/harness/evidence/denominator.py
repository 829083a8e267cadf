"""AdaMax, AdaBelief and Yogi"""

import numpy as np

from adam_nbdev.rules import adabelief, adamax, yogi
from harness.oracles import BETAS, EPS, Evidence, discounted, each, grid, in_torch, path, weighted

ADAMAX = Evidence(
    adamax,
    oracles=[(in_torch(adamax), grid({"lr": 0.03}, BETAS, EPS))],
    faults=[
        ("Adam", "update = lr * m_hat / where(u > 0, u, 1)", "update = lr * m_hat / (sqrt(ema(u * u, grad * grad, beta2)) + eps)"),
        ("eps outside the maximum", "maximum(beta2 * u, absolute(grad) + eps)", "maximum(beta2 * u, absolute(grad)) + eps"),
        ("eps dropped", "absolute(grad) + eps", "absolute(grad)"),
        ("eps added to the denominator", "where(u > 0, u, 1)", "(u + eps)"),
        ("no discount", "beta2 * u", "u"),
        ("the new gradient discounted too", "absolute(grad) + eps)", "beta2 * (absolute(grad) + eps))"),
        ("without the size", "absolute(grad) + eps", "grad + eps"),
        ("an average for a maximum", "maximum(beta2 * u, absolute(grad) + eps)", "ema(u, absolute(grad) + eps, beta2)"),
        ("u corrected", "where(u > 0, u, 1)", "unbias(where(u > 0, u, 1), beta2, step)"),
        ("m not corrected", "lr * m_hat", "lr * m"),
        ("yesterday's u", "where(u > 0, u, 1)", "where(u > absolute(grad) + eps, u / beta2, u)"),
        ("betas swapped", "ema(m, grad, beta1), maximum(beta2 * u", "ema(m, grad, beta2), maximum(beta1 * u"),
        ("ascent", "param - update", "param + update"),
    ],
    rest=({"u": 1e-8}, "it is the largest `eps` that was added to a gradient of 0"),
    scale_free=True,
)  # fmt: skip


def belief(grads, param, lr, beta1, beta2, eps):
    """Algorithm 2 of Zhuang et al., every average as a sum with its weights."""
    steps = np.arange(1, len(grads) + 1)[:, None]
    m = weighted(grads, beta1)
    v = weighted((grads - m) ** 2, beta2) + discounted(eps + 0 * grads, beta2)
    m_hat, v_hat = m / (1 - beta1**steps), v / (1 - beta2**steps)
    return path(param, lr * m_hat / (np.sqrt(v_hat) + eps), m, v)


ADABELIEF = Evidence(
    adabelief,
    oracles=[(belief, grid({"lr": 0.03}, BETAS[:2], each(eps=(1e-16, 1e-8, 1e-3))))],
    faults=[
        ("Adam", "surprise = grad - m", "surprise = grad"),
        ("the average before the gradient", "surprise = grad - m", "surprise = (grad - m) / beta1"),
        ("distance from the corrected average", "surprise = grad - m", "surprise = grad - unbias(m, beta1, step)"),
        ("centred RMSprop", "surprise * surprise", "grad * grad - m * m"),
        ("no eps in v", "ema(v, surprise * surprise, beta2) + eps", "ema(v, surprise * surprise, beta2)"),
        ("eps in v averaged", "ema(v, surprise * surprise, beta2) + eps", "ema(v, surprise * surprise + eps, beta2)"),
        ("eps not kept in v", "param - update, m, v", "param - update, m, v - eps"),
        ("no eps outside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat)"),
        ("v not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("m not corrected", "lr * m_hat", "lr * m"),
        ("root missing", "sqrt(v_hat)", "v_hat"),
        ("the gradient for its average", "lr * m_hat", "lr * grad"),
        ("betas swapped", "m = ema(m, grad, beta1)", "m = ema(m, grad, beta2)"),
        ("state overwritten", "param - update, m, v", "param - update, m, v_hat"),
    ],
    rest=(
        {"v": lambda steps: 1e-16 * (1 - 0.999**steps) / (1 - 0.999)},
        "it gathers what is added to it at every step",
    ),
    scale_free=True,
)  # fmt: skip


def additive(grads, param, lr, beta1, beta2, eps):
    """Zaheer et al. in words: v goes up where the square is larger than it, else down."""
    steps = np.arange(1, len(grads) + 1)[:, None]
    m, v = weighted(grads, beta1), np.empty_like(grads)
    last = np.full(grads.shape[1:], 1e-6)
    for step, size in enumerate(np.abs(grads)):
        change = (1 - beta2) * size**2
        last = v[step] = last + np.where(size > np.sqrt(last), change, -change)
    m_hat, v_hat = m / (1 - beta1**steps), v / (1 - beta2**steps)
    return path(param, lr * m_hat / (np.sqrt(v_hat) + eps), m, v)


YOGI = Evidence(
    yogi,
    oracles=[(additive, grid({"lr": 0.03}, BETAS, EPS))],
    faults=[
        ("Adam", "signed = sign(v - square) * square", "signed = v - square"),
        ("sign of the gradient", "sign(v - square)", "sign(v - grad)"),
        ("the other way", "sign(v - square)", "sign(square - v)"),
        ("without the square", "sign(v - square) * square", "sign(v - square)"),
        ("only up", "signed = sign(v - square) * square", "signed = -maximum(-sign(v - square) * square, 0)"),
        ("only down", "signed = sign(v - square) * square", "signed = maximum(sign(v - square) * square, 0)"),
        ("v starts at 0", "square = grad * grad", "v = where(step > 1, v, 0)\n    square = grad * grad"),
        ("v forgets too", "v - (1 - beta2) * signed", "beta2 * v - (1 - beta2) * signed"),
        ("v not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("m not corrected", "lr * m_hat", "lr * m"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("root missing", "sqrt(v_hat)", "v_hat"),
        ("betas swapped", "ema(m, grad, beta1), v - (1 - beta2)", "ema(m, grad, beta2), v - (1 - beta1)"),
        ("m starts as v", "square = grad * grad", "m = where(step > 1, m, 1e-6)\n    square = grad * grad"),
        ("state overwritten", "param - update, m, v", "param - update, m, v_hat"),
    ],
)  # fmt: skip
