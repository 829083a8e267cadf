"""The recorded defaults of other libraries: whole, dated, and in step with the torch at hand."""

import datetime
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "book"))

import defaults

SAID = json.loads(defaults.RESULT.read_text(encoding="utf-8"))


def test_the_record_is_dated_and_names_its_versions():
    assert datetime.date.fromisoformat(SAID["date"]) <= datetime.date.today()
    assert set(SAID) == {"date", *defaults.PLACES}
    for library in defaults.PLACES:
        assert all(part.isdigit() for part in SAID[library]["version"].split("."))
        names = {ours for ours, theirs in defaults.NAMES.items() if theirs[library]}
        for kind in ("optimizers", "first step"):
            assert set(SAID[library][kind]) == names, (library, kind)


def test_what_is_recorded_of_torch_is_what_torch_says():
    if torch.__version__.partition("+")[0] != SAID["torch"]["version"]:
        pytest.skip(f"the record is of torch {SAID['torch']['version']}; `make defaults`")
    assert json.loads(json.dumps(defaults.read("torch"))) == SAID["torch"]


def test_only_numbers_are_taken_and_a_learning_rate_that_must_be_given_is_null():
    def made(params, learning_rate, betas=(0.9, 0.99), eps=1e-8, name=None, mask="x"):
        pass

    assert defaults.defaults(made) == {"learning_rate": None, "betas": [0.9, 0.99], "eps": 1e-8}


@pytest.mark.parametrize("library", defaults.PLACES)
def test_the_first_steps_are_those_of_the_defaults(library):
    optimizers, steps = SAID[library]["optimizers"], SAID[library]["first step"]
    decay = next(v for n, v in optimizers["RMSprop"].items() if n in ("alpha", "decay", "rho"))
    start = optimizers["Adagrad"].get("initial_accumulator_value", 0)
    assert steps["RMSprop"] == pytest.approx((1 - decay) ** -0.5, rel=1e-3)
    assert steps["Adagrad"] == pytest.approx((1 + start) ** -0.5, rel=1e-3)
    corrected = optimizers["Adam"].get("bias_correction", True)
    assert steps["Adam"] == pytest.approx(1 if corrected else 0.1 * 0.001**-0.5, rel=1e-3)
    assert steps["SGD"] == 1 and steps.get("Lion", 1) == 1
