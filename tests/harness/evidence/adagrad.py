"""Adagrad"""

from adam_nbdev.rules import adagrad
from harness.oracles import Evidence, each, grid, in_torch

ADAGRAD = Evidence(
    adagrad,
    oracles=[(in_torch(adagrad), grid({"lr": 0.03}, each(eps=(1e-10, 1e-3))))],
    faults=[
        ("sum of gradients", "square = grad * grad", "square = grad"),
        ("average for sum", "accumulator + square", "0.9 * accumulator + 0.1 * square"),
        ("today's square left out", "sqrt(accumulator)", "sqrt(accumulator - square)"),
        ("eps inside the root", "(sqrt(accumulator) + eps)", "sqrt(accumulator + eps)"),
        ("step counted too", "update = lr", "update = lr / sqrt(step)"),
    ],
    scale_free=True,
)  # fmt: skip
