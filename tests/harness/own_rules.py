"""Rules as users write them, each of a kind that once went wrong."""

import math

import numpy as np

from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import (
    absolute,
    decoupled,
    ema,
    l2,
    maximum,
    sign,
    sqrt,
    unbias,
    where,
)


def rprop(param, grad, previous, size: Slot(start=0.1), step, up=1.2, down=0.5):
    agreement = grad * previous
    factor = where(agreement > 0, up, where(agreement < 0, down, 1))
    size = size * factor
    update = size * sign(grad)
    return param - update, grad, size


def two_numbers(param, grad, step, lr=0.1):
    side = where(grad > 0, 1, -1)
    update = lr * side
    return param - update


def late(param, grad, m, step, lr=0.1):
    m = ema(m, grad, 0.9)
    update = lr * where(step > 2, m, grad)
    return param - update, m


def optimistic(param, grad, previous, step, lr=0.1):
    update = lr * (2 * grad - previous)
    return param - update, grad


def decaying(param, grad, step, lr=0.1):
    update = lr / sqrt(step) * grad + lr * grad / step
    return param - update


def twice_the_same(param, grad, m, v, step, lr=0.1, decay=0.9):
    m, v = ema(m, grad, decay), ema(v, grad * grad, decay)
    first = 1 - decay**step
    second = 1 - decay**step
    m_hat, v_hat = m / first, v / second
    update = lr * m_hat / (sqrt(v_hat) + 1e-8)
    return param - update, m, v


def unclipped(param, grad, step, lr=0.1, limit=math.inf):
    size = maximum(-maximum(-absolute(grad), -limit), 0)
    update = lr * size * sign(grad)
    return param - update


def numpy_default(param, grad, step, lr=np.float64(0.1)):  # noqa: B008
    update = lr * grad
    return param - update


def adam_style_l2(param, grad, v, step, lr=0.1, weight_decay=0.5, decay=0.9):
    grad = l2(param, grad, weight_decay)
    square = grad * grad
    v = ema(v, square, decay)
    v_hat = unbias(v, decay, step)
    update = lr * grad**2 / (sqrt(v_hat) + 1e-8)
    return param - update, v


def greek(param, grad, v, mu, step, lr=0.1, alpha=0.9, momentum=0.5):
    v = ema(v, grad * grad, alpha)
    mu = momentum * mu + grad / (sqrt(v) + 1e-8)
    update = lr * mu
    return param - update, v, mu


def renamed(param, grad, step, lr=0.1, weight_decay=0.5):
    param = decoupled(param, lr, weight_decay)
    update = lr * grad
    new = param - update
    return new


def keeps_itself(param, grad, last, step, lr=0.1):
    new = param - lr * grad
    return new, new


def counts_on(param, grad, step, lr=0.1):
    step = step + 1
    update = lr * grad / step
    return param - update


def forgets(param, grad, mu, step, lr=0.1, decay=0.9):
    mu = decay**step
    update = lr * grad * mu
    return param - update, mu


RULES = [
    *(rprop, two_numbers, late, optimistic, decaying, twice_the_same, unclipped, numpy_default),
    *(adam_style_l2, greek, renamed, keeps_itself, counts_on, forgets),
]
