"""Random rules: every reader computes what IEEE 754 says."""

import os

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported, by whatever test of this process

import random
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import sympy
import torch
from harness.ieee import Arithmetic, functions_of
from harness.node import in_node, node  # noqa: F401
from harness.random_rules import HEAD, Numbers, Rule, function, random_numbers, random_rule, smaller

from adam_nbdev.kernels import gpu, numba_printer, triton_printer
from adam_nbdev.kernels import lower as lower_module
from adam_nbdev.kernels.cpu import Batch, step_inplace
from adam_nbdev.kernels.gpu import GpuBatch
from adam_nbdev.kernels.lists import Lists
from adam_nbdev.kernels.lower import lower
from adam_nbdev.kernels.triton_printer import unprintable
from adam_nbdev.language import floats as floats_module
from adam_nbdev.language import primitives
from adam_nbdev.language import rule as rule_module
from adam_nbdev.language.floats import Float
from adam_nbdev.language.program import ATOM
from adam_nbdev.language.rule import Spec, parse
from adam_nbdev.language.run import run
from adam_nbdev.readers import arrays as arrays_module
from adam_nbdev.readers import javascript as js
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.exact import exact
from adam_nbdev.readers.javascript import javascript
from adam_nbdev.readers.latex import equations, expression, formula
from adam_nbdev.readers.symbolic import symbolic
from adam_nbdev.rules import RULES

IMPORTED = [
    *(getattr(primitives, name) for name in "ema unbias l2 decoupled".split()),
    *(RULES[name] for name in "adam gradient_descent momentum".split()),
]
FINITE = {"exact", "sympy"}  # where overflow, the sign of zero or NaN are others
INFINITE = "1e309"  # how `ast.unparse` writes an infinite constant
RANGE = {
    "exact": (1e-300, 1e300),
    "sympy": (1e-300, 1e300),
    "kernel": (1e-290, 1e290),
    "single": (1e-36, 1e36),
    "lists": (1e-290, 1e290),
    "single, lists": (1e-36, 1e36),
    "gpu": (1e-290, 1e290),
    "single, gpu": (1e-36, 1e36),
}


def columns(drawn):
    """For each coordinate its parameter and gradients."""
    return zip(drawn.params, zip(*drawn.grads, strict=True), strict=True)


def by_step(found):
    """From (coordinate, step, output) to (step, output, coordinate)."""
    return np.moveaxis(np.array(found, dtype=float), 0, -1)


def floats(rule, function, drawn):
    given = {"step": drawn.first, "number": Float, **drawn.chosen}
    return by_step(
        [
            [[step.param, *step.state.values()] for step in run(function, grads, param, **given)]
            for param, grads in columns(drawn)
        ]
    )


def digits(rule, function, drawn):
    given = {"step": drawn.first, **drawn.chosen}
    return by_step([exact(function, grads, param, **given) for param, grads in columns(drawn)])


def in_sympy(rule, function, drawn):
    """With SymPy's numbers for symbols; NaN from where on one is not finite."""
    found = np.full((len(drawn.grads), 1 + len(rule.slots), len(drawn.params)), np.nan)
    number = sympy.Float
    chosen = {name: number(x) for name, x in {**rule.defaults, **drawn.chosen}.items()}
    for coordinate, (param, grads) in enumerate(columns(drawn)):
        values = {"param": number(param), **{n: number(slot[0]) for n, slot in rule.slots.items()}}
        for step, grad in enumerate(map(number, grads)):
            param, state = values["param"], {name: values[name] for name in rule.slots}
            given = {"param": param, "grad": grad, **chosen}
            try:
                (values,) = symbolic(function, 1, state, number(drawn.first + step), **given)
                found[step, :, coordinate] = [float(values[n]) for n in ("param", *rule.slots)]
            except (TypeError, ValueError, ZeroDivisionError):  # it compares no NaN, say
                break
    return found


def in_javascript(rule, function, drawn):
    starts = [slot[0] for slot in rule.slots.values()]
    printed = {"this": "this_"}  # a hyperparameter whose name JavaScript reserves
    given = drawn.first, {printed.get(n, n): value for n, value in drawn.chosen.items()}
    return by_step(
        [in_node(function, grads, [param, *starts], *given) for param, grads in columns(drawn)]
    )


def kept(param, state):
    """The parameter and the slots now, whatever becomes of them."""
    return [
        np.array(np.broadcast_to(x, param.shape), dtype=float) for x in (param, *state.values())
    ]


def arrays(make):
    def read(rule, function, drawn):
        param, history = make(drawn.params), []
        state = start(function, param)
        for step, grad in enumerate(drawn.grads, start=drawn.first):
            param, state = advance(function, param, make(grad), state, step, **drawn.chosen)
            history.append(kept(param, state))
        return np.array(history, dtype=float)

    return read


def compiled(dtype):
    def read(rule, function, drawn):
        param, history = np.array(drawn.params, dtype), []
        state = start(function, param)
        for step, grad in enumerate(drawn.grads, start=drawn.first):
            step_inplace(function, param, np.array(grad, dtype), state, step, 1, **drawn.chosen)
            history.append(kept(param, state))
        return np.array(history, dtype=float)

    return read


READERS = {
    "floats": floats,
    "numpy": arrays(lambda x: np.array(x, dtype=float)),
    "torch": arrays(lambda x: torch.tensor(x, dtype=torch.float64)),
    "javascript": in_javascript,
    "exact": digits,
    "sympy": in_sympy,
}


def on_lists(dtype):
    """Two tensors of two coordinates each, in pieces of three elements."""

    def read(rule, function, drawn):
        kernel, history = Lists(function), []
        param = torch.tensor(drawn.params, dtype=dtype)
        state = start(function, param)
        cut = {name: list(x.split(2)) for name, x in state.items() if isinstance(x, torch.Tensor)}
        params, slots = list(param.split(2)), {n: x for n, x in state.items() if n not in cut}
        for step, grad in enumerate(drawn.grads, start=drawn.first):
            numbers = {**rule.defaults, **drawn.chosen, **slots, "step": step}
            row, slots = kernel.scalars(numbers)
            grads = list(torch.tensor(grad, dtype=dtype).split(2))
            kernel.run(row, [params, grads, *cut.values()], most=3)
            whole = {name: torch.cat(x) for name, x in cut.items()}
            state = {name: whole.get(name, slots.get(name)) for name in rule.slots}
            history.append(kept(torch.cat(params), state))
        return np.array(history, dtype=float)

    return read


def on_gpu(dtype):
    """Blocks of eight, by Triton's interpreter; calls on lists where Triton has no word."""
    form = str(dtype).removeprefix("torch.")

    def read(rule, function, drawn):
        if unprintable(lower(function)):
            return on_lists(dtype)(rule, function, drawn)
        param, history = torch.tensor(drawn.params, dtype=dtype), []
        state = start(function, param)
        arrays = [param, param.clone(), *(x for x in state.values() if isinstance(x, torch.Tensor))]
        slots = {name: x for name, x in state.items() if isinstance(x, float)}
        batch = GpuBatch(function, [form] * len(arrays), [param.numel()], device="cpu")
        batch.pointers[:, 0] = [x.data_ptr() for x in arrays]
        for step, grad in enumerate(drawn.grads, start=drawn.first):
            arrays[1].copy_(torch.tensor(grad, dtype=dtype))
            numbers = {**rule.defaults, **drawn.chosen, **slots, "step": step}
            row, slots = batch.scalars(numbers)
            with np.errstate(all="ignore"), mock.patch.object(gpu, "BLOCK", 8):
                batch.run([row])
            history.append(kept(param, {**state, **slots}))
        return np.array(history, dtype=float)

    return read


KERNELS = {
    "kernel": compiled(np.float64),
    "single": compiled(np.float32),
    "lists": on_lists(torch.float64),
    "single, lists": on_lists(torch.float32),
    "gpu": on_gpu(torch.float64),
    "single, gpu": on_gpu(torch.float32),
}


def evaluated(rule, drawn, noise, seed):
    """What IEEE 754 says, and at which steps all of it was finite or of ordinary size."""
    functions, history, sizes = functions_of(rule.source, IMPORTED), [], []
    for param, grads in columns(drawn):
        arithmetic, found, size = Arithmetic(functions, noise, seed), [], []
        values = [np.float64(x) for x in (param, *(slot[0] for slot in rule.slots.values()))]
        chosen = {name: np.float64(value) for name, value in drawn.chosen.items()}
        for step, grad in enumerate(grads, start=drawn.first):
            arithmetic.finite &= bool(np.isfinite(grad))
            args = [values[0], np.float64(grad), *values[1:], np.float64(step)]
            values = arithmetic.call("rule", args, chosen)
            found.append(values)
            size.append((arithmetic.smallest, arithmetic.largest, arithmetic.finite))
        history.append(found)
        sizes.append(size)
    return by_step(history), by_step(sizes)


def wanted(rule, drawn, single=False, others=6):
    """Between which values each result may lie; sizes of what they were computed from."""
    noise = 2.0**-21 if single else 2.0**-50
    with np.errstate(all="ignore"):
        runs = [evaluated(rule, drawn, noise * bool(seed), seed) for seed in range(1 + others)]
    values = np.array([found for found, _ in runs])
    sizes = np.array([size for _, size in runs])
    sizes = [sizes[:, :, 0].min(axis=0), sizes[:, :, 1].max(axis=0), sizes[:, :, 2].min(axis=0)]
    return values, sizes


def agree(found, values, noise):
    """Whether a value is what several runs say, where they agree with one another."""
    nan, finite = np.isnan(values), np.isfinite(values)
    if not finite.any():
        one = values[0]
        same = nan.all() or (values == one).all()
        return not same or (np.isnan(found) if nan.all() else found == one)
    if not finite.all():
        return True
    low, high = values.min(), values.max()
    slack = 8 * (high - low) + 100 * noise * max(abs(low), abs(high)) + 1e-300
    return low - slack <= found <= high + slack


def disagreements(rule, drawn, readers):
    """Where readers part from IEEE 754, each in a line."""
    read, said, bounds = function(rule), [], {}
    for name, reader in readers.items():
        single = name.startswith("single")
        if single not in bounds:
            bounds[single] = wanted(rule, drawn, single)
        values, (smallest, largest, finite) = bounds[single]
        try:
            found = reader(rule, read, drawn)
        except Exception as error:
            said.append(f"{name}: {type(error).__name__}: {error}")
            continue
        low, high = RANGE.get(name, (0, np.inf))
        noise = 2.0**-21 if single else 2.0**-50
        for place in np.ndindex(found.shape):
            step, output, coordinate = place
            size = smallest[step, coordinate], largest[step, coordinate]
            ordinary = low <= size[0] and size[1] <= high
            ordinary &= bool(finite[step, coordinate]) or name not in FINITE
            undefined = name == "sympy" and INFINITE in rule.text and np.isnan(found[place])
            ordinary &= not undefined  # SymPy's infinity is a limit: 1**oo is undefined
            if ordinary and not agree(found[place], values[(slice(None), *place)], noise):
                where = f"step {drawn.first + step}, {['param', *rule.slots][output]}"
                value = values[(0, *place)]
                said.append(f"{name}: {where}, coordinate {coordinate}: {found[place]} for {value}")
                break
    return said


def written(rule):
    """The readers that print a rule: none raises."""
    read = function(rule)
    equations(read), formula(read), expression(read), javascript(read)
    for name in rule.slots:
        expression(read, name)


def smallest(rule, drawn, readers):
    """A disagreement, in a rule from which no statement can be left out; None if all agree."""
    said = disagreements(rule, drawn, readers)
    if not said:
        return None
    for less in smaller(rule):
        try:
            parse(function(less))
        except TypeError:  # a name has lost its value
            continue
        if found := smallest(less, drawn, readers):
            return found
    return "\n".join([*said, rule.text, str(drawn)])


def search(readers, rules, printed=False, word=""):
    """Draw rules with a word, the same in every run, until a reader parts from IEEE 754."""
    for seed in range(rules):
        chance = random.Random(seed)
        rule = random_rule(chance)
        if word not in rule.source:
            continue
        drawn = random_numbers(chance, rule)
        if said := smallest(rule, drawn, readers):
            raise AssertionError(f"seed {seed}: {said}")
        if printed:
            written(rule)


@pytest.fixture
def own_cache(monkeypatch, tmp_path_factory):
    """Kernels of random rules are of no use to anyone else."""
    monkeypatch.setenv("ADAM_NBDEV_KERNELS", str(tmp_path_factory.getbasetemp() / "kernels"))


def test_every_reader_computes_what_ieee_754_says():
    search(READERS, 25, printed=True)


def test_kernels_compute_what_ieee_754_says():
    search(KERNELS, 3)


@pytest.mark.long
def test_more_rules_in_every_reader():
    search(READERS, 150, printed=True)


@pytest.mark.long
def test_many_rules_as_kernels(own_cache):
    search(KERNELS, 20)


#: What random rules have found: the reader that was wrong, and what the rule returns.
FOUND = {
    "1 to the power of an infinite constant": ("javascript", "grad**1e999, m"),
    "-1 to an infinite power": ("exact", "param + (-1) ** 1e999, m"),
    "an average with an infinite decay": ("kernel", "param, ema(m, grad, 1e999)"),
    "a divisor whose reciprocal overflows": ("kernel", "param, grad / 1e-320"),
    "an average of squares that is -inf": ("kernel", "param, ema(m - 1e999, grad * grad, 0.9)"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_random_rules_have_found(name):
    reader, returned = FOUND[name]
    source = f"{HEAD}def rule(param, grad, m, step):\n    return {returned}\n"
    rule = Rule(source, {"m": (0.0, "element")}, {})
    drawn = Numbers([0.5] * 3, [[1.0, -4.0, 2.0], [0.0, 2.0, -1.0]], 1, {})
    assert not disagreements(rule, drawn, {reader: {**READERS, **KERNELS}[reader]})


def template(module, table, op, *entry):
    """A fault: a printer writes an operation otherwise."""
    return lambda patch: patch.setitem(getattr(module, table), op, entry)


def in_loop(op, *entry, printer=numba_printer):
    """A fault of what the loop of a kernel says."""
    operations = {**printer._ELEMENTS.operations, op: entry}
    dialect = printer._ELEMENTS._replace(operations=operations)
    return lambda patch: patch.setattr(printer, "_ELEMENTS", dialect)


def replaced(target, name, make):
    """A fault: `make(original)` stands for something."""
    return lambda patch: patch.setattr(target, name, make(getattr(target, name)))


def in_table(table, op, make):
    return lambda patch: patch.setitem(table, op, make)


def single(original):
    return lambda value: original(float(np.float32(value)))


def twice(original):
    def scalars(self, numbers, prelude=None):
        _, slots = original(self, numbers, prelude)
        return original(self, {**numbers, **slots}, prelude)

    return scalars


def swapped_average(original):
    def average(total, values):
        (decay, x), (rest, y) = (a.args for a in total.args)
        moving = decay.scalar and rest == 1 - decay
        return x + decay * (y - x) if moving else original(total, values)

    return average


def lost_reciprocal(original):
    def cheaper(tree, values):
        divides = tree.op == "/" and tree.args[1].scalar and not tree.args[0].scalar
        return tree.args[0] * tree.args[1] if divides else original(tree, values)

    return cheaper


def late(original):
    return lambda rule, numbers, *rest: original(
        rule, {**numbers, "step": numbers["step"] - 1}, *rest
    )


def last_two_swapped(original):
    def program(rule):
        found = original(rule)
        *first, a, b = found.outputs if len(found.outputs) > 1 else (0, *found.outputs, 0)
        return replace(found, outputs=(*first, b, a)) if len(found.outputs) > 1 else found

    return program


def wrapping(original):
    def widen(x):
        return np.full(3, x, np.int64) if type(x) is int else original(x)

    return widen


def backwards(original):
    def reader(*given):
        call = original(*given)
        return lambda *args, **named: call(*args[::-1], **named)

    return reader


JS = "_JAVASCRIPT"
FAULTS = {  # the reader in which it is planted, and how
    "operands of - swapped": ("javascript", template(js, JS, "-", "{1} - {0}", 2, (3, 3))),
    "a - (b - c) without parentheses": ("javascript", template(js, JS, "-", "{} - {}", 2, (2, 2))),
    "a / (b / c) without parentheses": ("javascript", template(js, JS, "/", "{} / {}", 3, (3, 3))),
    "-(a + b) without parentheses": ("javascript", template(js, JS, "neg", "-{}", 4, (2,))),
    "division of integers": (
        "javascript",
        template(js, JS, "/", "Math.trunc({} / {})", ATOM, (3, 4)),
    ),
    "arms of where swapped": (
        "javascript",
        template(js, JS, "where", "({0} ? {2} : {1})", ATOM, (1, 1, 1)),
    ),
    "<= as <": ("javascript", template(js, JS, "<=", "{} < {}", 1, (2, 2))),
    "sign(0) is 1": ("javascript", template(js, JS, "sign", "({0} < 0 ? -1 : 1)", ATOM, (2,))),
    "maximum ignores NaN": (
        "javascript",
        template(js, JS, "maximum", "({0} > {1} ? {0} : {1})", ATOM, (3, 3)),
    ),
    "constants in single precision": ("javascript", replaced(js, "_number", single)),
    "infinite constants are large": (
        "javascript",
        replaced(js, "_number", lambda f: lambda x: "1e308" if x == np.inf else f(x)),
    ),
    "outputs in another order": ("javascript", replaced(js, "program", last_two_swapped)),
    "reserved names": ("javascript", replaced(js, "_RESERVED", lambda names: frozenset())),
    "the step before": ("numpy", replaced(arrays_module, "interpret", late)),
    "given hyperparameters ignored": (
        "torch",
        replaced(Spec, "hyperparameters", lambda f: lambda self, *given: self.defaults),
    ),
    "slots start at 0": (
        "numpy",
        replaced(arrays_module, "_filled", lambda f: lambda slot, x: f(replace(slot, start=0), x)),
    ),
    "integers wrap": ("numpy", replaced(arrays_module, "widen", wrapping)),
    "maximum of NumPy ignores NaN": ("numpy", replaced(np, "maximum", lambda f: np.fmax)),
    "sign of NaN is 0": (
        "torch",
        replaced(
            primitives,
            "_torch",
            lambda f: lambda n, *x: torch.sign(*x) if n == "sign" else f(n, *x),
        ),
    ),
    "1/-0 is positive": (
        "floats",
        replaced(
            floats_module,
            "_divide",
            lambda f: lambda a, b: abs(f(a, b)) if b == 0 else f(a, b),
        ),
    ),
    "a root of a negative number": (
        "floats",
        replaced(floats_module, "_power", lambda f: lambda a, b: f(abs(a), b)),
    ),
    "<= of floats as <": ("floats", replaced(Float, "__le__", lambda f: float.__lt__)),
    "arguments of helpers reversed": ("floats", replaced(rule_module, "_reader", backwards)),
    "maximum is the second": ("exact", in_table(primitives._NUMBERS, "maximum", lambda x, y: y)),
    "arms of a Piecewise swapped": (
        "sympy",
        replaced(
            primitives,
            "_sympy",
            lambda f: lambda n, *x: f(n, x[0], *x[:0:-1]) if n == "where" else f(n, *x),
        ),
    ),
    "a slot per tensor advanced twice": ("kernel", replaced(Batch, "scalars", twice)),
    "ema with 1 - decay": ("kernel", replaced(lower_module, "_average", swapped_average)),
    "reciprocal lost": ("kernel", replaced(lower_module, "_cheaper", lost_reciprocal)),
    "sign(0) is 1 in the loop": (
        "kernel",
        in_loop("sign", "(_real(1) if {0} >= 0 else _real(-1))", ATOM, (1,)),
    ),
    "sign of NaN is -1 on a GPU": (
        "gpu",
        in_loop("sign", "tl.where({0} > 0, 1.0, -1.0)", ATOM, (1,), printer=triton_printer),
    ),
    "operands of - swapped on a GPU": (
        "gpu",
        in_loop("-", "{1} - {0}", 2, (3, 3), printer=triton_printer),
    ),
    "(-a)**b without parentheses": ("kernel", in_loop("**", "{} ** {}", 5, (4, 5))),
    "(a**b)**c without parentheses": ("kernel", in_loop("**", "{} ** {}", 5, (5, 5))),
    "constants of the loop in single precision": (
        "kernel",
        lambda patch: patch.setattr(
            numba_printer,
            "_ELEMENTS",
            numba_printer._ELEMENTS._replace(number=lambda x: f"_real(_single({x!r}))"),
        ),
    ),
}
BUDGET = 150


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, monkeypatch, own_cache):
    reader, plant = FAULTS[fault]
    plant(monkeypatch)
    word = next((word for word in ("sign(", "maximum(", "ema(") if fault.startswith(word[:-1])), "")
    with pytest.raises(AssertionError, match=f"{reader}: "):
        search({reader: {**READERS, **KERNELS}[reader]}, BUDGET, word=word)
