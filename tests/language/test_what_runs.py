"""What is read of a rule is what runs: files that were edited, helpers that were redefined."""

# ruff: noqa: F811

import importlib
import linecache
import textwrap

import numpy as np
import pytest
import torch

from adam_nbdev import optim
from adam_nbdev.kernels.cpu import step_inplace
from adam_nbdev.kernels.lower import lower
from adam_nbdev.language.program import program
from adam_nbdev.language.rule import interpret, parse, parse_prelude
from adam_nbdev.readers.arrays import advance, start
from adam_nbdev.readers.exact import exact
from adam_nbdev.readers.trace import trace

TWO = """\
def first(param, grad, step, lr=1.0):
    update = lr * grad
    return param - update


def second(param, grad, step, lr=1.0):
    update = 3 * lr * grad
    return param - update
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that writes a module with this text and imports it; a second call edits it."""
    monkeypatch.syspath_prepend(tmp_path)
    name, file = f"edited_{abs(hash(tmp_path))}", tmp_path / "later.py"

    def write(text, load=True):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        linecache.checkcache()
        importlib.invalidate_caches()
        return importlib.import_module(name) if load else file

    return write


@pytest.mark.parametrize(
    "edited",
    [
        "# a comment\n\n\n\n" + TWO,
        TWO.replace("3 * lr", "5 * lr"),
        TWO.replace("3 * lr", "3.0 * lr"),
        TWO.replace("- update", "+ update"),
        TWO.replace("first", "third"),
        "x = 1\n",
        "",
    ],
)
def test_an_edited_file_is_no_source(module, edited):
    found = module(TWO)
    module(edited, load=False)
    if edited == TWO.replace("first", "third"):
        assert exact(found.second, [1.0])[0][0] == -3
        return
    for read in (parse, program, optim.Optimizer.from_rule, lambda rule: exact(rule, [1.0])):
        with pytest.raises(TypeError, match=r"is not the code that runs|cannot be read"):
            read(found.second)


def test_what_was_read_before_an_edit_stays(module):
    found = module(TWO)
    before = exact(found.second, [1.0])
    module(TWO.replace("3 * lr", "5 * lr"), load=False)
    assert exact(found.second, [1.0]) == before
    assert trace(found.second, 0.0, 1.0)[-1].value == -3


def test_functions_within_functions_are_compared_too():
    decay = 0.5  # no rule sees it, but the compiler knows of it

    def helper(x):
        """A docstring
        of two lines."""
        return 2 * x

    def inner(param, grad, step, lr=1.0):
        """A docstring
        of two lines."""
        update = lr * helper(grad)
        return param - update

    assert exact(inner, [1.0])[0][0] == -2 and decay


def everything(rule, grad=2.0):
    """What every way of reading gives for one step from 0."""
    param, gradient = np.zeros(3, np.float32), np.full(3, grad, np.float32)
    read = advance(rule, param, gradient, start(rule, param), 1)[0]
    step_inplace(rule, param, gradient, start(rule, param), 1)
    return {
        "called": rule(0.0, grad, 1),
        "interpreted": interpret(rule, {"param": 0.0, "grad": grad, "step": 1})[0],
        "exact": float(exact(rule, [grad])[0][0]),
        "trace": trace(rule, 0.0, grad)[-1].value,
        "arrays": float(read[0]),
        "kernel": float(param[0]),
    }


def test_a_redefined_helper_is_seen_by_every_reader():
    def scaled(x):
        return 2 * x

    def rule(param, grad, step, lr=0.5):
        update = lr * scaled(grad)
        return param - update

    assert set(everything(rule).values()) == {-2.0}
    spec = parse(rule)
    assert parse(rule) is spec and lower(rule) is lower(rule)

    def scaled(x):
        return 3 * x

    assert set(everything(rule).values()) == {-3.0}
    assert parse(rule) is not spec and parse(rule) is parse(rule)


def test_a_helper_of_a_helper_and_a_rule_of_a_rule():
    def inner(x):
        return 2 * x

    def outer(x):
        return inner(x)

    def simple(param, grad, step, lr=0.5):
        update = lr * outer(grad)
        return param - update

    def rule(param, grad, step, lr=0.5):
        grad = 1 * grad
        return simple(param, grad, step, lr)

    assert set(everything(rule).values()) == {-2.0}

    def inner(x):
        return 5 * x

    assert set(everything(rule).values()) == {-5.0}

    def simple(param, grad, step, lr=0.5):
        return param - lr

    assert set(everything(rule).values()) == {-0.5}


def test_code_and_defaults_that_are_replaced_in_place():
    def rule(param, grad, step, lr=0.5):
        update = lr * grad
        return param - update

    def other(param, grad, step, lr=0.25):
        update = lr * 3 * grad
        return param - update

    assert set(everything(rule).values()) == {-1.0}
    rule.__code__ = other.__code__  # as autoreload does
    assert set(everything(rule).values()) == {-3.0}
    rule.__defaults__ = other.__defaults__
    assert set(everything(rule).values()) == {-1.5}


def test_a_prelude_is_read_anew_too():
    def factor(x):
        return 2 * x

    def prelude(param, grad):
        return param, factor(grad)

    before = parse_prelude(prelude)
    assert parse_prelude(prelude) is before

    def factor(x):
        return 3 * x

    assert parse_prelude(prelude) is not before


@pytest.mark.parametrize("backend", ["kernel", "tensors"])
def test_an_optimizer_takes_the_rule_as_it_is_now(backend):
    def scaled(x):
        return 2 * x

    def rule(param, grad, step, lr=0.5):
        update = lr * scaled(grad)
        return param - update

    param = torch.nn.Parameter(torch.zeros(3))
    optimizer = optim.Optimizer.from_rule(rule)([param], backend=backend)
    param.grad = torch.full((3,), 2.0)
    optimizer.step()
    assert param[0] == -2

    def scaled(x):
        return 3 * x

    optimizer.step()
    assert param[0] == -2 - 3

    def other(param, grad, step, lr=0.5):
        update = lr * (scaled(grad) / 3)
        return param - update

    rule.__code__ = other.__code__
    optimizer.step()
    assert param[0] == -2 - 3 - 1
