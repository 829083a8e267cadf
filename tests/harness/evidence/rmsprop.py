"""Rprop, and the methods that are called RMSprop"""

import numpy as np
import torch

from adam_nbdev.rules import (
    rmsprop,
    rmsprop_centred,
    rmsprop_centred_momentum,
    rmsprop_corrected,
    rmsprop_momentum,
    rprop,
)
from harness.oracles import EPS, Evidence, grid, in_torch, torch_run


def alternating(grads):
    return np.abs(grads) * np.where(np.arange(len(grads)) // 6 % 2, -1, 1)


def adam_without_momentum(grads, param, lr, decay, eps):
    def make(params):
        return torch.optim.Adam(params, lr=lr, betas=(0.0, decay), eps=eps)

    return torch_run(make, grads, ["exp_avg_sq"], param)


WITH_MOMENTUM = {"lr": 0.03, "decay": 0.95, "momentum": 0.8}
BOUNDS = [
    {"smallest": low, "largest": high} for low, high in ((1e-6, 50), (0.02, 0.04), (1e-12, 0.01))
]
FACTORS = [{"down": down, "up": up} for down, up in ((0.5, 1.2), (0.7, 1.5))]
RPROP = Evidence(
    rprop,
    oracles=[(in_torch(rprop), grid({"lr": 0.03}, BOUNDS, FACTORS))],
    faults=[
        ("lr at every step", "where(step > 1, size, lr)", "lr + 0 * size"),
        ("size starts at 0", "where(step > 1, size, lr)", "size"),
        ("lr counted as seen", "step > 1", "step > 2"),
        ("a step after a change of sign", "grad = where(agreement < 0, 0, grad)\n    ", ""),
        ("remembered although its sign changed", "param - update, grad, size", "param - update, where(agreement < 0, -sign(previous) * 1.0, grad), size"),
        ("the last step taken back", "update = size * sign(grad)", "update = where(agreement < 0, -size / down * sign(previous), size * sign(grad))"),
        ("factors swapped", "agreement < 0, down, 1)\n    factor = where(agreement > 0", "agreement > 0, down, 1)\n    factor = where(agreement < 0"),
        ("zero taken for agreement", "agreement > 0", "agreement >= 0"),
        ("zero taken for a change", "where(agreement < 0, down, 1)", "down + 0 * grad"),
        ("zero gradient taken for a change of sign", "grad = where(agreement < 0", "grad = where(agreement <= 0"),
        ("no smallest", "maximum(size * factor, smallest)", "size * factor"),
        ("no largest", "size = -maximum(-size, -largest)\n    ", ""),
        ("bounds swapped", "maximum(size * factor, smallest)\n    size = -maximum(-size, -largest)", "-maximum(-size * factor, -smallest)\n    size = maximum(size, largest)"),
        ("yesterday's size", "update = size * sign(grad)", "update = size / factor * sign(grad)"),
        ("scaled by the gradient", "size * sign(grad)", "size * grad"),
        ("lr counted twice", "update = size", "update = lr * size"),
        ("sign remembered for gradient", "param - update, grad, size", "param - update, sign(grad), size"),
        ("compared with the last gradient of any sign", "sign(grad) * previous", "grad * grad"),
    ],
    rest=({"size": 0.5}, "a step size and not a memory: it begins at lr"),
    gradients=(
        alternating,
        "random signs take its size to the smallest and leave it there; signs that change at every "
        "sixth step keep it between its bounds",
    ),
    distinct=(1000 - 1000 // 6 - 1, "at each change of sign it rests"),
    outside={
        "lr counted as seen": (
            {"lr": 100.0},
            "it shows only with a first step that is longer than the longest",
        )
    },
)  # fmt: skip


RMSPROP = Evidence(
    rmsprop,
    oracles=[(in_torch(rmsprop), grid({"lr": 0.03, "decay": 0.95}, EPS))],
    faults=[
        ("bias corrected", "sqrt(v)", "sqrt(v / (1 - decay**step))"),
        ("v starts at 1", "(sqrt(v) + eps)", "(sqrt(v + decay**step) + eps)"),
        ("eps inside the root", "(sqrt(v) + eps)", "sqrt(v + eps)"),
        ("old v", "sqrt(v)", "sqrt((v - (1 - decay) * square) / decay)"),
    ],
    scale_free=True,
)  # fmt: skip


RMSPROP_CENTRED = Evidence(
    rmsprop_centred,
    oracles=[(in_torch(rmsprop_centred), grid({"lr": 0.03, "decay": 0.95}, EPS))],
    faults=[
        ("not centred", "v - m * m", "v"),
        ("eps inside the root", "(sqrt(variance) + eps)", "sqrt(variance + eps)"),
        ("root missing", "sqrt(variance)", "variance"),
    ],
)  # fmt: skip


RMSPROP_MOMENTUM = Evidence(
    rmsprop_momentum,
    oracles=[(in_torch(rmsprop_momentum), grid(WITH_MOMENTUM, EPS))],
    faults=[
        ("momentum on the raw gradient", "rescaled = grad / (sqrt(v) + eps)\n    buffer = momentum * buffer + rescaled", "buffer = momentum * buffer + grad\n    rescaled = buffer / (sqrt(v) + eps)"),
        ("averaged buffer", "+ rescaled", "+ (1 - momentum) * rescaled"),
        ("lr inside, update unscaled", "update = lr * buffer", "update = buffer"),
        ("eps inside the root", "(sqrt(v) + eps)", "sqrt(v + eps)"),
    ],
    scale_free=True,
)  # fmt: skip


RMSPROP_CENTRED_MOMENTUM = Evidence(
    rmsprop_centred_momentum,
    oracles=[(in_torch(rmsprop_centred_momentum), grid(WITH_MOMENTUM, EPS))],
    faults=[
        ("not centred", "v - m * m", "v"),
        ("centred with the gradient", "v - m * m", "v - grad * m"),
        ("eps inside the root", "(sqrt(variance) + eps)", "sqrt(variance + eps)"),
        ("root missing", "sqrt(variance)", "variance"),
        ("momentum on the raw gradient", "buffer = momentum * buffer + rescaled\n    update = lr * buffer", "buffer = momentum * buffer + grad\n    update = lr * buffer / (sqrt(variance) + eps)"),
        ("average for gradient", "rescaled = grad /", "rescaled = m /"),
        ("averaged buffer", "+ rescaled", "+ (1 - momentum) * rescaled"),
        ("lr inside the buffer", "+ rescaled\n    update = lr * buffer", "+ lr * rescaled\n    update = buffer"),
        ("momentum forgotten", "update = lr * buffer", "update = lr * rescaled"),
        ("Nesterov", "update = lr * buffer", "update = lr * (rescaled + momentum * buffer)"),
        ("bias corrected", "v - m * m", "unbias(v, decay, step) - unbias(m, decay, step) ** 2"),
        ("decay and momentum swapped", "ema(v, square, decay), ema(m, grad, decay)", "ema(v, square, momentum), ema(m, grad, momentum)"),
    ],
)  # fmt: skip


RMSPROP_CORRECTED = Evidence(
    rmsprop_corrected,
    oracles=[(adam_without_momentum, grid({"lr": 0.03, "decay": 0.95}, EPS))],
    faults=[
        ("not corrected", "sqrt(v_hat)", "sqrt(v)"),
        ("eps inside the root", "(sqrt(v_hat) + eps)", "sqrt(v_hat + eps)"),
        ("step starts at 2", "unbias(v, decay, step)", "unbias(v, decay, step + 1)"),
        ("state overwritten", "param - update, v", "param - update, v_hat"),
    ],
    scale_free=True,
)  # fmt: skip
