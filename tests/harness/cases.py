"""Inputs and oracles that several tests share."""

import math

import numpy as np
import torch

from adam_nbdev.readers.exact import exact
from adam_nbdev.rules import RULES

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


def run(rule, grads, **hyperparameters):
    """The rule on float64 scalars, called as a plain function: (steps, 1 + slots, n)."""
    state = [0.0 * grads[0]] * (rule.__code__.co_varnames.index("step") - 2)
    param, history = 0.0 * grads[0] + beginning(hyperparameters), []
    for step, grad in enumerate(grads, start=1):
        new = rule(param, grad, *state, step, **hyperparameters)
        param, *state = new if isinstance(new, tuple) else (new,)
        history.append([param, *state])
    return np.array(history)


def reference(rule, grads, **hyperparameters):
    """The parameter after every step, to 50 digits, rounded: (steps, n)."""
    columns = [[row[0] for row in exact(rule, map(float, c), **hyperparameters)] for c in grads.T]
    return np.array(columns, dtype=float).T


def torch_run(make, grads, slots, begin=0.0):
    """A torch.optim optimizer on the same gradients: (steps, 1 + slots, n)."""
    param = torch.full(grads.shape[1:], begin, dtype=torch.float64, requires_grad=True)
    optimizer, history = make([param]), []
    for grad in grads:
        param.grad = torch.from_numpy(grad)
        optimizer.step()
        state = optimizer.state[param]
        history.append([param.detach().clone(), *(state[s].clone() for s in slots)])
    return np.array([[x.numpy() for x in row] for row in history])


# For every rule: torch's optimizer, its hyperparameters by our names, its names of our slots.
_O = torch.optim
TORCH = {
    "gradient_descent": [(lambda p: _O.SGD(p, lr=0.03), {"lr": 0.03}, [])],
    "momentum": [
        (
            lambda p: _O.SGD(p, lr=0.03, momentum=0.8),
            {"lr": 0.03, "momentum": 0.8},
            ["momentum_buffer"],
        )
    ],
    "nesterov": [
        (
            lambda p: _O.SGD(p, lr=0.03, momentum=0.8, nesterov=True),
            {"lr": 0.03, "momentum": 0.8},
            ["momentum_buffer"],
        )
    ],
    "adagrad": [
        (lambda p, e=e: _O.Adagrad(p, lr=0.03, eps=e), {"lr": 0.03, "eps": e}, ["sum"])
        for e in (1e-10, 1e-3)
    ],
    "rprop": [
        (
            lambda p, b=b, e=e: _O.Rprop(p, lr=0.03, etas=e, step_sizes=b),
            {"lr": 0.03, "down": e[0], "up": e[1], "smallest": b[0], "largest": b[1]},
            ["prev", "step_size"],
        )
        for b in ((1e-6, 50), (0.02, 0.04), (1e-12, 0.01))
        for e in ((0.5, 1.2), (0.7, 1.5))
    ],
    "rmsprop": [
        (
            lambda p, e=e: _O.RMSprop(p, lr=0.03, alpha=0.95, eps=e),
            {"lr": 0.03, "decay": 0.95, "eps": e},
            ["square_avg"],
        )
        for e in (1e-8, 1e-3)
    ],
    "rmsprop_centred": [
        (
            lambda p, e=e: _O.RMSprop(p, lr=0.03, alpha=0.95, eps=e, centered=True),
            {"lr": 0.03, "decay": 0.95, "eps": e},
            ["square_avg", "grad_avg"],
        )
        for e in (1e-8, 1e-3)
    ],
    "rmsprop_momentum": [
        (
            lambda p, e=e: _O.RMSprop(p, lr=0.03, alpha=0.95, eps=e, momentum=0.8),
            {"lr": 0.03, "decay": 0.95, "eps": e, "momentum": 0.8},
            ["square_avg", "momentum_buffer"],
        )
        for e in (1e-8, 1e-3)
    ],
    "rmsprop_centred_momentum": [
        (
            lambda p, e=e: _O.RMSprop(p, lr=0.03, alpha=0.95, eps=e, centered=True, momentum=0.8),
            {"lr": 0.03, "decay": 0.95, "eps": e, "momentum": 0.8},
            ["square_avg", "grad_avg", "momentum_buffer"],
        )
        for e in (1e-8, 1e-3)
    ],
    "rmsprop_corrected": [
        (
            lambda p, e=e: _O.Adam(p, lr=0.03, betas=(0.0, 0.95), eps=e),
            {"lr": 0.03, "decay": 0.95, "eps": e},
            ["exp_avg_sq"],
        )
        for e in (1e-8, 1e-3)
    ],
    "adam": [
        (
            lambda p, b=b, e=e: _O.Adam(p, lr=0.03, betas=b, eps=e),
            {"lr": 0.03, "beta1": b[0], "beta2": b[1], "eps": e},
            ["exp_avg", "exp_avg_sq"],
        )
        for b in ((0.9, 0.999), (0.8, 0.95), (0.0, 0.9), (0.95, 0.95))
        for e in (1e-8, 1e-3)
    ],
    "amsgrad_torch": [
        (
            lambda p, b=b, e=e: _O.Adam(p, lr=0.03, betas=b, eps=e, amsgrad=True),
            {"lr": 0.03, "beta1": b[0], "beta2": b[1], "eps": e},
            ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
        )
        for b in ((0.9, 0.999), (0.8, 0.95))
        for e in (1e-8, 1e-3)
    ],
    "adamw": [
        (
            lambda p, lr=lr, b=b, e=e, w=w: _O.AdamW(p, lr=lr, betas=b, eps=e, weight_decay=w),
            {"lr": lr, "beta1": b[0], "beta2": b[1], "eps": e, "weight_decay": w},
            ["exp_avg", "exp_avg_sq"],
        )
        for lr, w in ((0.1, 0.5), (0.03, 0.01), (0.03, 0.0))
        for b in ((0.9, 0.999), (0.8, 0.95), (0.0, 0.9))
        for e in (1e-8, 1e-3)
    ],
}


def weighted(values, decay):
    """Moving average from 0 in closed form, as the sum of weights that the papers write."""
    steps = np.arange(len(values))
    age = steps[:, None] - steps
    weights = np.where(age >= 0, (1 - decay) * float(decay) ** np.maximum(age, 0), 0.0)
    return weights @ values


def path(updates, *slots):
    """The history of a run, in the shape of `run`, from its updates and slots (steps, n)."""
    return np.stack([-np.cumsum(updates, axis=0), *slots], axis=1)


def adam_uncorrected(grads, lr, beta1, beta2, eps):
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    return path(lr * m / (np.sqrt(v) + eps), m, v)


def laprop(grads, lr, beta1, beta2, eps):
    steps = np.arange(1, len(grads) + 1)[:, None]
    v = weighted(grads**2, beta2)
    m = weighted(grads / (np.sqrt(v / (1 - beta2**steps)) + eps), beta1)
    return path(lr * m / (1 - beta1**steps), m, v)


def amsgrad(grads, lr, beta1, beta2, eps):
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    v_max = np.maximum.accumulate(v)
    return path(lr * m / (np.sqrt(v_max) + eps), m, v, v_max)


def amsgrad_corrected(grads, lr, beta1, beta2, eps):
    steps = np.arange(1, len(grads) + 1)[:, None]
    m, v = weighted(grads, beta1), weighted(grads**2, beta2)
    v_max = np.maximum.accumulate(v / (1 - beta2**steps))
    return path(lr * m / (1 - beta1**steps) / (np.sqrt(v_max) + eps), m, v, v_max)


def adopt(grads, lr, beta1, beta2, eps):
    steps = np.arange(1, len(grads) + 1)[:, None]
    v = weighted(grads**2, beta2) + beta2**steps * grads[0] ** 2
    rescaled = np.zeros_like(grads)
    rescaled[1:] = grads[1:] / np.maximum(np.sqrt(v[:-1]), eps)
    m = weighted(rescaled, beta1)
    return path(lr * m, m, v)


# For every rule that torch lacks: its paper's formula in closed form, and hyperparameters.
ADAMS = [
    {"lr": 0.03, "beta1": b1, "beta2": b2, "eps": eps}
    for b1, b2 in ((0.9, 0.999), (0.8, 0.95), (0.0, 0.9))
    for eps in (1e-8, 1e-3)
]
TEXTBOOK = {f.__name__: [(f, h) for h in ADAMS] for f in (adam_uncorrected, laprop)}
TEXTBOOK |= {f.__name__: [(f, h) for h in ADAMS] for f in (amsgrad, amsgrad_corrected, adopt)}
assert TORCH.keys() | TEXTBOOK.keys() == RULES.keys()


def oracles(name, grads):
    """Histories of a rule that do not come from our code, each with its hyperparameters."""
    for make, hyperparameters, slots in TORCH.get(name, []):
        yield torch_run(make, grads, slots, beginning(hyperparameters)), hyperparameters
    for formula, hyperparameters in TEXTBOOK.get(name, []):
        yield formula(grads, **hyperparameters), hyperparameters


def disagreement(rule, name, grads):
    """How far a function is from the oracles of that name, in parameter and state."""
    worst = 0.0
    for theirs, hyperparameters in oracles(name, grads):
        try:
            with np.errstate(all="ignore"):
                ours = run(rule, grads, **hyperparameters)
                error = max(distance(ours[:, i], theirs[:, i]) for i in range(theirs.shape[1]))
        except (ZeroDivisionError, OverflowError, TypeError, ValueError, IndexError):
            return math.inf
        worst = max(worst, math.inf if math.isnan(error) else error)
    return worst
