"""Every rule broken in every way that some library has broken it."""

import ast
import importlib.util
import inspect
import itertools

import numpy as np

from adam_nbdev.language import primitives
from adam_nbdev.rules import RULES
from harness.cases import gradients
from harness.evidence import EVIDENCE

GRADS = gradients(60)
GRADS = np.column_stack([GRADS, GRADS[:, 1], GRADS[::-1, 1]])
GRADS[0, 3] = 0.0  # a coordinate that sees nothing at first
GRADS[0, 4] *= -1  # and one whose first two gradients are of opposite sign, with no zero between


def sources(rule):
    """(fault, source) for the faults of its evidence and all of `broken`.

    In the rule, and in what it calls: helpers and other rules.
    """
    plain = without_docstring(rule)
    for fault, said, wrong in EVIDENCE[rule.__name__].faults if rule.__name__ in EVIDENCE else ():
        assert said in plain, f"{rule.__name__}: nothing to break for {fault!r}"
        yield fault, plain.replace(said, wrong)
    yield from broken(plain)
    for name in rule.__code__.co_names:
        called = RULES.get(name) or getattr(primitives, name)
        if name not in PRIMITIVES:
            for fault, source in sources(called):
                yield f"{name}: {fault}", f"{source}\n\n\n{plain}"


def broken(plain):
    """(change, source): every operator turned into another, every call with swapped arguments."""
    swaps = {
        ast.Add: ast.Sub,
        ast.Sub: ast.Add,
        ast.Mult: ast.Div,
        ast.Div: ast.Mult,
        ast.Pow: ast.Mult,
    }
    for number in itertools.count():
        mutant = ast.parse(plain)
        nodes = [n for statement in mutant.body[0].body for n in ast.walk(statement)]
        places = [n for n in nodes if isinstance(n, ast.BinOp) or _ordered(n)]
        if number == len(places):
            return
        place = places[number]
        before = ast.unparse(place)
        if isinstance(place, ast.Call):
            place.args[:2] = place.args[1::-1]
        else:
            place.op = swaps[type(place.op)]()
        yield f"{before} -> {ast.unparse(place)}", ast.unparse(mutant)


def _ordered(node):
    """Whether a node is a call in which the order of the first two arguments matters."""
    return isinstance(node, ast.Call) and len(node.args) > 1 and node.func.id != "maximum"


PRIMITIVES = ("sqrt", "absolute", "sign", "maximum", "where")


def without_docstring(function):
    tree = ast.parse(inspect.getsource(function))
    tree.body[0].body = tree.body[0].body[1:]
    return ast.unparse(tree)


NAMES = """from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import *
from adam_nbdev.rules import *"""


def function(name, source, folder):
    path = folder / "mutant.py"
    path.write_text(f"{NAMES}\n\n\n{source}\n")
    spec = importlib.util.spec_from_file_location("mutant", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
