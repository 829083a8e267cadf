"""What a rule is held against: torch's optimizer, or the formula of a paper in closed form.

An oracle is called as `oracle(grads, param, **hyperparameters)`, where `param` is the number that
every element starts from; it returns a history in the shape of `cases.run`.
"""

import inspect
import itertools
import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType

import numpy as np
import torch

from adam_nbdev.language.catalogue import ENTRIES
from harness.cases import beginning, distance, run


@dataclass(frozen=True)
class Evidence:
    """What the tests know of a rule, stated once, in the module of its chapter.

    Whatever is not a number of every rule is a pair, and its second half is the reason in words.
    """

    rule: FunctionType
    oracles: list  # of (oracle, list of hyperparameters)
    faults: list  # of (fault, what the source says, what it says when it is broken that way)
    #: What the slots are where every gradient is 0 and lr is 0.5: ({slot: value}, reason); a value
    #: may be a function of the steps. By default a slot per element stays where it starts.
    rest: tuple = ({}, "")
    #: What is left of a parameter that decays, in a step without gradient:
    #: (function of param, lr and weight_decay, reason).
    decayed: tuple = (lambda param, lr, weight_decay: param - lr * weight_decay * param, "")
    #: What 1,000 random gradients are turned into for a long run: (function, reason).
    gradients: tuple = (lambda grads: grads, "")
    #: More than so many parameters of the long run are distinct: (number, reason).
    distinct: tuple = (900, "")
    #: Whether the size of the gradients drops out exactly, if there is no eps.
    scale_free: bool = False
    #: Slots whose unit in the last place is that of a value of typical size: (names, reason).
    typical: tuple = ((), "")
    #: Slots that may be off by more than 10 units in the long run in Node: ({slot: units}, reason).
    ulps: tuple = ({}, "")
    #: With what `grade` finds a fault that the usual hyperparameters hide: {fault: (them, reason)}.
    outside: dict = field(default_factory=dict)


def grid(*axes):
    """Every combination of one dict from each axis; an axis is a dict, or a list of them."""
    axes = [[axis] if isinstance(axis, dict) else axis for axis in axes]
    return [{k: v for part in parts for k, v in part.items()} for parts in itertools.product(*axes)]


def each(**values):
    """An axis of one hyperparameter: `each(eps=(1e-8, 1e-3))`."""
    ((name, several),) = values.items()
    return [{name: value} for value in several]


EPS = each(eps=(1e-8, 1e-3))
BETAS = [{"beta1": b1, "beta2": b2} for b1, b2 in ((0.9, 0.999), (0.8, 0.95), (0.0, 0.9))]


def in_torch(rule):
    """The optimizer of torch that the catalogue says this rule to be, as an oracle."""
    said = ENTRIES[rule.__name__].torch
    kind = getattr(torch.optim, said.name)
    known = inspect.signature(kind).parameters

    def oracle(grads, param, **hyperparameters):
        given = said.arguments(hyperparameters)
        given = {name: value for name, value in given.items() if name in known}
        return torch_run(lambda p: kind(p, **given), grads, said.slots.values(), param)

    return oracle


@contextmanager
def doubles():
    """Numbers that torch makes itself, such as NAdam's running product, are doubles."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def torch_run(make, grads, slots, begin=0.0):
    """A torch.optim optimizer on the same gradients: (steps, 1 + slots, n)."""
    param = torch.full(grads.shape[1:], begin, dtype=torch.float64, requires_grad=True)
    with doubles():
        optimizer, history = make([param]), []
        for grad in grads:
            param.grad = torch.from_numpy(grad)
            optimizer.step()
            state = [optimizer.state[param][slot] for slot in slots]
            history.append([x.detach().clone().expand(param.shape) for x in (param, *state)])
    assert all(x.dtype == torch.float64 for x in history[0]), "torch rounds what it keeps"
    return np.array([[x.numpy() for x in row] for row in history])


def discounted(values, decay, scale=1.0):
    """Sum from 0 in closed form, in which a value of k steps ago has the weight `decay**k`."""
    steps = np.arange(len(values))
    age = steps[:, None] - steps
    weights = np.where(age >= 0, scale * float(decay) ** np.maximum(age, 0), 0.0)
    return weights @ values


def weighted(values, decay):
    """Moving average from 0 in closed form, as the sum of weights that the papers write."""
    return discounted(values, decay, 1 - decay)


def path(param, updates, *slots):
    """The history of a run, in the shape of `run`, from its updates and slots (steps, n)."""
    return np.stack([param - np.cumsum(updates, axis=0), *slots], axis=1)


def disagreement(function, evidence, grads):
    """How far a function is from the oracles of a rule, in parameter and state."""
    return max(disagreements(function, evidence, grads))


def disagreements(function, evidence, grads):
    """How far it is from one oracle after another; infinite where that is NaN or an error."""
    for oracle, several in evidence.oracles:
        for hyperparameters in several:
            theirs = _history(oracle, tuple(hyperparameters.items()), grads.shape, grads.tobytes())
            error = _error(function, evidence.rule, theirs, grads, hyperparameters)
            yield math.inf if math.isnan(error) else error


@cache
def _history(oracle, hyperparameters, shape, grads):
    """What an oracle gives; asked once for all mutants."""
    given = dict(hyperparameters)
    grads = np.frombuffer(grads).reshape(shape).copy()
    return oracle(grads, beginning(given), **given)


def _error(function, rule, theirs, grads, hyperparameters):
    try:
        with np.errstate(all="ignore"):
            ours = run(rule, grads, function, **hyperparameters)
            return max(distance(ours[:, i], theirs[:, i]) for i in range(theirs.shape[1]))
    except (ZeroDivisionError, OverflowError, TypeError, ValueError, IndexError):
        return math.inf
