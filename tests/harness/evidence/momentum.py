"""Gradient descent, with momentum and without"""

from adam_nbdev.rules import gradient_descent, momentum, nesterov
from harness.oracles import Evidence, in_torch

GRADIENT_DESCENT = Evidence(
    gradient_descent,
    oracles=[(in_torch(gradient_descent), [{"lr": 0.03}])],
    faults=[
        ("sign only", "lr * grad", "lr * grad / (grad * grad + 1e-300) ** 0.5"),
    ],
)  # fmt: skip


MOMENTUM = Evidence(
    momentum,
    oracles=[(in_torch(momentum), [{"lr": 0.03, "momentum": 0.8}])],
    faults=[
        ("averaged buffer", "momentum * buffer + grad", "momentum * buffer + (1 - momentum) * grad"),
        ("lr inside the buffer", "+ grad\n    update = lr * buffer", "+ lr * grad\n    update = buffer"),
        ("Nesterov", "lr * buffer", "lr * (grad + momentum * buffer)"),
    ],
)  # fmt: skip


NESTEROV = Evidence(
    nesterov,
    oracles=[(in_torch(nesterov), [{"lr": 0.03, "momentum": 0.8}])],
    faults=[
        ("no look-ahead", "lr * (grad + momentum * buffer)", "lr * buffer"),
        ("old buffer", "grad + momentum * buffer)", "grad + buffer - grad)"),
    ],
)  # fmt: skip
