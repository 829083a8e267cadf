"""Every broken Adam that is known is named; what is not known is not given a name."""

import math
import subprocess
import sys
import textwrap

import pytest
import torch

from adam_nbdev.conformance.dialects import (
    CHOICES,
    SHOWN,
    AdamDialect,
    dialects,
    name,
    rule_of,
    stream,
    walk,
)
from adam_nbdev.conformance.runner import BEGIN, examine, history, main, of_program, report

#: Adams broken as libraries have broken them: what is written instead, and what it is.
BROKEN = {
    "t starts at 0": ({"c": "t > 1 and t - 1"}, {"correction": "late"}),
    "t starts at 2": ({"c": "t + 1"}, {"correction": "early"}),
    "no bias correction": ({"c": "0"}, {"correction": "none"}),
    "eps inside the root": ({"root": "math.sqrt(vh + eps)"}, {"eps": "inside"}),
    "eps-hat": ({"root": "math.sqrt(vh) + eps / math.sqrt(1 - b2**t)"}, {"eps": "hat"}),
    "AMSGrad on the corrected v": ({"top": "vh = s['x'] = max(s['x'], vh)"}, {"largest": "after"}),
    "AMSGrad of torch": ({"raw": "w = s['x'] = max(s['x'], v)"}, {"largest": "before"}),
    "L2": ({"decay": "g = g + wd * p"}, {"decay": "L2"}),
    "decoupled": ({"decay": "p = p * (1 - lr * wd)"}, {"decay": "decoupled"}),
    "decay not times lr": ({"decay": "p = p * (1 - wd)"}, {"decay": "bare"}),
    "decay after": ({"last": "p = p * (1 - lr * wd)"}, {"decay": "after"}),
    "corrected state kept": ({"last": "m, v = mh, vh"}, {"kept": "corrected"}),
    "betas swapped": ({"first": "b1, b2 = b2, b1"}, {"betas": "swapped"}),
    "a sum": ({"average": "m = b1 * m + g"}, {"m": "sum"}),
    "root missing": ({"root": "vh + eps"}, {"eps": "rootless"}),
    "eps in the raw root": ({"root": "math.sqrt(vh + eps / (1 - b2**t))"}, {"eps": "raw"}),
    "eps squared": ({"root": "math.sqrt(vh + eps**2)"}, {"eps": "squared"}),
    "always the first step": ({"c": "1"}, {"correction": "first"}),
    "decay after, not times lr": ({"last": "p = p * (1 - wd)"}, {"decay": "bare_after"}),
    "only m kept corrected": ({"last": "m = mh"}, {"kept": "corrected_m"}),
    "only v kept corrected": ({"last": "v = vh"}, {"kept": "corrected_v"}),
    "v from 1": ({"first": "v = v if t > 1 else 1.0"}, {"v": "one"}),
    "m from the first": ({"average": "m = b1 * m + (1 - b1) * g if t > 1 else g"}, {"m": "first"}),
    "v never falls": ({"raw": "w = v = max(v, s['v'])"}, {"v": "largest"}),
    "uphill": ({"rate": "-lr"}, {"lr": "up"}),
    "lr inside": ({"average": "m = b1 * m + (1 - b1) * lr * g", "rate": "1"}, {"lr": "inside"}),
}
PLAIN = """
def adam(grads, params, lr, beta1, beta2, eps, weight_decay=0.0):
    params, found, rate_of, wd = list(params), [], lr, weight_decay
    states = [{{"m": 0.0, "v": 0.0, "x": 0.0}} for _ in params]
    for t, row in enumerate(grads, start=1):
        for i, g in enumerate(row):
            p, s, b1, b2, lr = params[i], states[i], beta1, beta2, rate_of(t)
            m, v = s["m"], s["v"]
            {first}
            {decay}
            {average}
            v = b2 * v + (1 - b2) * g * g
            w = v
            {raw}
            c = {c}
            mh, vh = (m / (1 - b1**c), w / (1 - b2**c)) if c else (m, w)
            {top}
            p = p - {rate} * mh / ({root})
            {last}
            s["m"], s["v"], params[i] = m, v, p
        found.append(list(params))
    return found
"""
USUAL = {
    "first": "pass", "decay": "pass", "average": "m = b1 * m + (1 - b1) * g", "raw": "pass",
    "c": "t", "top": "pass", "rate": "lr", "root": "math.sqrt(vh) + eps", "last": "pass",
}  # fmt: skip


def written(changed):
    """An Adam on plain floats that is not made from our rule."""
    found = {"math": math}
    exec(PLAIN.format(**{**USUAL, **changed}), found)
    return found["adam"]


def test_algorithm_1_is_named():
    found = examine(written({}))
    assert found.status == 0 and found.dialect == AdamDialect() and found.distance < 1e-13


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_adam_is_named(fault):
    changed, choice = BROKEN[fault]
    found = examine(written(changed))
    assert found.dialect == AdamDialect(**choice), found
    assert found.distance < 1e-12 and found.status == int("decay" not in choice)


@pytest.mark.parametrize(
    "pair",
    [
        ("eps-hat", "L2"),
        ("no bias correction", "decoupled"),
        ("eps inside the root", "AMSGrad of torch"),
        ("a sum", "decay after"),
    ],
)
def test_two_faults_at_once_are_named(pair):
    changed, choice = ({**BROKEN[pair[0]][i], **BROKEN[pair[1]][i]} for i in (0, 1))
    assert examine(written(changed)).dialect == AdamDialect(**choice)


@pytest.mark.parametrize(("count", "choice"), [("t > 1 and t - 1", "late"), ("t + 1", "early")])
def test_eps_hat_counts_as_the_correction_does(count, choice):
    root = "math.sqrt(vh) + eps / math.sqrt(1 - b2**c if c else 1)"
    found = examine(written({"c": count, "root": root}))
    assert found.dialect == AdamDialect(eps="hat", correction=choice) and found.distance < 1e-12


def test_what_is_not_known_gets_no_name():
    found = examine(written({"root": "vh**0.4 + eps"}))
    assert found.status == 1 and found.dialect is None and "none that is known" in found.said
    assert "first at step 1, where coordinate 0 is" in found.said


def test_a_decay_that_is_not_known_is_told_apart_from_the_rest():
    found = examine(written({"decay": "p = p * (1 - 0.3 * wd)"}))
    assert (
        found.status == 1
        and found.dialect == AdamDialect()
        and "with a weight decay it is none that is known here" in found.said
    )


def test_dialects_with_two_departures_find_themselves():
    grads = stream()
    for dialect in list(dialects())[len(list(dialects(1))) :: 25]:
        theirs = list(walk(rule_of(dialect), grads, BEGIN, **SHOWN))
        found = name(grads, theirs, BEGIN, **SHOWN).dialects
        assert dialect in found or len(found[0].departures) < 2, dialect  # or the two are as one


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_is_named_in_both_precisions(dtype):
    found = examine(torch.optim.Adam, dtype)
    assert found.dialect == AdamDialect(decay="L2") and found.status == 0
    assert examine(torch.optim.AdamW, dtype, AdamDialect(decay="L2")).status == 1


def test_bad_input_gets_one_sentence():
    grads = stream(3)
    with pytest.raises(ValueError, match="as many gradients"):
        name(grads, [[0.0]] * 3, BEGIN, **SHOWN)
    with pytest.raises(ValueError, match="3 gradients and 2 steps"):
        name(grads, [BEGIN] * 2, BEGIN, **SHOWN)
    with pytest.raises(TypeError, match="takes no beta1; it may be called beta1 or b1"):
        history(torch.optim.Adagrad, grads, BEGIN, **SHOWN)


def test_the_command_gives_each_a_line_and_says_the_worst(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.py").write_text(
        textwrap.dedent("""
        import os, time
        def hangs(grads, params, lr, beta1, beta2, eps): time.sleep(60)
        def crashes(grads, params, lr, beta1, beta2, eps): os._exit(3)
    """)
    )
    status = main(["ours:hangs", "ours:crashes", "no.such:Thing", "nonsense", "--seconds", "5"])
    said = capsys.readouterr().out.splitlines()
    assert status == 2 and len(said) == 4
    assert "no answer within 5 seconds" in said[0] and "status 3" in said[1]
    assert "ModuleNotFoundError" in said[2] and "write module:name" in said[3]


def test_the_command_names_a_class_and_refuses_a_dialect_that_is_none(capsys):
    assert main(["torch.optim:AdamW", "--form", "markdown"]) == 0
    assert "| `torch.optim:AdamW` | weight decay is decoupled" in capsys.readouterr().out
    assert main(["torch.optim:AdamW", "--dialect", "decay=L2"]) == 1
    assert main(["torch.optim:AdamW", "--dialect", "decay=none at all"]) == 2
    assert "is no choice; there are eps=outside|hat" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise SystemExit('lost')", "lost"),
        ("print('{}')", "KeyError"),
        ("print('x')", "JSONDecodeError"),
        ("", "0 steps"),
    ],
)
def test_a_program_that_fails_is_a_line(code, said, capsys):
    assert main(["--program", sys.executable, "-c", f"import sys; sys.stdin.read(); {code}"]) == 2
    assert said in capsys.readouterr().out


def test_a_program_that_is_missing_or_slow(capsys):
    assert main(["--program", "no-such-program-anywhere"]) == 2
    with pytest.raises(subprocess.TimeoutExpired):
        report(of_program([sys.executable, "-c", "import time; time.sleep(9)"], 0.5), True)


def test_every_choice_has_a_place_in_a_dialect():
    assert list(CHOICES) == list(AdamDialect.__dataclass_fields__)
