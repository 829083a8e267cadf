"""Rules in Node, as JavaScript, and the same runs in Python."""

import json
import math
import os
import shutil
import subprocess

import numpy as np
import pytest

from adam_nbdev.language.rule import parse
from adam_nbdev.readers.javascript import javascript
from adam_nbdev.readers.trace import Float

NODE = shutil.which("node")

RUN = """
const [rule, grads, start] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const step = (0, eval)("(" + rule + ")");
const number = x => ({NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity})[x] ?? x;
let [param, ...state] = start, history = [];
grads.forEach((grad, i) => {
  [param, ...state] = step(param, number(grad), ...state, i + 1);
  history.push([param, ...state].map(String));
});
console.log(JSON.stringify(history));
"""


@pytest.fixture(autouse=True)
def node():
    if NODE is None:
        if os.environ.get("CI"):
            pytest.fail("Node is missing: install nodejs")
        pytest.skip("Node is missing: install nodejs")


def in_node(rule, grads, start):
    texts = [repr(g) if not math.isfinite(g) else g for g in grads]
    texts = [{"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(t, t) for t in texts]
    done = subprocess.run(
        [NODE, "-e", RUN],
        input=json.dumps([javascript(rule), texts, start]),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return np.array(json.loads(done.stdout), dtype=float)


def in_python(rule, grads, start):
    param, *state = map(Float, start)
    history, defaults = [], {n: Float(v) for n, v in parse(rule).defaults.items()}
    for step, grad in enumerate(grads, start=1):
        new = rule(param, Float(grad), *state, step, **defaults)
        param, *state = new if isinstance(new, tuple) else (new,)
        history.append([param, *state])
    return np.array(history, dtype=float)
