"""What is no rule is refused with one sentence; what is one works with every reader."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch

from adam_nbdev.language.convention import Slot
from adam_nbdev.language.program import program
from adam_nbdev.language.rule import interpret, parse
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.diff import code_diff
from adam_nbdev.readers.exact import exact
from adam_nbdev.readers.javascript import javascript
from adam_nbdev.readers.latex import equations, expression, formula
from adam_nbdev.readers.symbolic import symbolic
from adam_nbdev.readers.trace import table, trace
from adam_nbdev.rules import RULES

REFUSED = {  # a function, and the cure that its refusal names
    "(param, grad, m, step):\n  m = sqrt(m, 2)\n  return param, m": "write sqrt(x)",
    "(param, grad, m, step):\n  m = sqrt()\n  return param, m": "write sqrt(x)",
    "(param, grad, m, step):\n  m = sqrt(y=m)\n  return param, m": "write sqrt(x)",
    "(param, grad, m, step):\n  m = ema(m, grad)\n  return param, m": "write ema(average",
    "(param, grad, m, step):\n  m = ema(m, grad, beta=1)\n  return param, m": "write ema(average",
    "(param, grad, m, step):\n  m = ema(m, grad, **m)\n  return param, m": "write ema(average",
    "(param, grad, m, step):\n  m = where(m > 0, 1)\n  return param, m": "write where(cond",
    "(param, grad, m, step):\n  m = where(grad, 1, 2)\n  return param, m": "compare two things",
    "(param, grad, m, step):\n  m = where(1, m, 2)\n  return param, m": "compare two things",
    "(param, grad, m, step):\n  m = where(x=m, y=m, condition=m)\n  return param, m": "compare two",
    "(param, grad, m, step):\n  m = grad * sqrt\n  return param, m": "assign it first",
    "(param, grad, m, step):\n  sqrt = grad\n  m = sqrt(m)\n  return param, m": "primitives",
    "(param, grad, sqrt, step):\n  m = sqrt(grad)\n  return param, m": "primitives",
    "(param, grad, m, step):\n  m = gradient_descent(param, grad)\n  return param, m": "write grad",
    f"(param, grad, m, step):\n  m = m * 1{'0' * 400}\n  return param, m": "as a float",
    "(param, grad, m, step):\n  m = where(-1 < grad < 1, m, 0)\n  return param, m": "compare two",
    "(param, grad, m, step):\n  m = m * (m * grad > 0)\n  return param, m": "where(condition",
    "(param, grad, m, step):\n  m = (grad > 0) - (grad < 0)\n  return param, m": "where(cond",
    "(param, grad, m, step):\n  both = (m, grad)\n  return param, m": "a value of its own",
    "(param, grad, m, v, step):\n  m, v = where(m > 0, m, v)\n  return param, m, v": "one value",
    "(param, grad, m, step):\n  m = where((m, grad) > 0, m, 0)\n  return param, m": "of its own",
    "(param, grad, step, noise=1):\n  return param - noise * grad": "noise_",
    "(param, grad, m: Nowhere, step):\n  return param, m": "annotate it with Slot",
    "(param, grad, step):\n  param = broken(param, grad, step)\n  return param": "other rules",
    "(param, grad, m, step, lr=1):\n  if step > 1: m = m + grad\n  return param, m": "where(",
    "(param, grad, m, step, lr=1):\n  m = m if step > 1 else grad\n  return param, m": "where(",
    "(param, grad, m, step, lr=1):\n  m = where(m > 0 and m < 1, m, 0)\n  return param, m": "nest",
    "(param, grad, m, step, lr=1):\n  for i in range(3): m = m + 1\n  return param, m": "readers",
    "(param, grad, m, step, lr=1):\n  while True: m = m + 1\n  return param, m": "readers repeat",
    "(param, grad, m, step, lr=1):\n  m += grad\n  return param, m": "write m = m + ...",
    "(param, grad, m, step, lr=1):\n  m = max(m, grad)\n  return param, m": "maximum(x, y)",
    "(param, grad, m, step, lr=1):\n  m = abs(m)\n  return param, m": "absolute(x)",
    "(param, grad, m, step, lr=1):\n  m = np.abs(m)\n  return param, m": "by its name",
    "(param, grad, m, step, lr=1):\n  m = K * m\n  return param, m": "make it a hyperparameter",
    "(param, grad, m, step, lr=1):\n  m = later * m\n  return param, m": "assign it first",
    "(param, grad, m, step, lr=1):\n  m = where(step == 1, m, grad)\n  return param, m": "compare",
    "(param, grad, m, step, lr=1):\n  m = 'text'\n  return param, m": "constants are numbers",
    "(param, grad, m, step, lr=1):\n  m[0] = grad\n  return param, m": "a body is assignments",
    "(param, grad, m, step, lr=1):\n  print(m)\n  return param, m": "a body is assignments",
    "(param, grad, m, step, lr=1):\n  m = [m for _ in 1]\n  return param, m": "arithmetic",
    "(param, grad, m, step, lr=1):\n  m = m + grad": "end with return",
    "(param, grad, m, step, lr=1):\n  return": "end with return",
    "(param, grad, m, step, lr=1):\n  return param": "return new_param, m",
    "(param, grad, m, v, step, lr=1):\n  return param, v, m": "return new_param, m, v",
    "(param, grad, m, v, step):\n  return gradient_descent(param, grad, step)": "new_param, m, v",
    "(param, grad, m, step):\n  x = -gradient_descent(param, grad, step)\n  return x, m": "whole",
    "(param, grad, step):\n  return gradient_descent(param, grad * 2, step)": "give it names",
    "(param, grad, m, step, lr):\n  return param, m": "lr=0.9",
    "(param, grad, step, m, lr=1):\n  return param, m": "stand before step",
    "(param, grad, m, step, lr='big'):\n  return param, m": "has no number as default",
    "(param, grad, m, step, *, lr=1):\n  return param, m": "the signature is",
    "(param, grad, m, step, **more):\n  return param, m": "the signature is",
    "(param, grad, m=0, step=1):\n  return param, m": "write the bare name",
    "(param, grad, m: float, step):\n  return param, m": "annotate it with Slot",
    "(params, grads, m, step):\n  return params, m": "the signature is",
    "(param, grad, m):\n  return param, m": "the signature is",
}
HEAD = (
    "from __future__ import annotations\n"
    "import numpy as np\n"
    "from adam_nbdev.rules import gradient_descent\n"
    "from adam_nbdev.language.primitives import where\n"
    "from adam_nbdev.language.primitives import ema, sqrt\n"
    "K = 3\n\n"
)


def from_file(source, folder, name="broken"):
    """A function from a module of its own, as a user's would be."""
    path = folder / f"{name}_module.py"
    path.write_text(source)
    namespace = {"__name__": path.stem}
    exec(compile(source, str(path), "exec"), namespace)
    return namespace[name]


@pytest.mark.parametrize("reader", [parse, program, lambda f: exact(f, [1.0])])
@pytest.mark.parametrize("source", REFUSED)
def test_what_is_no_rule_is_refused_with_its_cure(source, reader, tmp_path):
    function = from_file(f"{HEAD}def broken{source}\n", tmp_path)
    with pytest.raises(TypeError) as refusal:
        reader(function)
    sentence = str(refusal.value)
    assert sentence.startswith("rule 'broken': ") and "\n" not in sentence
    assert REFUSED[source] in sentence


@pytest.mark.parametrize("thing", [None, 3, "adam", torch.optim.Adam, np.sqrt, object()])
def test_what_is_no_function_is_refused(thing):
    with pytest.raises(TypeError, match="a rule is a plain function, not "):
        parse(thing)


def test_a_function_without_source_is_refused():
    namespace = {}
    exec("def made(param, grad, step):\n    return param", namespace)
    with pytest.raises(TypeError, match="write it with def, in a file or notebook"):
        parse(namespace["made"])
    with pytest.raises(TypeError, match="its source cannot be read"):
        parse(lambda param, grad, step: param)


@pytest.mark.parametrize("wrong", [{"per": "row"}, {"start": float("nan")}, {"start": np.inf}])
def test_a_slot_is_of_two_kinds_and_starts_at_a_finite_number(wrong):
    with pytest.raises(ValueError, match="a slot "):
        Slot(**wrong)


def leaky(param, grad, total: Slot(start=1.0, per="tensor"), step):
    total = total * grad
    return param, total


def test_a_tensor_slot_may_not_depend_on_an_element():
    with pytest.raises(TypeError, match="the tensor slot 'total' depends on an element"):
        program(leaky)


ADAM = RULES["adam"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: trace(ADAM, 0.0, 1.0, learning_rate=1),
        lambda: table(ADAM, [1.0], learning_rate=1),
        lambda: exact(ADAM, [1.0], learning_rate=1),
        lambda: symbolic(ADAM, learning_rate=1),
        lambda: advance(ADAM, np.ones(1), np.ones(1), start(ADAM, np.ones(1)), 1, learning_rate=1),
    ],
)
def test_an_unknown_hyperparameter_is_refused_by_every_reader(call):
    with pytest.raises(TypeError, match="has no hyperparameter 'learning_rate'; it has lr, beta1"):
        call()


def test_what_does_not_exist_is_named_with_what_does():
    with pytest.raises(TypeError, match="has no slot 'w'; it has m, v"):
        trace(ADAM, 0.0, 1.0, state={"w": 1.0})
    with pytest.raises(ValueError, match="assigns no 'w'; it assigns square, m, v"):
        expression(ADAM, "w")
    with pytest.raises(ValueError, match="digits is a positive integer, not 0"):
        exact(ADAM, [1.0], digits=0)


# A user's own rules: one from three words, one made of an earlier rule, one with a tensor slot.
OWN = """
from adam_nbdev.rules import adam
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import decoupled, ema, sign, sqrt, where


def lion(param, grad, m, step, lr=1e-2, beta1=0.9, beta2=0.99):
    update = lr * sign(ema(m, grad, beta1))
    m = ema(m, grad, beta2)
    return param - update, m


def adamw(param, grad, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.1):
    param = decoupled(param, lr, weight_decay)
    return adam(param, grad, m, v, step, lr, beta1, beta2, eps)


def half(x):
    y = x / 2
    return y


def warm(param, grad, v, product: Slot(start=1.0, per="tensor"), step, lr=1e-2, decay=0.9):
    product = product * decay
    v = ema(v, grad * grad, decay)
    root = sqrt(v / (1 - product))
    update = lr * half(grad) / where(root > 0, root, 1)
    return param - update, v, product


def nested(param, grad, m, v, step, lr=1e-3):
    param, m, v = adamw(param, grad, m, v, step, lr)
    return param, m, v
"""
NAMES = {
    "lion": ["update", "m", "param"],
    "adamw": ["param", "square", "m", "v", "m_hat", "v_hat", "update", "param"],
    "warm": ["product", "v", "root", "update", "param"],
    "nested": ["param", "square", "m", "v", "m_hat", "v_hat", "update", "param"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_users_own_rule_works_with_every_reader(name, tmp_path):
    rule = from_file(OWN, tmp_path, name)
    grads = np.random.default_rng(1).normal(size=(20, 2))
    assert [line.name for line in trace(rule, 1.0, 2.0)] == NAMES[name]
    expected = np.array([[row[0] for row in exact(rule, map(float, c))] for c in grads.T], float)
    worked = [[step[-1].value for step in table(rule, map(float, c)).steps] for c in grads.T]
    assert np.allclose(worked, expected, rtol=1e-13, atol=1e-16)
    for make in (np.array, lambda x: torch.tensor(x, dtype=torch.float64)):
        param, state = make([0.0, 0.0]), start(rule, make([0.0, 0.0]))
        for step, grad in enumerate(grads, start=1):
            param, state = advance(rule, param, make(grad), state, step)
        assert np.allclose(param.tolist(), expected[:, -1], rtol=1e-13, atol=1e-16)
    assert len(equations(rule)) == len(NAMES[name]) and r"\theta_{t} &= " in formula(rule)
    assert javascript(rule).startswith(f"function {name}(param, grad, ")
    assert symbolic(rule)[0]["param"].free_symbols
    assert f"+ def {name}(" in code_diff(RULES["adam"], rule)


def test_intermediate_versions_of_a_quantity_carry_primes(tmp_path):
    lefts = [left for _, left, _ in equations(from_file(OWN, tmp_path, "adamw"))]
    assert lefts[0] == r"{\theta'_{t}}" and lefts[-1] == r"\theta_{t}"


def test_read_calls_the_rule_that_the_name_means_now(tmp_path):
    outer = from_file(OWN, tmp_path, "adamw")
    numbers = {"param": 1.0, "grad": 1.0, "m": 0.0, "v": 0.0, "step": 1}
    before = interpret(outer, numbers)
    outer.__globals__["adam"] = from_file(OWN.replace("sign(ema", "-sign(ema"), tmp_path, "adamw")
    assert interpret(outer, numbers) != before


def test_a_rule_in_a_script_works(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        OWN + "\nfrom adam_nbdev.readers.trace import table\nprint(table(lion, [1.0, -1.0]))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "update" in done.stdout, done.stderr


def test_the_digits_of_the_reference_are_its_own():
    before = mpmath.mp.dps
    assert exact(ADAM, [0.1], digits=80)[0][0].context.dps == 80
    assert mpmath.mp.dps == before


@pytest.mark.parametrize(
    ("helper", "cure"),
    [
        ("(x):\n  return x, x", "let a helper return one value"),
        ("(*x):\n  return 1", "plain parameters"),
        ("(x, *, y=1):\n  return x", "plain parameters"),
        ("(x, y='a'):\n  return x", "no number as default"),
        ("(x):\n  return sqrt(x, 2)", "write sqrt(x) with its parameters"),
        ("(x):\n  return where(x, 1, 2)", "compare two things"),
        ("(x):\n  return x * sqrt", "assign it first"),
    ],
)
def test_what_is_no_helper_is_refused(helper, cure, tmp_path):
    source = f"{HEAD}def half{helper}\n\n\ndef broken(param, grad, step):\n"
    function = from_file(f"{source}  update = half(grad)\n  return param - update\n", tmp_path)
    with pytest.raises(TypeError) as refusal:
        parse(function)
    sentence = str(refusal.value)
    assert sentence.startswith("rule 'broken, helper half': ") and cure in sentence
