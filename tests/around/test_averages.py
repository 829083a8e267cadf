"""Averages of iterates, and Lookahead."""

import math
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel

from adam_nbdev import averaged, ema, lookahead, run, unbias
from adam_nbdev.around.averages import newest
from adam_nbdev.rules import RULES, adam, gradient_descent, lion, nadam

PARAMS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(PARAMS, st.floats(0, 1 - 1e-6))
def test_the_average_is_that_of_the_paper(params, beta):
    bar, found = 0.0, list(averaged(params, beta))
    size = max(map(abs, params))
    for step, (param, ours) in enumerate(zip(params, found, strict=True), start=1):
        bar = ema(bar, param, beta)
        assert math.isclose(ours, unbias(bar, beta, step), rel_tol=1e-9, abs_tol=1e-9 * size)


@given(PARAMS)
def test_the_plain_mean_is_the_limit(params):
    means = np.cumsum(params) / np.arange(1, len(params) + 1)
    size = max(map(abs, params)) + 1
    np.testing.assert_allclose(list(averaged(params)), means, atol=1e-12 * size)
    near = list(averaged(params, 1 - 1e-9))
    np.testing.assert_allclose(near, means, atol=1e-6 * size)


def test_averages_take_arrays_and_leave_them_alone():
    first = np.array([1.0, 2.0])
    found = list(averaged([first, 3 * first]))
    found[0] += 100
    assert first.tolist() == [1, 2] and found[1].tolist() == [2, 4]
    assert list(averaged([torch.ones(2), torch.zeros(2)]))[1].tolist() == [0.5, 0.5]
    assert list(averaged(iter([1.0]), 0.5)) == [1.0]
    endless = averaged((step.param for step in run(adam, lambda param, step: 1.0)), 0.9)
    assert len(list(islice(endless, 3))) == 3


@pytest.mark.parametrize("beta", [-0.1, 1.5, math.nan, math.inf])
def test_a_decay_rate_that_is_none_is_refused_at_once(beta):
    with pytest.raises(ValueError, match="it is a decay rate in"):
        averaged([], beta)


@pytest.mark.parametrize("beta", [0.5, 0.999, 1.0])
def test_the_share_makes_torchs_averaged_model_the_papers(beta):
    model = torch.nn.Linear(2, 1, dtype=torch.float64)
    average = AveragedModel(
        model, avg_fn=lambda mean, param, count: ema(mean, param, 1 - newest(count + 1, beta))
    )
    seen = []
    for step in range(20):
        with torch.no_grad():
            for param in model.parameters():
                param.copy_(torch.sin(torch.arange(param.numel()) + 7.0 * step).view(param.shape))
        average.update_parameters(model)
        seen.append(model.weight.detach().clone())
    *_, expected = averaged(seen, beta)
    torch.testing.assert_close(average.module.weight.detach(), expected, rtol=1e-12, atol=0)


GRADS = [1.0, -2.0, 0.5, 3.0, -0.25] * 4


@pytest.mark.parametrize("name", RULES)
def test_lookahead_that_keeps_all_is_the_rule(name):
    plain = [step.param for step in run(RULES[name], GRADS, param=0.5)]
    for every in (1, 3, 100):
        ahead = lookahead(RULES[name], GRADS, param=0.5, every=every, share=1.0)
        assert [step.param for step in ahead] == plain


@pytest.mark.parametrize("rule", [gradient_descent, adam, nadam, lion])
def test_lookahead_is_its_definition(rule):
    every, share, slow, state, found = 4, 0.3, 0.5, None, []
    for first in range(0, len(GRADS), every):
        some = GRADS[first : first + every]
        fast = list(run(rule, some, slow, state, step=first + 1, lr=0.1))
        found += [step.param for step in fast[:-1]]
        slow, state = slow + share * (fast[-1].param - slow), fast[-1].state
        found.append(slow)
    steps = list(lookahead(rule, GRADS, 0.5, every=every, share=share, lr=0.1))
    assert [step.step for step in steps] == list(range(1, 21))
    np.testing.assert_allclose([step.param for step in steps], found, rtol=1e-12)


def test_lookahead_asks_for_gradients_where_it_is_and_takes_schedules():
    seen, rate = [], {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}

    def slope(param, step):
        seen.append((step, param))
        return Fraction(1)

    kinds = {"number": Fraction, "every": 2, "share": Fraction(1, 2)}
    taken = lookahead(gradient_descent, slope, lr=lambda step: str(rate[step]), **kinds)
    places = [step.param for step in islice(taken, 4)]
    tenth = Fraction(1, 10)
    assert places == [-tenth, -tenth * 3 / 2, -tenth * 9 / 2, -5 * tenth]
    assert seen == [(1, 0), (2, -tenth), (3, -tenth * 3 / 2), (4, -tenth * 9 / 2)]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": 0}, "every is 0"),
        ({"every": 1.5}, "every is 1.5"),
        ({"every": math.nan}, "every is nan"),
        ({"every": True}, "every is True"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": math.nan}, "share is nan"),
        ({"share": 1.1}, "share is 1.1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_at_once(wrong, said):
    with pytest.raises(ValueError, match=said):
        lookahead(adam, GRADS, **wrong)
