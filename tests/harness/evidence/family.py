"""Lion and NAdam"""

import numpy as np

from adam_nbdev.rules import lion, nadam
from harness.oracles import BETAS, EPS, Evidence, discounted, each, grid, in_torch, weighted


def formula(grads, param, lr, beta1, beta2, weight_decay):
    """Algorithm 2 of Chen et al., with the decayed parameter as a sum of decayed updates."""
    steps, kept = np.arange(1, len(grads) + 1)[:, None], 1 - lr * weight_decay
    m = weighted(grads, beta2)
    before = np.concatenate([0 * grads[:1], m[:-1]])
    signs = np.sign(beta1 * before + (1 - beta1) * grads)
    return np.stack([kept**steps * param - lr * discounted(signs, kept), m], axis=1)


RATES = [{"lr": 0.1, "weight_decay": 0.5}, {"lr": 0.03, "weight_decay": 0.0}]
TWO = [{"beta1": b1, "beta2": b2} for b1, b2 in ((0.9, 0.99), (0.6, 0.95), (0.95, 0.6))]
DIRECTION = "direction = ema(m, grad, beta1)\n    m = ema(m, grad, beta2)"
LION = Evidence(
    lion,
    oracles=[(formula, grid(RATES, TWO))],
    faults=[
        ("betas swapped", DIRECTION, "direction = ema(m, grad, beta2)\n    m = ema(m, grad, beta1)"),
        ("one beta for both", "direction = ema(m, grad, beta1)", "direction = ema(m, grad, beta2)"),
        ("the mixture kept", "param - update, m", "param - update, direction"),
        ("the new average mixed", DIRECTION, "m = ema(m, grad, beta2)\n    direction = ema(m, grad, beta1)"),
        ("sign of the average", "sign(direction)", "sign(m)"),
        ("sign of the gradient", "sign(direction)", "sign(grad)"),
        ("average of signs", "sign(direction)", "ema(sign(m), sign(grad), beta1)"),
        ("no sign", "sign(direction)", "direction"),
        ("ascent", "param - update", "param + update"),
        ("L2", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)"),
        ("no decay", "decoupled(param, lr, weight_decay)", "param"),
        ("decay after the step", "param - update", "decoupled(param / (1 - lr * weight_decay) - update, lr, weight_decay)"),
        ("decay not multiplied by lr", "decoupled(param, lr,", "decoupled(param, 1,"),
    ],
    distinct=(50, "it walks on a lattice: whole multiples of lr from where it starts"),
    scale_free=True,
)  # fmt: skip

SCHEDULE = "beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay))"
NADAM = Evidence(
    nadam,
    oracles=[(in_torch(nadam), grid({"lr": 0.03}, BETAS, EPS, each(momentum_decay=(4e-3, 0.3))))],
    faults=[
        ("Adam", "lr * ahead", "lr * unbias(m, beta1, step)"),
        ("no look-ahead", "mu_next * m / (1 - mu_product * mu_next)", "mu * m / (1 - mu_product)"),
        ("this step's weight twice", "1 - mu_product * mu_next", "1 - mu_product * mu * mu_next"),
        ("product starts at 0", "mu_product = mu_product * mu", "mu_product = 0 * mu_product * mu"),
        ("product of the next", "mu_product = mu_product * mu", "mu_product = mu_product * mu_next"),
        ("a power for the product", "(1 - mu_product)", "(1 - beta1 ** step)"),
        ("no schedule", f"mu = {SCHEDULE}", "mu = beta1 * 1"),
        ("schedule from 0 to beta1", f"mu = {SCHEDULE}", f"mu = {SCHEDULE}".replace("0.5 * ", "")),
        ("schedule one early", f"mu = {SCHEDULE}", f"mu = {SCHEDULE}".replace("step", "(step + 1)")),
        ("schedule not decayed", "(step * momentum_decay)", "step"),
        ("next is this", "(step + 1)", "step"),
        ("0.95 for 0.96", "0.96", "0.95"),
        ("gradient as in m", "(1 - mu) * grad", "(1 - beta1) * grad"),
        ("gradient dropped", "ahead + (1 - mu) * grad / (1 - mu_product)", "ahead"),
        ("m averaged with mu", "ahead = mu_next", "m = m + (beta1 - mu) * grad\n    ahead = mu_next"),
        ("v not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("betas swapped", "ema(m, grad, beta1), ema(v, square, beta2)", "ema(m, grad, beta2), ema(v, square, beta1)"),
        ("state overwritten by what is ahead", "param - update, m,", "param - update, ahead,"),
    ],
    ulps=({"mu_product": 40}, "a product of up to a thousand powers, which Node rounds otherwise"),
    scale_free=True,
)  # fmt: skip
