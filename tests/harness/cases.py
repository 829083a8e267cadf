"""Gradients, runs and distances that several tests share."""

import numpy as np

from adam_nbdev.language.rule import parse
from adam_nbdev.language.run import run as feed
from adam_nbdev.readers.exact import exact

SCALES = np.array([1e3, 1.0, 1e-6])


def gradients(steps=100, seed=0):
    """Gradients (steps, 3) that change at every step: three scales, an early zero and a burst."""
    grads = np.random.default_rng(seed).normal(size=(steps, 3)) * SCALES
    grads[1] = 0.0
    grads[steps // 2] *= 100.0
    return grads


def distance(values, reference):
    """Largest normwise relative distance of a run's columns: (steps, n) against (steps, n)."""
    difference = np.linalg.norm(np.asarray(values, float) - reference, axis=0)
    return float(np.max(difference / np.linalg.norm(reference, axis=0)))


def beginning(hyperparameters):
    """Where a run starts: at 0, where errors show best; not so what decays, as 0 decays to 0."""
    return 0.7 if "weight_decay" in hyperparameters else 0.0


def called(function, given):
    """For `adam_nbdev.language.run.run`: a step is a plain call of the function.

    Only hyperparameters whose names are in `given` are passed on.
    """

    def advance(rule, param, grad, state, step, record, **hyperparameters):
        chosen = {name: hyperparameters[name] for name in given}
        new = function(param, grad, *state.values(), step, **chosen)
        param, *slots = new if isinstance(new, tuple) else (new,)
        return param, dict(zip(state, slots, strict=True))

    return advance


def run(rule, grads, function=None, **hyperparameters):
    """The rule on float64 scalars, called as a plain function: (steps, 1 + slots, n).

    Another function can be called in its place, which need not keep the convention. A slot per
    tensor is repeated for each element.
    """
    param = np.zeros_like(grads[0]) + beginning(hyperparameters)
    slots = parse(rule).slots.items()
    state = {n: s.start if s.per == "tensor" else np.full_like(param, s.start) for n, s in slots}
    given = {"number": unchanged, "advance": called(function or rule, hyperparameters)}
    steps = feed(rule, grads, param, state, **given, **hyperparameters)
    rows = [[step.param, *step.state.values()] for step in steps]
    return np.array([[np.broadcast_to(x, param.shape) for x in row] for row in rows])


def unchanged(number):
    return number


def reference(rule, grads, **hyperparameters):
    """The parameter after every step, to 50 digits, rounded: (steps, n)."""
    columns = [[row[0] for row in exact(rule, map(float, c), **hyperparameters)] for c in grads.T]
    return np.array(columns, dtype=float).T
