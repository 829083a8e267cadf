"""AdamW and AdamC"""

import numpy as np

from adam_nbdev.rules import adamc, adamw
from harness.oracles import BETAS, EPS, Evidence, discounted, grid, in_torch, weighted

RATES = [{"lr": lr, "weight_decay": decay} for lr, decay in ((0.1, 0.5), (0.03, 0.01), (0.03, 0.0))]
WHOLE = """param = decoupled(param, lr, weight_decay)
    return adam(param, grad, m, v, step, lr, beta1, beta2, eps)"""
ADAMW = Evidence(
    adamw,
    oracles=[(in_torch(adamw), grid(RATES, BETAS, EPS))],
    faults=[
        ("L2", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)"),
        ("both", "param = decoupled(param, lr, weight_decay)", "grad = l2(param, grad, weight_decay)\n    param = decoupled(param, lr, weight_decay)"),
        ("no decay", "decoupled(param, lr, weight_decay)", "param"),
        ("decay after the step", WHOLE, "param, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (decoupled(param, lr, weight_decay), m, v)"),
        ("decay of the new parameter, implicitly", "decoupled(param, lr, weight_decay)", "param / (1 + lr * weight_decay)"),
        ("decay not multiplied by lr", "decoupled(param, lr,", "decoupled(param, 1,"),
        ("decay multiplied by lr twice", "decoupled(param, lr,", "decoupled(param, lr * lr,"),
        ("decay of half the rate", "lr, weight_decay)", "lr, weight_decay / 2)"),
        ("decay at the default rate", "lr, weight_decay)", "lr, 0.01)"),
        ("growth", "lr, weight_decay)", "lr, -weight_decay)"),
        ("decay by the sign", "decoupled(param, lr, weight_decay)", "param - lr * weight_decay * sign(param)"),
        ("decay from the second step on", "decoupled(param, lr, weight_decay)", "where(step > 1, decoupled(param, lr, weight_decay), param)"),
        ("decay that falls with the step", "lr, weight_decay)", "lr / step, weight_decay)"),
        ("decay of the update", WHOLE, "new, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (param - decoupled(param - new, lr, weight_decay), m, v)"),
        ("decay rescaled with the gradient", WHOLE, "new, m, v = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    return (new - lr * weight_decay * param / (sqrt(unbias(v, beta2, step)) + eps), m, v)"),
        ("penalty in m only", WHOLE, "new, _, w = adam(param, grad, m, v, step, lr, beta1, beta2, eps)\n    m = ema(m, l2(param, grad, weight_decay), beta1)\n    return (param - lr * unbias(m, beta1, step) / (sqrt(unbias(w, beta2, step)) + eps), m, w)"),
        ("penalty in v only", WHOLE, "shrunk = decoupled(param, lr, weight_decay)\n    _, n, _ = adam(shrunk, grad, m, v, step, lr, beta1, beta2, eps)\n    penalised = l2(param, grad, weight_decay)\n    v = ema(v, penalised * penalised, beta2)\n    return (shrunk - lr * unbias(n, beta1, step) / (sqrt(unbias(v, beta2, step)) + eps), n, v)"),
        ("decay of the state", "return adam(param, grad, m, v,", "return adam(param, grad, decoupled(m, lr, weight_decay), v,"),
        ("betas swapped", "lr, beta1, beta2, eps)", "lr, beta2, beta1, eps)"),
        ("eps not passed on", "beta1, beta2, eps)", "beta1, beta2)"),
        ("betas not passed on", "lr, beta1, beta2, eps)", "lr, eps=eps)"),
        ("lr not passed on", "step, lr, beta1, beta2, eps)", "step, beta1=beta1, beta2=beta2, eps=eps)"),
        ("step one late", "v, step, lr, beta1", "v, step + 1, lr, beta1"),
        ("m and v exchanged", "m, v, step, lr, beta1", "v, m, step, lr, beta1"),
        ("not decayed where the gradient is 0", "decoupled(param, lr, weight_decay)", "where(absolute(grad) > 0, decoupled(param, lr, weight_decay), param)"),
    ],
    scale_free=True,
)  # fmt: skip


def corrected(grads, param, lr, beta1, beta2, eps, weight_decay, lr_max):
    """AdamC in closed form: decayed updates of Adam, each with all that it forgets afterwards."""
    steps = np.arange(1, len(grads) + 1)[:, None]
    m, v = weighted(grads, beta1), weighted(grads * grads, beta2)
    updates = lr * (m / (1 - beta1**steps)) / (np.sqrt(v / (1 - beta2**steps)) + eps)
    kept = 1 - weight_decay * lr**2 / lr_max
    return np.stack([kept**steps * param - discounted(updates, kept), m, v], axis=1)


LARGEST = [
    {"lr": lr, "lr_max": most, "weight_decay": decay}
    for lr, most, decay in ((0.1, 0.4, 0.5), (0.03, 0.03, 0.3), (0.2, 0.1, 0.0))
]
LINE = "decoupled(param, lr * lr / lr_max, weight_decay)"
ADAMC = Evidence(
    adamc,
    oracles=[(corrected, grid(LARGEST, BETAS, EPS))],
    decayed=(
        lambda param, lr, decay: param - lr * lr / 1e-3 * decay * param,
        "its decay is relative to the largest rate, 1e-3 unless it is told",
    ),
    faults=[
        ("AdamW", "lr * lr / lr_max", "lr"),
        ("decay of the ratio", "lr * lr / lr_max", "lr / lr_max"),
        ("square not divided", "lr * lr / lr_max", "lr * lr"),
        ("ratio squared", "lr * lr / lr_max", "lr * lr / (lr_max * lr_max)"),
        ("the largest rate always", "lr * lr / lr_max", "lr_max"),
        ("upside down", "lr * lr / lr_max", "lr_max * lr_max / lr"),
        ("root of the ratio", "lr * lr / lr_max", "lr * sqrt(lr / lr_max)"),
        ("L2", f"param = {LINE}", "grad = l2(param, grad, weight_decay * lr / lr_max)"),
        ("no decay", LINE, "param"),
        ("decay not passed on", "lr_max, weight_decay)", "lr_max, 0.01)"),
        ("update at the corrected rate", "step, lr, beta1", "step, lr * lr / lr_max, beta1"),
        ("update at the largest rate", "step, lr, beta1", "step, lr_max, beta1"),
        ("betas swapped", "lr, beta1, beta2, eps)", "lr, beta2, beta1, eps)"),
        ("eps not passed on", "beta1, beta2, eps)", "beta1, beta2)"),
    ],
    scale_free=True,
    outside={
        fault: ({"lr_max": 4e-3}, "where lr is the largest rate, AdamC is AdamW")
        for fault in (
            "AdamW",
            "the largest rate always",
            "upside down",
            "root of the ratio",
            "update at the largest rate",
        )
    },
)  # fmt: skip
