"""Random rules: every reader computes what IEEE 754 says."""

import numpy as np
import pytest
import sympy
import torch
from harness.ieee import Arithmetic, functions_of
from harness.node import in_node, node  # noqa: F401
from harness.random_rules import GRADS, function, numbers, rules
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from adam_nbdev.kernels.cpu import step_inplace
from adam_nbdev.language import primitives
from adam_nbdev.language.floats import Float
from adam_nbdev.language.run import run
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
RANGE = {"exact": (1e-300, 1e300), "sympy": (1e-300, 1e300), "kernel": (1e-290, 1e290), "single": (1e-36, 1e36)}


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
    return [np.array(np.broadcast_to(x, param.shape), dtype=float) for x in (param, *state.values())]


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
KERNELS = {"kernel": compiled(np.float64), "single": compiled(np.float32)}


def evaluated(rule, drawn, noise, seed):
    """What IEEE 754 says, and at which steps all of it was finite or of ordinary size."""
    functions, history, sizes = functions_of(rule.source, IMPORTED), [], []
    for param, grads in columns(drawn):
        arithmetic, found, size = Arithmetic(functions, noise, seed), [], []
        values = [np.float64(x) for x in (param, *(slot[0] for slot in rule.slots.values()))]
        chosen = {name: np.float64(value) for name, value in drawn.chosen.items()}
        for step, grad in enumerate(grads, start=drawn.first):
            args = [values[0], np.float64(grad), *values[1:], np.float64(step)]
            values = arithmetic.call(rule.name, args, chosen)
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
        single = name == "single"
        if single not in bounds:
            bounds[single] = wanted(rule, drawn, single)
        values, (smallest, largest, finite) = bounds[single]
        try:
            found = reader(rule, read, drawn)
        except Exception as error:
            said.append(f"{name}: {type(error).__name__}: {error}")
            continue
        low, high = RANGE.get(name, (0, np.inf))
        noise = 2.0**-21 if name == "single" else 2.0**-50
        for place in np.ndindex(found.shape):
            step, output, coordinate = place
            size = smallest[step, coordinate], largest[step, coordinate]
            ordinary = low <= size[0] and size[1] <= high
            ordinary &= bool(finite[step, coordinate]) or name not in FINITE
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


def check(data, readers):
    rule = data.draw(rules())
    drawn = data.draw(numbers(rule))
    said = disagreements(rule, drawn, readers)
    assert not said, "\n".join([*said, rule.source[rule.source.index("def rule") :], str(drawn)])
