"""What is the same for every element follows IEEE 754 in every reader, as elements do."""

import math

import numpy as np
import pytest
import torch
from harness.node import in_node, node  # noqa: F401

from adam_nbdev.kernels.cpu import step_inplace
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.floats import Float
from adam_nbdev.language.primitives import absolute, ema, maximum, sign, sqrt, unbias, where
from adam_nbdev.language.rule import parse
from adam_nbdev.language.run import run
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.exact import exact
from adam_nbdev.readers.trace import trace


def uncorrected(param, grad, m, step, beta=1.0):
    m_hat = unbias(grad, beta, step)
    return m_hat, m + 1 / (1 - beta)


def too_large(param, grad, m, step):
    return grad * 10.0**step, m - 10 ** (100 * step)


def chosen(param, grad, m, step):
    return grad / where(step > 1, 1, 0), 1 / where(step > 2, 1, 0) + 0 * m


def complex_power(param, grad, m, step):
    shrink = (2 - step) ** 0.5
    return param - shrink * grad, absolute((2 - step) ** 0.5) + maximum(m, sqrt(1 - step))


def integers(param, grad, m, step):
    side = where(grad > 0, 2, 1)
    return side**63 * side**63, m + where(step > 1, 3, 2) ** 80


def constants(param, grad, m, step):
    big = 10**400
    return grad / big, where(1 < 2, m, big) + 1 / (2 - 2)


def signs(param, grad, m, step):
    return grad * (step - 1e200) ** 3, m + (-(step - 1.0)) ** -1


def not_numbers(param, grad, m, step):
    nothing = 0 / 0
    return grad * sign(nothing), m + (1e400 - 1e400)


def powers_of_one(param, grad, m, step, one=1.0):
    nothing = 0 / (step - step)
    return grad * one**nothing, m + (-1) ** (1 / (step - step))


def shared(param, grad, m: Slot(start=1.0, per="tensor"), step, beta=1.0):
    m = m / (1 - beta**step)
    return param - grad / m, m


def true(param, grad, null, step, Math=0.5, true=2.0, true_=3.0, Infinity=4.0, power=2.0):
    null = ema(null, grad, Math)
    yield_ = true * true_ * Infinity
    return param - yield_ * null**power, null


RULES = [uncorrected, too_large, chosen, complex_power, integers, constants, signs]
RULES += [not_numbers, powers_of_one, shared, true]


def by_arrays(rule, grads, make):
    param, found = make([0.5, 0.5]), []
    state = start(rule, param)
    for step, grad in enumerate(grads, 1):
        param, state = advance(rule, param, make([grad, grad]), state, step)
        found.append([float(param[0]), *(float(np.ravel(x)[0]) for x in state.values())])
    return found


def by_kernel(rule, grads, dtype):
    param, found = np.full(2, 0.5, dtype), []
    state = start(rule, param)
    for step, grad in enumerate(grads, 1):
        step_inplace(rule, param, np.full(2, grad, dtype), state, step)
        found.append([float(param[0]), *(float(np.ravel(x)[0]) for x in state.values())])
    return found


def doubles(values):
    return np.array(values, float)


def tensors(values):
    return torch.tensor(values, dtype=torch.float64)


GRADS = [0.25, -3.0, 2.0, -0.5]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_reader_follows_the_standard(rule):
    expected = [[one.param, *one.state.values()] for one in run(rule, GRADS, 0.5)]
    starts = [slot.start for slot in parse(rule).slots.values()]
    found = {
        "arrays": by_arrays(rule, GRADS, doubles),
        "tensors": by_arrays(rule, GRADS, tensors),
        "kernel": by_kernel(rule, GRADS, np.float64),
        "javascript": in_node(rule, GRADS, [0.5, *starts]),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, expected, rtol=1e-12, err_msg=name)
    with np.errstate(over="ignore"):
        single = by_kernel(rule, GRADS, np.float32), np.float32(expected)
    np.testing.assert_allclose(*single, rtol=1e-5, err_msg="single")


@pytest.mark.parametrize("rule", [uncorrected, chosen, complex_power, not_numbers, shared])
def test_fifty_digits_follow_it_too(rule):
    expected = [[one.param, *one.state.values()] for one in run(rule, GRADS, 0.5)]
    found = exact(rule, GRADS, 0.5)
    assert all(type(value).__name__ == "mpf" for row in found for value in row)
    np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-15)


VALUES = [0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 1e200, -1e200, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("x", [*VALUES, -0.0])
@pytest.mark.parametrize("y", [*VALUES, -0.0])
def test_floats_are_those_of_numpy(x, y):
    one, two = Float(x), np.float64(x)
    with np.errstate(all="ignore"):
        pairs = [(one / y, two / y), (one**y, two**y), (one * y, two * y), (y - one, y - two)]
        pairs += [(y / one, np.float64(y) / x), (y**one, np.float64(y) ** x)]
    for mine, theirs in pairs:
        assert isinstance(mine, Float)
        assert repr(float(mine)) == repr(float(theirs)) or mine == pytest.approx(theirs, rel=1e-15)


def test_a_trace_shows_what_is_no_number():
    lines = trace(uncorrected, 0.5, 0.0)
    assert math.isnan(lines[0].value) and lines[-1].value == math.inf


def power(param, grad, step, exponent=1.0):
    return grad**exponent


POWERS = [math.nan, math.inf, -math.inf, 0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, -1.5]


@pytest.mark.parametrize("exponent", POWERS)
def test_every_kind_of_power_is_that_of_ieee_754(exponent):
    with np.errstate(all="ignore"):
        wanted = [np.float64(x) ** np.float64(exponent) for x in POWERS]
    found = [[float(exact(power, [x], exponent=exponent)[0][0]) for x in POWERS]]
    given = {"number": Float, "exponent": exponent}
    found.append([next(run(power, [x], 0.0, **given)).param for x in POWERS])
    for values in found:
        np.testing.assert_allclose(values, wanted, rtol=1e-15)
