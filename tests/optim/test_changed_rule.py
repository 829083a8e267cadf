"""A rule that changes between two steps, as autoreload changes it, is followed or refused."""

import dataclasses

import pytest
import torch
from harness.torch_cases import both_backends, parameters, signum, states, train

from adam_nbdev import ema, optim, sqrt
from adam_nbdev.language.rule import parse
from adam_nbdev.optim import Optimizer, classes, optimizer, plan, ways


def change(monkeypatch, **what):
    """Let `parse` say of every rule that it has changed: another Spec at first, then that one."""
    made = {}

    def says(rule):
        return made.setdefault(rule, dataclasses.replace(parse(rule), **what))

    for module in (optimizer, classes, plan):
        monkeypatch.setattr(module, "parse", says)


@pytest.mark.parametrize("make", [optim.Adam, Optimizer.from_rule(signum)])
def test_a_changed_rule_is_compiled_anew_once(make, monkeypatch):
    made = []

    class Noted(ways.Batch):  # patches internals
        def __init__(self, *args):
            made.append(args)
            super().__init__(*args)

    monkeypatch.setattr(ways, "Batch", Noted)
    params = parameters()
    opt = make(params)
    train(params, opt, 3)
    assert len(made) == 1
    change(monkeypatch)
    train(params, opt, 3)
    assert len(made) == 2


@both_backends
def test_a_rule_that_asks_for_more_than_the_groups_have_is_refused(backend, monkeypatch):
    params = parameters()
    opt = Optimizer.from_rule(signum)(params, backend=backend)
    train(params, opt, 3)
    kept = [[x.clone() for x in (*params, *states(opt).values())]]
    more = {**parse(signum).defaults, "warm": 2.0}
    change(monkeypatch, defaults=more)
    with pytest.raises(RuntimeError, match=r"group of Signum has no 'warm', .*; set it in every"):
        opt.step()
    kept.append([*params, *states(opt).values()])
    assert all(map(torch.equal, *kept))
    opt.param_groups[0]["warm"] = 1.0


@both_backends
def test_a_slot_that_became_a_number_is_refused(backend, monkeypatch):
    """What the state holds for it has the shape of the parameter."""
    params = parameters()
    opt = Optimizer.from_rule(signum)(params, backend=backend)
    train(params, opt, 3)
    slot = dataclasses.replace(parse(signum).slots["m"], per="tensor")
    change(monkeypatch, slots={"m": slot})
    with pytest.raises(RuntimeError, match=r"'m' has the shape \(3, 4\) and is to be one number"):
        opt.step()


def test_a_subclass_may_bind_a_rule_of_its_own():
    class Other(optim.Adam):
        def binding(self, group):
            return super().binding(group)._replace(spec=parse(copied))

    def copied(param, grad, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
        m = ema(m, grad, beta1)
        v = ema(v, grad * grad, beta2)
        update = lr * m / (sqrt(v) + eps)
        return param - update, m, v

    moved = []
    for kind in (Other, Optimizer.from_rule(copied)):
        params = parameters()
        train(params, kind(params), 3)
        moved.append(params)
    assert all(map(torch.equal, *moved))
