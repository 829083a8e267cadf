"""Optimizers from a rule: `Optimizer.from_rule`."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from harness.torch_cases import (
    apart,
    backends,
    both,
    both_backends,
    gradient,
    parameters,
    saved,
    signum,
    train,
)

from adam_nbdev.language.convention import Slot
from adam_nbdev.optim import Optimizer
from adam_nbdev.rules import RULES


def test_an_optimizer_from_a_rule_of_three_lines():
    params = parameters()
    opt = Optimizer.from_rule(signum)(params, lr=0.1, weight_decay=0.1)
    assert type(opt).__name__ == "Signum" and opt.defaults["beta1"] == 0.9
    train(params, opt, 20)
    assert set(backends(opt)) == {"kernel"} and set(opt.state[params[0]]) == {"m", "step"}
    others = parameters()
    m = [torch.zeros_like(p) for p in others]
    for step in range(20):
        rng = torch.Generator().manual_seed(1000 + step)
        for i, p in enumerate(others):
            if step % 7 == 3 and i == 1:
                continue
            grad = gradient(p, rng) + 0.1 * p.detach()
            m[i] = 0.9 * m[i] + 0.1 * grad
            p.data -= 0.1 * m[i].sign()
    assert apart(params, others) < 1e-12
    with pytest.raises(TypeError, match="Signum has no option 'betas'; it has lr"):
        Optimizer.from_rule(signum)(params, betas=(0.9, 0.9))
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        Optimizer.from_rule(signum)(params, lr=-1.0)
    with pytest.raises(TypeError, match="the signature is"):
        Optimizer.from_rule(lambda x: x)


def shrinking(param, grad, product: Slot(start=1.0, per="tensor"), step, lr=0.1, beta=0.5):
    product = product * beta
    update = lr * product * grad
    return param - update, product


@both_backends
def test_a_tensor_slot_is_passed_over_with_its_parameter_and_in_a_checkpoint(backend):
    params = parameters(shapes=[(3,), (2, 2)])
    start = [p.detach().clone() for p in params]
    make = Optimizer.from_rule(shrinking)
    opt = make(params, backend=backend)
    for step in range(6):
        if step == 4:
            state = saved(opt)
            opt = make(params, backend=backend)
            opt.load_state_dict(state)
        for i, param in enumerate(params):
            param.grad = None if step % 2 and i else torch.ones_like(param)
        opt.step()
    assert [opt.state[p]["product"].item() for p in params] == [0.5**6, 0.5**3]
    assert [opt.state[p]["step"].item() for p in params] == [6, 3]
    moved = [s - 0.1 * (1 - 0.5**n) for s, n in zip(start, (6, 3), strict=True)]
    assert apart(params, moved) < 1e-12


def test_hyperparameters_may_have_names_that_the_optimizer_uses():
    def damped(param, grad, step, lr=0.1, damp=0.5, group=2.0):
        return param - lr * damp * group * grad

    param = torch.nn.Parameter(torch.ones(3))
    opt = Optimizer.from_rule(damped)([param], damp=0.25)
    param.grad = torch.ones(3)
    opt.step()
    assert torch.allclose(param, torch.full((3,), 0.95))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_rule_of_the_book_is_an_optimizer_with_checkpoints(rule):
    make = Optimizer.from_rule(rule)
    params = parameters(torch.float32)
    opt = make(params)
    train(params, opt, 5)
    others = [torch.nn.Parameter(p.detach().clone()) for p in params]
    other = make(others)
    other.load_state_dict(saved(opt))
    train(params, opt, 5, first=5), train(others, other, 5, first=5)
    assert set(backends(opt)) == {"kernel"}
    assert all(torch.equal(p, q) for p, q in zip(params, others, strict=True))


def test_adamw_of_the_book_is_adamw_of_the_torch_class():
    (ours, a), _ = both("AdamW", lr=0.1, weight_decay=0.5)
    others = parameters()
    b = Optimizer.from_rule(RULES["adamw"])(others, lr=0.1, weight_decay=0.5)
    train(ours, a), train(others, b)
    assert apart(ours, others) < 1e-14


def public(opt):
    return {key for key in opt.__dict__ if not key.startswith("_")}


def through_a_file(opt):
    file = io.BytesIO()
    torch.save(opt, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


class Named(Optimizer.from_rule(signum)):
    """A class of the user's own, which a pickle finds by its name."""

    extra = 1


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, through_a_file], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("make", [Optimizer.from_rule(signum), Named])
def test_an_optimizer_whose_class_has_no_name_is_copied_with_its_class(make, again):
    params = parameters()
    opt = make(params, lr=0.1, nonfinite="skip")
    train(params, opt, 3)
    twin = again(opt)
    assert type(twin) is make and public(twin) == public(opt)
    others = twin.param_groups[0]["params"]
    assert all(map(torch.equal, params, others))
    if again is not copy.copy:
        train(params, opt, 3, first=3), train(others, twin, 3, first=3)
        assert all(map(torch.equal, params, others)) and others[0] is not params[0]


def test_a_rule_has_one_class_until_it_changes():
    assert Optimizer.from_rule(signum) is Optimizer.from_rule(signum)
    assert Optimizer.from_rule(signum) is not Named and Named.rule is signum
    assert Named.from_rule(signum) is not Optimizer.from_rule(signum)


MODULE = """
from adam_nbdev.language.primitives import ema, sign

class Rules:
    def lazy(param, grad, m, step, lr=0.5, beta1=0.9):
        m = ema(m, grad, beta1)
        return param - lr * sign(m), m
"""
READER = """
import pickle, sys, torch
with open(sys.argv[1], "rb") as file:
    params, opt = pickle.load(file)
assert type(opt).__name__ == "Lazy" and opt.state[params[0]]["step"] == 1
params[0].grad = torch.ones(2)
opt.step()
print(params[0].tolist())
"""


def test_another_process_finds_the_rule_by_its_name(tmp_path, monkeypatch):
    """Also that of a rule within a class."""
    (tmp_path / "rules_of_mine.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from rules_of_mine import Rules

    param = torch.nn.Parameter(torch.zeros(2))
    opt = Optimizer.from_rule(Rules.lazy)([param])
    param.grad = torch.ones(2)
    opt.step()
    (tmp_path / "pickled").write_bytes(pickle.dumps(([param], opt)))
    command = [sys.executable, "-c", READER, str(tmp_path / "pickled")]
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *sys.path]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[-1.0, -1.0]", done.stderr


TAKEN = (
    "max_norm maximize stochastic_rounding nonfinite state_dtype params self differentiable "
    "capturable backend"
)


@pytest.mark.parametrize("name", TAKEN.split())
def test_a_hyperparameter_called_as_an_option_is_refused(name, tmp_path, monkeypatch):
    source = f"def rule(param, grad, step, {name}=0.5):\n    return param - {name} * grad\n"
    (tmp_path / f"rule_with_{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    rule = __import__(f"rule_with_{name}").rule
    with pytest.raises(TypeError, match=f"option '{name}' of their own; .* as in {name}_") as error:
        Optimizer.from_rule(rule)
    assert "\n" not in str(error.value)
