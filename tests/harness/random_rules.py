"""Random rules as source text, in modules of their own, and random numbers to run them on."""

import ast
import itertools
import linecache
import math
from typing import NamedTuple

from hypothesis import strategies as st

HEAD = """\
from adam_nbdev.language.convention import Slot
from adam_nbdev.language.primitives import (
    absolute, decoupled, ema, l2, maximum, sign, sqrt, unbias, where,
)
from adam_nbdev.rules import RULES

adam, gradient_descent, momentum = (RULES[n] for n in ("adam", "gradient_descent", "momentum"))


def half(x):
    return x / 2


def blend(x, y, part=0.25):
    rest = 1 - part
    y = rest * y
    return part * x - -y


"""
RULE_ARGUMENTS = {"gradient_descent": 0, "momentum": 1, "adam": 2}
CONSTANTS = "0 1 2 3 10 0.5 0.1 0.9 2.5 1e-8 0.3 7 1e15 1e999".split()
EXPONENTS = "2 3 0.5 1 -1 0 -2 1.5 63 400 1e999 step".split()
LOCALS = "update a square m_hat b_2 new function Math null true x_".split()
SLOTS = "m v s".split()
HYPERPARAMETERS = "lr beta eps this".split()
VALUES = [0.1, 0.9, 1, 0, 0.5, 2, 1e-8, -1, 0.999, 3.5]
GRADS = [1.0, -0.5, 0.0, 2.0, -0.0, 1e-30, -3.25, 1e15, math.inf, -math.inf, math.nan, 0.1, -7.0]


class Rule(NamedTuple):
    """A rule that was drawn."""

    source: str  # of its module
    name: str
    slots: dict  # name to (start, per)
    defaults: dict


class Numbers(NamedTuple):
    """What a rule is run on: for each coordinate its parameter, for each step its gradients."""

    params: list
    grads: list
    first: int  # the number of the first step
    chosen: dict  # hyperparameters


class _Writer:
    """Draws the body of a rule; `names` are those that have a value, and whether it is scalar."""

    def __init__(self, draw, names):
        self.draw, self.names = draw, names

    def one_of(self, choices):
        return self.draw(st.sampled_from(choices))

    def name(self, scalar):
        found = [n for n, known in self.names.items() if known or not scalar]
        return self.one_of([*found, *found[-3:]]) if found else "2"

    def assign(self, kinds):
        """Note that names have a new value, the last ones to have got one."""
        for name, scalar in kinds.items():
            self.names.pop(name, None)
            self.names[name] = scalar

    def leaf(self, scalar):
        """A name or a number."""
        named = self.draw(st.integers(0, 3)) < 3
        return self.name(scalar) if named else self.one_of(CONSTANTS)

    def expression(self, scalar, depth=3):
        """An expression in parentheses."""
        if depth == 0:
            return self.leaf(scalar)
        kinds = [
            "leaf",
            *"+-*/",
            "+-*/"[self.draw(st.integers(0, 3))],
            "**",
            "neg",
            "call",
            "where",
        ]
        kind = self.one_of([*kinds, "helper"])
        if kind == "leaf":
            return self.leaf(scalar)
        if kind in ("call", "where", "helper"):
            return getattr(self, kind)(scalar, depth)
        a = self.expression(scalar, depth - 1)
        if kind == "neg":
            return f"(-{a})"
        b = self.exponent(scalar) if kind == "**" else self.expression(scalar, depth - 1)
        return f"({a} {kind} {b})"

    def exponent(self, scalar):
        text = self.one_of(EXPONENTS)
        if text == "step" or self.draw(st.integers(0, 5)) == 0:
            text = self.name(True)
        return f"(-{text})" if self.draw(st.integers(0, 9)) == 0 else text

    def call(self, scalar, depth):
        function = self.one_of(["sqrt", "absolute", "sign", "maximum"])
        count = 2 if function == "maximum" else 1
        args = [self.expression(scalar, depth - 1) for _ in range(count)]
        return f"{function}({', '.join(args)})"

    def where(self, scalar, depth):
        a, b = self.expression(scalar, max(depth - 2, 0)), self.leaf(scalar)
        x, y = (self.expression(scalar, depth - 1) for _ in range(2))
        return f"where({a} {self.one_of(['<', '<=', '>', '>='])} {b}, {x}, {y})"

    def helper(self, scalar, depth):
        function, count = self.one_of(
            [*(("ema", 3), ("unbias", 2), ("l2", 3), ("decoupled", 3), ("half", 1), ("blend", 2))]
        )
        args = [self.expression(scalar, depth - 1) for _ in range(min(count, 2))]
        args += [self.leaf(True) for _ in range(count - 2)]
        if count > 2 and self.draw(st.booleans()):
            args[2] = f"{'weight_decay' if function in ('l2', 'decoupled') else 'decay'}={args[2]}"
        if function == "unbias":
            args[1:] = [self.name(True), "step" if self.names["step"] else self.name(True)]
        return f"{function}({', '.join(args)})"

    def statement(self, tensor_slots):
        """One assignment, after which its targets have a value."""
        free = [*LOCALS, *self.names]
        if self.draw(st.integers(0, 6)) == 0:
            function = self.one_of(list(RULE_ARGUMENTS))
            count = 1 + RULE_ARGUMENTS[function]
            allowed = [n for n in free if n not in tensor_slots]
            targets = self.draw(
                st.lists(st.sampled_from(allowed), min_size=count, max_size=count, unique=True)
            )
            args = ", ".join(self.name(False) for _ in range(1 + count))
            text = (
                f"{', '.join(targets)} = {function}({args}, {self.name(True)}, {self.name(True)})"
            )
            self.assign(dict.fromkeys(targets, False))
            return text
        if self.draw(st.integers(0, 6)) == 0:
            return self.average(tensor_slots)
        count = 2 if self.draw(st.integers(0, 6)) == 0 else 1
        targets = self.draw(
            st.lists(st.sampled_from(free), min_size=count, max_size=count, unique=True)
        )
        kinds = {
            n: n in tensor_slots or (self.names.get(n, True) and self.draw(st.booleans()))
            for n in targets
        }
        values = [self.expression(scalar) for scalar in kinds.values()]
        self.assign(kinds)
        return f"{', '.join(targets)} = {', '.join(values)}"

    def average(self, tensor_slots):
        """A moving average, as rules have them: kernels compute it in other words."""
        target = self.one_of([n for n in self.names if n not in tensor_slots])
        decay, new = self.leaf(True), self.name(False)
        new = self.one_of([new, f"{new} * {new}", f"{new} * {self.name(False)}"])
        self.assign({target: False})
        return f"{target} = ema({target}, {new}, {decay})"

    def output(self, name, slots):
        """What is returned in the place of a parameter or slot."""
        scalar = slots.get(name, (0, ""))[1] == "tensor"
        choice = self.draw(st.integers(0, 3))
        if name in slots and choice < 2:
            return name
        text = self.expression(scalar, 2) if choice else self.name(scalar)
        return name if text in slots else text


@st.composite
def rules(draw, statements=8):
    """Rules with up to three slots and four hyperparameters."""
    writer = _Writer(draw, {})
    names = SLOTS[: draw(st.integers(0, 3))]
    starts = st.sampled_from([0.0, 1.0, 0.1, -2.0])
    slots = {
        n: (draw(starts), draw(st.sampled_from(["element", "element", "tensor"]))) for n in names
    }
    names = HYPERPARAMETERS[: draw(st.integers(1, 4))]
    defaults = {n: draw(st.sampled_from(VALUES)) for n in names}
    writer.names = {"param": False, "grad": False, "step": True, **dict.fromkeys(defaults, True)}
    writer.names |= {n: per == "tensor" for n, (_, per) in slots.items()}
    tensor_slots = [n for n, (_, per) in slots.items() if per == "tensor"]
    body = [writer.statement(tensor_slots) for _ in range(draw(st.integers(1, statements)))]
    returned = ", ".join(writer.output(name, slots) for name in ("param", *slots))
    kept = [n if slots[n] == (0.0, "element") else _annotated(n, *slots[n]) for n in slots]
    parameters = ["param", "grad", *kept, "step", *(f"{n}={v!r}" for n, v in defaults.items())]
    lines = "\n".join(f"    {line}" for line in [*body, f"return {returned}"])
    source = f"{HEAD}def rule({', '.join(parameters)}):\n{lines}\n"
    return Rule(unparenthesised(source), "rule", slots, defaults)


def _annotated(name, start, per):
    return f"{name}: Slot(start={start!r}, per={per!r})"


def unparenthesised(source):
    """The same source with the parentheses that it needs."""
    return ast.unparse(ast.parse(source))


_COUNT = itertools.count()


def function(rule):
    """The function of a rule, in a module of its own, whose source can be read."""
    file, module = f"<random rule {next(_COUNT)}>", {"__name__": "random_rule"}
    linecache.cache[file] = len(rule.source), None, rule.source.splitlines(keepends=True), file
    exec(compile(rule.source, file, "exec"), module)
    return module[rule.name]


@st.composite
def numbers(draw, rule, coordinates=3, steps=3):
    """What a rule is run on: special numbers among plain ones."""
    grads = st.lists(st.sampled_from(GRADS), min_size=coordinates, max_size=coordinates)
    params = st.sampled_from([0.5, 0.0, 1.0, -2.0, 1e-3])
    chosen = {n: draw(st.sampled_from(VALUES)) for n in rule.defaults if draw(st.booleans())}
    return Numbers(
        params=[draw(params) for _ in range(coordinates)],
        grads=[draw(grads) for _ in range(steps)],
        first=draw(st.sampled_from([1, 1, 1, 2, 399])),
        chosen=chosen,
    )
