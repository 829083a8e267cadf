"""Rules as users write them, each of a kind that once went wrong: every reader agrees."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
from harness.node import in_node, in_python, node  # noqa: F401
from harness.own_rules import (
    RULES,
    adam_style_l2,
    counts_on,
    decaying,
    greek,
    keeps_itself,
    numpy_default,
    optimistic,
    renamed,
    unclipped,
)

from adam_nbdev.lab.objectives import quadratic
from adam_nbdev.lab.trajectory import trajectory
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.rule import parse
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.exact import exact
from adam_nbdev.readers.javascript import javascript
from adam_nbdev.readers.latex import equations, expression, formula
from adam_nbdev.readers.symbolic import prove, symbolic
from adam_nbdev.readers.trace import table, trace

GRADS = [0.7, -0.3, 0.2, 1.5, -0.4, -0.2]
every = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


def arrays(rule, make):
    param = make([0.25])
    state = start(rule, param)
    for step, grad in enumerate(GRADS, start=1):
        param, state = advance(rule, param, make([grad]), state, step)
    return float(param[0])


@every
def test_every_reader_agrees_with_fifty_digits(rule):
    expected = float(exact(rule, GRADS, param=0.25)[-1][0])
    starts = [slot.start for slot in parse(rule).slots.values()]
    grads = [sympy.Rational(g) for g in GRADS]
    defaults = {
        name: sympy.oo if value == math.inf else sympy.Rational(value)
        for name, value in parse(rule).defaults.items()
    }
    symbols = symbolic(
        rule, steps=6, param=sympy.Rational(1, 4), grad=lambda t: grads[t - 1], **defaults
    )
    ways = {
        "numpy": arrays(rule, lambda x: np.array(x)),
        "torch": arrays(rule, lambda x: torch.tensor(x, dtype=torch.float64)),
        "sympy": float(symbols[-1]["param"]),
        "floats": in_python(rule, GRADS, [0.25, *starts])[-1, 0],
    }
    for way, value in ways.items():
        assert value == pytest.approx(expected, rel=1e-13), way
    assert len(table(rule, GRADS, param=0.25).steps) == len(GRADS)


@every
def test_the_javascript_runs_and_agrees(rule, node):  # noqa: F811
    slots = [float(slot.start) for slot in parse(rule).slots.values()]
    found = in_node(rule, GRADS, [0.25, *slots])
    expected = [[float(x) for x in row] for row in exact(rule, GRADS, param=0.25)]
    assert np.allclose(found, expected, rtol=1e-13, atol=0)


@every
def test_every_output_has_a_formula_and_no_symbol_means_two_things(rule):
    rows = equations(rule)
    lefts = [left for _, left, _ in rows]
    assert len(set(lefts)) == len(lefts)
    assert r"\theta_{t}" in lefts
    assert not re.search(r"'(_\{[^}]*\})?\^", formula(rule)), "a double exponent"
    assert str(expression(rule)).startswith(r"\theta_{t} = ")


def test_what_the_formulas_say():
    assert (r"\mathrm{square}_{t}", r"{g'_{t}} \odot {g'_{t}}") in [
        row[1:] for row in equations(adam_style_l2)
    ]
    assert r"\mathrm{alpha}" in formula(greek) and r"\mathrm{mu}_{t}" in formula(greek)
    assert equations(optimistic)[-1][1:] == (r"\mathrm{previous}_{t}", "g_{t}")
    assert equations(keeps_itself)[-1][1] == r"\mathrm{last}_{t}"
    assert equations(counts_on)[0][1:] == ("{t'}", "t + 1")
    assert "g_{t}" in expression(renamed) and r"\lambda" in expression(renamed)
    assert r"\infty" not in formula(unclipped)


@pytest.mark.parametrize("make", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_nothing_that_comes_out_is_what_went_in(make):
    param, grad = make([1.0]), make([0.5])
    state = start(optimistic, param)
    new, after = advance(optimistic, param, grad, state, 1)
    assert after["previous"] is not grad
    grad *= 0
    assert float(after["previous"][0]) == 0.5 and float(param[0]) == 1.0 and new is not param


def test_fifty_digits_are_fifty_where_the_step_is_a_number_too():
    run = exact(decaying, ["1", "1"], lr="0.1")
    expected = "-0.320710678118654752440084436210484903928483593768847"
    assert str(run[-1][0])[:48] == expected[:48]
    lr, g = sympy.Symbol("lr", positive=True), sympy.Symbol("g_2", real=True)
    prove(symbolic(decaying, steps=2)[1]["update"], lr * g / sympy.sqrt(2) + lr * g / 2)


def test_a_half_precision_parameter_starts_its_slots_as_they_are():
    def far(param, grad, m: Slot(start=1e6), step, lr=0.1):
        return param - lr * grad, m + grad

    assert start(far, torch.zeros(1, dtype=torch.float16))["m"].item() == 1e6


def test_a_single_precision_rate_is_a_double():
    from adam_nbdev.rules import adam

    param, state = np.zeros(1), start(adam, np.zeros(1))
    rates = np.float32(0.99999), float(np.float32(0.99999))
    one, other = (advance(adam, param, param + 1, state, 1, beta2=b)[0] for b in rates)
    assert np.array_equal(one, other)


@pytest.mark.parametrize("lr", ["0.1", None, [0.1], np.array([0.1, 0.2]), lambda step: None])
def test_a_hyperparameter_that_is_no_number_is_refused(lr):
    param = np.ones(2)
    with pytest.raises(TypeError, match=r"'lr' is .*; give a number, or a function of step"):
        advance(decaying, param, param, {}, 1, lr=lr)


BAD = {
    "two NumPy arrays or two torch tensors": lambda p: advance(decaying, p, torch.ones(2), {}, 1),
    r"begin with start\(rule, param\)": lambda p: advance(decaying, p, p, None, 1),
    "computes with real floats": lambda p: advance(
        optimistic, p, p, {"previous": np.zeros(2, int)}, 1
    ),
    "count steps with integers": lambda p: trace(decaying, 1.0, 1.0, step=0),
    "has no slot 'M'; it has previous": lambda p: symbolic(optimistic, state={"M": 1}),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_sentence(message):
    with pytest.raises((TypeError, ValueError), match=message) as error:
        BAD[message](np.ones(2))
    assert "\n" not in str(error.value)


def test_symbols_may_be_one_gradient_for_all_steps():
    g = sympy.Symbol("g")
    assert symbolic(decaying, steps=2, grad=g)[1]["grad"] == g
    with pytest.raises(AssertionError, match="not both finite"):
        prove(sympy.nan, 1)


def test_a_trajectory_gets_no_hyperparameter_that_the_rule_has():
    def horizon(param, grad, step, lr=0.1, steps=1000):
        return param - lr * grad * steps

    with pytest.raises(TypeError, match="readers have a parameter 'steps' of their own"):
        trajectory(horizon, quadratic(), steps=5)


def test_javascript_of_an_infinite_default():
    assert "limit = Infinity" in javascript(unclipped)
    assert "lr = 0.1}" in javascript(numpy_default)


def test_a_rule_in_a_file_with_postponed_annotations(tmp_path):
    path = Path(tmp_path / "postponed_module.py")
    path.write_text(
        "from __future__ import annotations\n"
        "from adam_nbdev.language.convention import Slot\n\n\n"
        "def rule(param: Tensor, grad, c: Slot(start=2.0), step: int, lr: 'Tensor' = 0.1) -> T:\n"
        "    return param - lr * grad * c, c\n"
    )
    namespace = {"__name__": path.stem}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    assert parse(namespace["rule"]).slots == {"c": Slot(start=2.0)}
