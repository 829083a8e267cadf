"""Rules in Node, as JavaScript, and the same runs in Python."""

import atexit
import json
import math
import os
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest

from adam_nbdev.language.floats import Float
from adam_nbdev.language.rule import parse
from adam_nbdev.language.run import run
from adam_nbdev.readers.javascript import javascript
from harness.cases import called

NODE = shutil.which("node")

RUN = """
const number = x => ({NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity})[x] ?? x;
require("readline").createInterface({input: process.stdin}).on("line", line => {
  const [rule, grads, start, first, chosen] = JSON.parse(line);
  let [param, ...state] = start, history = [];
  try {
    const step = (0, eval)("(" + rule + ")");
    grads.forEach((grad, i) => {
      [param, ...state] = step(param, number(grad), ...state, first + i, chosen);
      history.push([param, ...state].map(String));
    });
  } catch (error) {
    history = String(error);
  }
  console.log(JSON.stringify(history));
});
"""


@cache
def session():
    """A process of Node that answers each line with one; it ends with the tests."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([NODE, "-e", RUN], **pipes)
    atexit.register(process.stdin.close)
    return process


@pytest.fixture(autouse=True)
def node():
    if NODE is None:
        if os.environ.get("CI"):
            pytest.fail("Node is missing: install nodejs")
        pytest.skip("Node is missing: install nodejs")


def in_node(rule, grads, start, first=1, chosen=None):
    texts = [repr(g) if not math.isfinite(g) else g for g in grads]
    texts = [{"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(t, t) for t in texts]
    node = session()
    node.stdin.write(json.dumps([javascript(rule), texts, start, first, chosen or {}]) + "\n")
    node.stdin.flush()
    answer = json.loads(node.stdout.readline())
    assert not isinstance(answer, str), answer
    return np.array(answer, dtype=float)


def in_python(rule, grads, start):
    spec, (param, *state) = parse(rule), start
    state, advance = dict(zip(spec.slots, state, strict=True)), called(rule, spec.defaults)
    steps = run(rule, grads, param, state, number=Float, advance=advance)
    return np.array([[step.param, *step.state.values()] for step in steps], dtype=float)
