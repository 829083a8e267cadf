"""Random rules as source text, in modules of their own, and random numbers to run them on."""

import ast
import itertools
import linecache
import math
from typing import NamedTuple

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
PARAMS = [0.5, 0.0, 1.0, -2.0, 1e-3, 2.0]
GRADS = [1.0, -0.5, 0.0, 2.0, -0.0, 1e-30, -3.25, 1e15, math.inf, -math.inf, math.nan, 0.1, -7.0]


class Rule(NamedTuple):
    """A rule that was drawn."""

    source: str  # of its module
    slots: dict  # name to (start, per)
    defaults: dict

    @property
    def text(self):
        """The source of the rule itself."""
        return self.source[self.source.index("def rule") :]


class Numbers(NamedTuple):
    """What a rule is run on: for each coordinate its parameter, for each step its gradients."""

    params: list
    grads: list
    first: int  # the number of the first step
    chosen: dict  # hyperparameters


class _Writer:
    """Draws the body of a rule; `names` are those that have a value, and whether it is scalar."""

    def __init__(self, chance, names):
        self.chance, self.names, self.one_of = chance, names, chance.choice

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
        named = self.chance.random() < 0.75
        return self.name(scalar) if named else self.one_of(CONSTANTS)

    def expression(self, scalar, depth=3):
        """An expression in parentheses."""
        if depth == 0 or self.chance.random() < 0.35:
            return self.leaf(scalar)
        kind = self.one_of([*"+-*/+-*/", "**", "**", "neg", "call", "call", "where", "helper"])
        if kind in ("call", "where", "helper"):
            return getattr(self, kind)(scalar, depth)
        a = self.expression(scalar, depth - 1)
        if kind == "neg":
            return f"(-{a})"
        if kind != "**":
            return f"({a} {kind} {self.expression(scalar, depth - 1)})"
        if self.chance.randrange(2) == 0:  # what printers put into parentheses
            a = self.one_of([f"(-{a})", f"({a} ** {self.exponent(scalar)})"])
        return f"({a} ** {self.exponent(scalar)})"

    def exponent(self, scalar):
        text = self.one_of(EXPONENTS)
        if text == "step" or self.chance.randrange(6) == 0:
            text = self.name(True)
        return f"(-{text})" if self.chance.randrange(10) == 0 else text

    def call(self, scalar, depth):
        function = self.one_of(["sqrt", "absolute", "sign", "maximum"])
        count = 2 if function == "maximum" else 1
        args = [self.expression(scalar, depth - 1) for _ in range(count)]
        return f"{function}({', '.join(args)})"

    def where(self, scalar, depth):
        a, b = self.expression(scalar, self.one_of([0, 0, 1])), self.leaf(scalar)
        x, y = (self.expression(scalar, depth - 1) for _ in range(2))
        return f"where({a} {self.one_of(['<', '<=', '>', '>='])} {b}, {x}, {y})"

    def helper(self, scalar, depth):
        function, count = self.one_of(
            [*(("ema", 3), ("unbias", 2), ("l2", 3), ("decoupled", 3), ("half", 1), ("blend", 2))]
        )
        args = [self.expression(scalar, depth - 1) for _ in range(min(count, 2))]
        args += [self.leaf(True) for _ in range(count - 2)]
        if count > 2 and self.chance.random() < 0.5:
            args[2] = f"{'weight_decay' if function in ('l2', 'decoupled') else 'decay'}={args[2]}"
        if function == "unbias":
            args[1:] = [self.name(True), "step" if self.names["step"] else self.name(True)]
        return f"{function}({', '.join(args)})"

    def statement(self, tensor_slots):
        """One assignment, after which its targets have a value."""
        free = list(dict.fromkeys([*LOCALS, *self.names]))
        if self.chance.randrange(7) == 0:
            function = self.one_of(list(RULE_ARGUMENTS))
            count = 1 + RULE_ARGUMENTS[function]
            allowed = [n for n in free if n not in tensor_slots]
            targets = self.chance.sample(allowed, count)
            args = ", ".join(self.name(False) for _ in range(1 + count))
            text = (
                f"{', '.join(targets)} = {function}({args}, {self.name(True)}, {self.name(True)})"
            )
            self.assign(dict.fromkeys(targets, False))
            return text
        if self.chance.randrange(7) == 0:
            return self.average(tensor_slots)
        count = 2 if self.chance.randrange(7) == 0 else 1
        targets = self.chance.sample(free, count)
        kinds = {
            n: n in tensor_slots or (self.names.get(n, True) and self.chance.random() < 0.5)
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
        choice = self.chance.randrange(4)
        if name in slots and choice < 2:
            return name
        text = self.expression(scalar, 2) if choice else self.name(scalar)
        return name if text in slots else text


def random_rule(chance, statements=6):
    """A rule with up to three slots and four hyperparameters, by a `random.Random`."""
    kinds = ["element", "element", "tensor"]
    slots = {
        name: (chance.choice([0.0, 1.0, 0.1, -2.0]), chance.choice(kinds))
        for name in SLOTS[: chance.randrange(4)]
    }
    defaults = {n: chance.choice(VALUES) for n in HYPERPARAMETERS[: chance.randrange(5)]}
    names = {"step": True, **dict.fromkeys(defaults, True), "param": False, "grad": False}
    names |= {n: per == "tensor" for n, (_, per) in slots.items()}
    writer = _Writer(chance, names)
    tensor_slots = [n for n, (_, per) in slots.items() if per == "tensor"]
    body = [writer.statement(tensor_slots) for _ in range(chance.randint(1, statements))]
    returned = ", ".join(writer.output(name, slots) for name in ("param", *slots))
    lines = "\n".join(f"    {line}" for line in [*body, f"return {returned}"])
    return Rule(unparenthesised(f"{HEAD}{_signature(slots, defaults)}\n{lines}\n"), slots, defaults)


def _signature(slots, defaults):
    kept = [n if slots[n] == (0.0, "element") else _annotated(n, *slots[n]) for n in slots]
    parameters = ["param", "grad", *kept, "step", *(f"{n}={v!r}" for n, v in defaults.items())]
    return f"def rule({', '.join(parameters)}):"


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
    return module["rule"]


def random_numbers(chance, rule, coordinates=4, steps=3):
    """What a rule is run on, by a `random.Random`: special numbers among plain ones."""
    return Numbers(
        params=chance.choices(PARAMS, k=coordinates),
        grads=[chance.choices(GRADS, k=coordinates) for _ in range(steps)],
        first=chance.choice([1, 1, 1, 2, 399]),
        chosen={n: chance.choice(VALUES) for n in rule.defaults if chance.random() < 0.5},
    )


def smaller(rule):
    """The same rule, each time without another of its statements."""
    head, body = rule.source.split("def rule")
    first, *lines, last = body.rstrip("\n").split("\n")
    for i in range(len(lines)):
        kept = "\n".join([first, *lines[:i], *lines[i + 1 :], last])
        yield rule._replace(source=f"{head}def rule{kept}\n")
