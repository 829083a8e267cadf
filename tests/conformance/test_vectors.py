"""The vectors are in step with the rules, our own steps meet them, and a bad file is refused."""

import json
import math
import sys

import numpy as np
import pytest
from harness.cases import called, unchanged

from adam_nbdev.conformance import vectors as module
from adam_nbdev.conformance.vectors import BOUNDS, folder, main, read, vectors, verdicts, written
from adam_nbdev.language.run import run
from adam_nbdev.rules import RULES

MANIFEST = json.loads((folder() / "manifest.json").read_text("utf-8"))["sha256"]


def test_there_is_a_file_for_every_rule_and_no_other():
    assert set(MANIFEST) == {f"{name}.json" for name in RULES}, "run adam-vectors"


@pytest.mark.long
@pytest.mark.parametrize("name", RULES)
def test_a_file_is_in_step_with_its_rule(name):
    text = (folder() / f"{name}.json").read_text("utf-8")
    assert text == written(vectors(RULES[name])), "the rule has changed: run adam-vectors"
    assert read(folder() / f"{name}.json", MANIFEST[f"{name}.json"])["rule"] == name


def plain(rule):
    """The rule called as a plain function on float64 arrays."""

    def walk(grads, start, each):
        names = list(each[0])
        given = {n: (lambda step, n=n: each[step - 1][n]) for n in names}
        how = {"number": unchanged, "advance": called(rule, names)}
        steps = run(rule, np.array(grads), np.array(start), **how, **given)
        return [step.param.tolist() for step in steps]

    return walk


@pytest.mark.parametrize("name", RULES)
def test_a_rule_on_plain_numbers_meets_its_vectors(name):
    found = read(folder() / f"{name}.json")
    with np.errstate(all="ignore"):
        assert max(verdicts(found, plain(RULES[name]))) < BOUNDS["float64"]


def test_a_swap_of_the_betas_and_a_last_bit_are_seen():
    found = read(folder() / "adam.json")

    def swapped(grads, start, each):
        each = [{**given, "beta1": given["beta2"], "beta2": given["beta1"]} for given in each]
        return plain(RULES["adam"])(grads, start, each)

    assert min(verdicts(found, swapped)) > 0.01
    off = [[[x * (1 + 1e-12) for x in row] for row in case["params"]] for case in found["cases"]]
    assert min(verdicts(found, lambda *_: off.pop(0))) > BOUNDS["float64"]


GOOD = vectors(RULES["gradient_descent"])
BAD = {
    "another format": (lambda v: v.update(format="x"), "no vectors"),
    "another version": (lambda v: v.update(version=2), "version 2; this package reads 1"),
    "no steps": (lambda v: v.update(grads=[]), "grads: give a list of numbers"),
    "a short row": (lambda v: v["grads"][4].pop(), "grads, row 5: give a list of 4"),
    "a text": (
        lambda v: v["grads"][4].__setitem__(1, "1"),
        "grads, row 5, number 2: '1' is no num",
    ),
    "a truth": (lambda v: v["grads"][4].__setitem__(1, True), "True is no number"),
    "a step too many": (lambda v: v["state_at"].append(101), "state_at: give steps from 1 to 100"),
    "a short run": (lambda v: v["cases"][1]["params"].pop(), "case 2, params: give a list of 100"),
    "a slot": (lambda v: v["cases"][0]["state"].update(m=[]), "case 1, state: give the slots"),
    "no cases": (lambda v: v.pop("cases"), "cases: give a list"),
    "a short schedule": (lambda v: v["cases"][2]["hyperparameters"].update(lr=[1.0]), "case 3, lr"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_wrong_in_a_file_is_a_sentence_with_its_place(fault, tmp_path, capsys):
    change, said = BAD[fault]
    broken, file = json.loads(json.dumps(GOOD)), tmp_path / "bad.json"
    change(broken)
    file.write_text(json.dumps(broken), "utf-8")
    assert main(["--check", str(file)]) == 2
    error = capsys.readouterr().err
    assert said in error and str(file) in error and len(error.splitlines()) == 1


TEXTS = {
    "NaN": ('{"format": NaN}', "NaN is no number"),
    "1e999": ('{"format": 1e999}', "1e999 is no number"),
    "twice": ('{"format": 1, "format": 2}', "the key 'format' stands there twice"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "cut": (written(GOOD)[:400], "line"),
    "a list": ("[]", "no vectors"),
    "bytes": ("\udcff", "utf-8"),
}


@pytest.mark.parametrize("fault", TEXTS)
def test_what_is_no_json_of_ours_is_a_sentence(fault, tmp_path, capsys):
    text, said = TEXTS[fault]
    file = tmp_path / "bad.json"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["--check", str(file)]) == 2
    error = capsys.readouterr().err
    assert said in error and str(file) in error and len(error.splitlines()) == 1


def test_a_file_that_is_too_large_or_not_that_of_the_manifest_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "x.json"
    file.write_text(written(GOOD), "utf-8")
    with pytest.raises(ValueError, match="not the file of the manifest"):
        read(file, "0" * 64)
    monkeypatch.setattr(module, "LIMIT", 100)
    with pytest.raises(ValueError, match="vectors have at most 100"):
        read(file)
    assert main(["--check", str(tmp_path / "missing.json")]) == 2


PROGRAM = """
import json, sys
head = json.loads(sys.stdin.readline())
params = head["start"]
for line in sys.stdin:
    row = json.loads(line)
    params = [x - {factor} * row["hyperparameters"]["lr"] * g for x, g in zip(params, row["grads"])]
    print(json.dumps({{"params": params}}))
"""


@pytest.mark.parametrize(("factor", "status"), [("1", 0), ("1.001", 1), ("missing", 2)])
def test_a_program_is_held_against_every_case(factor, status, capsys):
    words = ["--program", sys.executable, "-c", PROGRAM.format(factor=factor)]
    assert main(["--check", str(folder() / "gradient_descent.json"), *words]) == status
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == (0 if status == 2 else 3)
    assert status < 2 or "NameError" in said.err


def test_every_number_is_exact():
    text = written(GOOD)
    assert json.loads(text) == GOOD and all(math.isfinite(x) for r in GOOD["grads"] for x in r)
    assert all(float(np.float32(x)) == x for row in GOOD["grads"] for x in row)
