"""The longest step there can be: never exceeded, and reached."""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adam_nbdev.lab.bound import step_bound
from adam_nbdev.readers.exact import exact
from adam_nbdev.rules import adam

decay = st.floats(0.01, 0.99)


@given(beta1=decay, beta2=decay, step=st.integers(1, 30))
def test_the_extremal_gradients_reach_it(beta1, beta2, step):
    ratio = mpmath.mpf(beta1) / mpmath.mpf(beta2)
    grads = [ratio ** (step - i) for i in range(1, step + 1)]
    run = exact(adam, grads, lr=1, beta1=beta1, beta2=beta2, eps=0)
    last = (run[-2][0] if step > 1 else 0) - run[-1][0]
    assert float(last) == pytest.approx(step_bound(beta1, beta2, step), rel=1e-9)


@given(
    beta1=decay,
    beta2=decay,
    grads=st.lists(st.floats(-1e6, 1e6).filter(lambda g: abs(g) > 1e-6), min_size=1, max_size=30),
)
def test_no_gradients_exceed_it(beta1, beta2, grads):
    run = exact(adam, grads, lr=1, beta1=beta1, beta2=beta2, eps=0)
    path = [0.0, *(float(param) for param, *_ in run)]
    for step, (before, after) in enumerate(pairwise(path), start=1):
        assert abs(after - before) <= step_bound(beta1, beta2, step) * (1 + 1e-9)


def test_the_numbers_of_the_page():
    assert step_bound() == pytest.approx(7.2703, abs=5e-5)
    assert [round(step_bound(step=t), 2) for t in (1, 100, 1000)] == [1, 2.24, 5.78]
    assert step_bound(0.9, 0.99) == pytest.approx(2.345, abs=5e-4)
    assert step_bound(0.9, 0.81) == step_bound(0.9, 0.5) == math.inf


@given(beta=decay, step=st.none() | st.integers(1, 1000))
def test_equal_decay_rates_never_exceed_the_learning_rate(beta, step):
    assert step_bound(beta, beta, step) == pytest.approx(1, rel=1e-9)


@given(beta1=decay, beta2=decay)
def test_the_limit_is_the_limit(beta1, beta2):
    if beta2 > 1.05 * beta1**2:
        assert step_bound(beta1, beta2, 100_000) == pytest.approx(step_bound(beta1, beta2))
        assert step_bound(beta1, beta2) >= 1 - 1e-12


@pytest.mark.parametrize(
    "given_", [(1.0, 0.9), (-0.1, 0.9), (0.9, 0.0), (0.9, 1.0), (np.nan, 0.9), (0.9, 0.99, 0)]
)
def test_bad_input_is_refused(given_):
    with pytest.raises(ValueError, match=r"give them in|1 at the first step") as error:
        step_bound(*given_)
    assert "\n" not in str(error.value)
