"""Signum, cautious Adam, Adan and AdEMAMix"""

import numpy as np

from adam_nbdev.rules import adan, ademamix, cautious_adam, signum
from harness.oracles import BETAS, EPS, Evidence, discounted, each, grid, path, weighted


def counted(grads):
    return np.arange(1, len(grads) + 1)[:, None]


def by_sign(grads, param, lr, beta1, weight_decay):
    """The sign of the average as a sum of weights; the parameter as a sum of decayed updates."""
    m, kept = weighted(grads, beta1), 1 - lr * weight_decay
    moved = kept ** counted(grads) * param - lr * discounted(np.sign(m), kept)
    return np.stack([moved, m], axis=1)


RATES = [{"lr": 0.1, "weight_decay": 0.5}, {"lr": 0.03, "weight_decay": 0.0}]
SIGNUM = Evidence(
    signum,
    oracles=[(by_sign, grid(RATES, each(beta1=(0.9, 0.99, 0.0))))],
    faults=[
        ("average of signs", "sign(m)", "m / maximum(absolute(m), absolute(grad))"),
        ("sign of the gradient", "sign(m)", "sign(grad)"),
        ("signs averaged", "ema(m, grad, beta1)", "ema(m, sign(grad), beta1)"),
        ("no sign", "sign(m)", "m"),
        ("the old average", "m = ema(m, grad, beta1)\n    update = lr * sign(m)", "update = lr * sign(m)\n    m = ema(m, grad, beta1)"),
        ("a sum, not an average", "ema(m, grad, beta1)", "beta1 * m + grad"),
        ("the sign kept", "param - update, m", "param - update, sign(m)"),
        ("ascent", "param - update", "param + update"),
        ("L2", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)"),
        ("no decay", "decoupled(param, lr, weight_decay)", "param"),
        ("decay after the step", "param - update", "decoupled(param / (1 - lr * weight_decay) - update, lr, weight_decay)"),
        ("decay not multiplied by lr", "decoupled(param, lr,", "decoupled(param, 1,"),
    ],
    distinct=(50, "it walks on a lattice: whole multiples of lr from where it starts"),
    scale_free=True,
)  # fmt: skip


def masked(grads, param, lr, beta1, beta2, eps):
    """Adam's update in closed form, and 0 where its sign is not that of the gradient."""
    steps = counted(grads)
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    updates = lr * m / (1 - beta1**steps) / (np.sqrt(v / (1 - beta2**steps)) + eps)
    return path(param, updates * (np.sign(updates) * np.sign(grads) > 0), m, v)


MASK = "where(sign(update) * sign(grad) <= 0, 0, update)"
CAUTIOUS = Evidence(
    cautious_adam,
    oracles=[(masked, grid({"lr": 0.03}, BETAS, EPS))],
    faults=[
        ("Adam", MASK, "update"),
        ("the other half", "<= 0", "> 0"),
        ("the other sign", "sign(grad) <= 0", "sign(-grad) <= 0"),
        ("moved where the gradient is 0", "<= 0", "< 0"),
        ("the gradient in its place", MASK, "where(sign(update) * sign(grad) <= 0, lr * grad, update)"),
        ("turned, not left out", MASK, "where(sign(update) * sign(grad) <= 0, -update, update)"),
        ("sign of the gradient", MASK, "absolute(update) * sign(grad)"),
        ("compared with itself", "sign(grad) <= 0", "sign(m) <= 0"),
        ("the state masked", "param - update, m,", "param - update, where(sign(m) * sign(grad) <= 0, 0, m),"),
        ("half of what is left out", "<= 0, 0, update)", "<= 0, update / 2, update)"),
        ("v not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("betas swapped", "ema(m, grad, beta1), ema(v, square, beta2)", "ema(m, grad, beta2), ema(v, square, beta1)"),
    ],
    distinct=(500, "it stands still in half of the steps, where the mask is 0"),
    scale_free=True,
)  # fmt: skip


def changes(grads):
    return np.concatenate([0 * grads[:1], np.diff(grads, axis=0)])


def with_changes(grads, param, lr, beta1, beta2, beta3, eps, weight_decay):
    """Algorithm 1 of Xie et al. with the averages corrected, as sums of weights."""
    steps, kept = counted(grads), 1 / (1 + lr * weight_decay)
    m, d = weighted(grads, beta1), weighted(changes(grads), beta2)
    v = weighted((grads + beta2 * changes(grads)) ** 2, beta3)
    updates = m / (1 - beta1**steps) + beta2 * d / (1 - beta2**steps)
    updates = lr * updates / (np.sqrt(v / (1 - beta3**steps)) + eps)
    moved = kept**steps * param - kept * discounted(updates, kept)
    return np.stack([moved, m, d, v, grads], axis=1)


THREE = [{"beta1": b1, "beta2": b2, "beta3": b3}
         for b1, b2, b3 in ((0.98, 0.92, 0.99), (0.9, 0.6, 0.999), (0.8, 0.0, 0.95))]  # fmt: skip
AHEAD = """grad_ahead = grad + beta2 * change
    square = grad_ahead * grad_ahead
    m, d, v = (ema(m, grad, beta1), ema(d, change, beta2), ema(v, square, beta3))
    m_hat, d_hat = (unbias(m, beta1, step), unbias(d, beta2, step))
    v_hat = unbias(v, beta3, step)
    update = lr * (m_hat + beta2 * d_hat)"""
ADAN = Evidence(
    adan,
    oracles=[(with_changes, grid(RATES, THREE, EPS))],
    faults=[
        ("the first change is the gradient", "where(step > 1, grad - previous, 0 * grad)", "grad - previous"),
        ("no change", "where(step > 1, grad - previous, 0 * grad)", "0 * grad"),
        ("change turned", "grad - previous", "previous - grad"),
        ("change from the average", "grad - previous", "grad - m"),
        ("1 - beta2, as the paper spells it", "m_hat + beta2 * d_hat", "m_hat + (1 - beta2) * d_hat"),
        ("1 - beta2 ahead", "grad + beta2 * change", "grad + (1 - beta2) * change"),
        ("1 - beta2 in both, as optax 0.2.8", AHEAD, AHEAD.replace("beta2 * change", "(1 - beta2) * change").replace("beta2 * d_hat", "(1 - beta2) * d_hat")),
        ("changes not weighed", "m_hat + beta2 * d_hat", "m_hat + d_hat"),
        ("weighed by beta1", "m_hat + beta2 * d_hat", "m_hat + beta1 * d_hat"),
        ("changes dropped", "m_hat + beta2 * d_hat", "m_hat"),
        ("square of the gradient", "grad_ahead * grad_ahead", "grad * grad"),
        ("square of the average", "grad_ahead * grad_ahead", "(m + beta2 * d) * (m + beta2 * d)"),
        ("beta2 and beta3 exchanged", "ema(d, change, beta2), ema(v, square, beta3)", "ema(d, change, beta3), ema(v, square, beta2)"),
        ("beta1 for d", "ema(d, change, beta2)", "ema(d, change, beta1)"),
        ("d corrected with beta1", "unbias(d, beta2, step)", "unbias(d, beta1, step)"),
        ("m not corrected", "(m_hat + beta2", "(m + beta2"),
        ("d not corrected", "beta2 * d_hat", "beta2 * d"),
        ("v not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("the gradient ahead kept", "d, v, grad", "d, v, grad_ahead"),
        ("the gradient before kept", "d, v, grad", "d, v, previous"),
        ("decoupled decay", "(param - update) / (1 + lr * weight_decay)", "decoupled(param, lr, weight_decay) - update"),
        ("decay before the step", "(param - update) / (1 + lr * weight_decay)", "param / (1 + lr * weight_decay) - update"),
        ("L2", "change =", "grad = l2(param, grad, weight_decay)\n    change ="),
        ("no decay", " / (1 + lr * weight_decay)", ""),
        ("decay not multiplied by lr", "(1 + lr * weight_decay)", "(1 + weight_decay)"),
        ("growth", "(1 + lr * weight_decay)", "(1 - lr * weight_decay)"),
    ],
    decayed=(lambda param, lr, decay: param / (1 + lr * decay), "its decay is proximal"),
)  # fmt: skip


def with_two(grads, param, lr, beta1, beta2, beta3, mix, eps, weight_decay):
    """Both averages as sums of weights; the slow one is not corrected."""
    steps, kept = counted(grads), 1 - lr * weight_decay
    m, slow, v = (weighted(x, b) for x, b in ((grads, beta1), (grads, beta3), (grads**2, beta2)))
    updates = lr * (m / (1 - beta1**steps) + mix * slow)
    updates = updates / (np.sqrt(v / (1 - beta2**steps)) + eps)
    moved = kept**steps * param - discounted(updates, kept)
    return np.stack([moved, m, slow, v], axis=1)


SLOW = [{"beta3": b3, "mix": mix} for b3, mix in ((0.9999, 5.0), (0.99, 2.0), (0.999, 0.0))]
ADEMAMIX = Evidence(
    ademamix,
    oracles=[(with_two, grid(RATES, BETAS[:2], SLOW, EPS))],
    faults=[
        ("Adam", "m_hat + mix * slow", "m_hat"),
        ("the slow average corrected", "mix * slow)", "mix * unbias(slow, beta3, step))"),
        ("a mean of both", "(m_hat + mix * slow)", "(m_hat + mix * slow) / (1 + mix)"),
        ("the fast average not corrected", "(m_hat +", "(m +"),
        ("the weight on the fast", "m_hat + mix * slow", "mix * m_hat + slow"),
        ("the slow average of the fast", "ema(slow, grad, beta3)", "ema(slow, m, beta3)"),
        ("the slow average of the corrected", "slow = ema(slow, grad, beta3)", "slow = ema(slow, unbias(m, beta1, step), beta3)"),
        ("beta2 for the slow", "ema(slow, grad, beta3)", "ema(slow, grad, beta2)"),
        ("the old slow average", "mix * slow)", "mix * (slow - (1 - beta3) * grad) / beta3)"),
        ("a sum, not an average", "ema(slow, grad, beta3)", "beta3 * slow + grad"),
        ("v not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("slots exchanged", "param - update, m, slow, v", "param - update, slow, m, v"),
        ("L2", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)"),
        ("no decay", "decoupled(param, lr, weight_decay)", "param"),
        ("decay not multiplied by lr", "decoupled(param, lr,", "decoupled(param, 1,"),
    ],
)  # fmt: skip
