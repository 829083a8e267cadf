"""Every rule in Node against the same rule in Python."""

import math
import subprocess

import numpy as np
import pytest
from harness.evidence import EVIDENCE
from harness.node import NODE, in_node, in_python, node  # noqa: F401
from harness.oracles import Evidence

from adam_nbdev.language.convention import Slot
from adam_nbdev.language.floats import Float
from adam_nbdev.language.primitives import absolute, ema, maximum, sign, sqrt, where
from adam_nbdev.language.rule import parse
from adam_nbdev.readers.javascript import javascript
from adam_nbdev.rules import RULES


def every_primitive(param, grad, m, product, step, lr=0.1, new=0.9, eps=1e-8):
    new_sign = sign(grad)
    m = ema(m, absolute(grad), new)
    size = maximum(m, sqrt(absolute(grad)))
    update = lr * where(grad > 0.5, new_sign - (size - m), -grad / (size + eps)) / product
    return param - update, m, product


every_primitive.__annotations__ = {"product": Slot(start=2.0, per="tensor")}


def ulps(a, b, size=None):
    size = np.abs(b) if size is None else size
    return np.abs(a - b) / np.spacing(np.maximum(size, np.finfo(float).tiny))


@pytest.mark.parametrize("rule", [*RULES.values(), every_primitive], ids=lambda r: r.__name__)
def test_a_thousand_random_steps_agree_to_ten_units_in_the_last_place(rule):
    grads = np.random.default_rng(3).normal(size=1000) * 10.0 ** (np.arange(1000) % 7 - 3)
    start = [0.7, *(slot.start for slot in parse(rule).slots.values())]
    evidence = EVIDENCE.get(rule.__name__, Evidence(rule, [], []))
    grads = evidence.gradients[0](grads)
    expected = in_python(rule, grads.tolist(), start)
    assert len(np.unique(expected[:, 0])) > evidence.distinct[0]
    found = in_node(rule, grads.tolist(), start)
    size = np.abs(expected)
    for slot in evidence.typical[0]:
        place = 1 + list(parse(rule).slots).index(slot)
        size[:, place] = np.maximum(size[:, place], np.median(size[:, place]))
    bounds = [evidence.ulps[0].get(name, 10) for name in ("param", *parse(rule).slots)]
    assert np.all(ulps(found, expected, size) <= bounds)


@pytest.mark.parametrize("rule", [*RULES.values(), every_primitive], ids=lambda r: r.__name__)
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_what_is_not_a_number_is_none_in_both(rule, bad):
    start = [0.7, *(slot.start for slot in parse(rule).slots.values())]
    grads = [bad, 1.0, bad]
    expected = in_python(rule, grads, start)
    assert np.allclose(in_node(rule, grads, start), expected, rtol=1e-14, atol=0, equal_nan=True)


def test_division_by_zero_gives_nan_in_both():
    source = javascript(RULES["adam"]).replace("eps = 1e-08", "eps = 0")
    done = subprocess.run(
        [NODE, "-p", f"({source})(1, 0, 0, 0, 1)[0]"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "NaN"
    assert math.isnan(RULES["adam"](*map(Float, (1, 0, 0, 0)), 1, eps=Float(0))[0])
