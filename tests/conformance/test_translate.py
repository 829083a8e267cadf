"""Settings said in the words of another library: run beside each other, in float64."""

import inspect
import re
from functools import cache

import numpy as np
import optax
import pytest
import torch
from harness.cases import distance, gradients
from harness.libraries import run_form
from hypothesis import given
from hypothesis import strategies as st

from adam_nbdev.conformance.forms import FACTS, FORMS, LIBRARIES, facts_of, settable
from adam_nbdev.conformance.translate import translate

#: Facts that show: far from every default.
GIVEN = {
    "adam": [
        {"lr": 0.03, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3},
        {"lr": 0.03, "beta1": 0.9, "beta2": 0.999, "eps": 0.0, "weight_decay": 0.5},
        {"lr": 0.03, "eps": 1e-3, "amsgrad": True, "decoupled": True, "weight_decay": 0.5},
        {"lr": 0.03, "eps": 1e-3, "corrected": False, "eps_root": 1e-4, "maximize": True},
    ],
    "nadam": [
        {"lr": 0.03, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "momentum_decay": 0.1},
        {"lr": 0.03, "eps": 1e-3, "momentum_decay": 1.0, "weight_decay": 0.5, "decoupled": True},
        {"lr": 0.03, "eps": 1e-3, "momentum_decay": 1e5, "eps_root": 1e-4},
    ],
    "rmsprop": [
        {"lr": 0.03, "decay": 0.9, "eps": 1e-3},
        {"lr": 0.03, "eps": 1e-3, "momentum": 0.8, "centred": True, "weight_decay": 0.5},
        {"lr": 0.03, "eps": 1e-3, "momentum": 0.8, "nesterov": True, "corrected": True},
        {"lr": 0.03, "eps": 1e-3, "start": 1.0},
    ],
    "adagrad": [
        {"lr": 0.1, "eps": 1e-3, "start": 0.0},
        {"lr": 0.1, "eps": 1e-6, "start": 0.5, "lr_decay": 0.1, "weight_decay": 0.5},
    ],
}


def settings_of(name, facts):
    """As many of these facts as a form can say, as its settings."""
    form, found = FORMS[name], {}
    for setting, (said, default) in form.settings.items():
        if isinstance(said, tuple):
            found[setting] = tuple(facts.get(f, x) for f, x in zip(said, default, strict=True))
        elif setting == "eps_in_sqrt":
            found[setting] = facts.get("eps_at") == "inside"
        elif said in facts or default is None:
            neutral = FACTS[form.method][said]
            found[setting] = facts.get(said, neutral)
    if name == "tensorflow.AdagradOptimizer":
        found["initial_accumulator_value"] = max(0.1, found["initial_accumulator_value"])
    if name.startswith("transformers."):
        found |= {"max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
    return found


PAIRS = [
    (source, target)
    for source in FORMS
    for target in FORMS
    if FORMS[source].method == FORMS[target].method and source != target
]
#: What is said of steps that the test takes all the same: the rate is constant, and so on.
UNSEEN = ("the same steps while", "biases and the weights of norms", "wants start", "wants eps")
BEGIN = np.array([0.7, -0.4, 0.5])


def full(name, settings):
    """Settings with the defaults of the form."""
    return {s: default for s, (_, default) in FORMS[name].settings.items()} | settings


@cache
def path_of(name, settings, chained=None):
    """The path under a form; the settings are pairs."""
    more = {"before": optax.add_decayed_weights(chained)} if chained else {}
    return run_form(name, full(name, dict(settings)), gradients(60), BEGIN, **more)


@pytest.mark.long
@pytest.mark.parametrize("source", FORMS)
def test_the_steps_are_the_same_unless_a_sentence_says_otherwise(source):
    seen = 0
    for facts in GIVEN[FORMS[source].method]:
        said = settings_of(source, facts)
        path = path_of(source, tuple(said.items()))
        assert np.isfinite(path).all()
        for target in (t for s, t in PAIRS if s == source):
            found = translate(said, source, target)
            chained = [s for s in found.sentences if "chain optax.add_decayed" in s]
            decay = facts["weight_decay"] if chained else None
            apart = distance(path_of(target, tuple(found.settings.items()), decay), path)
            differs = [s for s in found.sentences if s not in chained]
            differs = [s for s in differs if not any(u in s for u in UNSEEN)]
            if differs:
                assert apart > 1e-9, (target, found.sentences)
            else:
                assert apart < 1e-11, (target, found.settings, found.sentences, apart)
            seen += not differs
    assert seen or source in ("tensorflow.RMSPropOptimizer", "optax.amsgrad")


@given(st.data())
def test_there_and_back(data):
    source, target = data.draw(st.sampled_from(PAIRS))
    unit = st.floats(0, 0.999)
    names = ("lr", "beta1", "beta2", "decay", "eps", "weight_decay")
    facts = {f: data.draw(unit, f) for f in names}
    facts |= {f: data.draw(st.booleans(), f) for f in ("amsgrad", "decoupled", "centred")}
    facts |= {"momentum": data.draw(unit), "start": data.draw(unit)}
    said = settings_of(source, facts)
    found = translate(said, source, target)
    assert found.optimizer == target and found.settings.keys() == FORMS[target].settings.keys()
    assert all(s and "\n" not in s for s in found.sentences)
    if not found.sentences:
        back = translate(found.settings, target, source)
        assert not back.sentences
        ours, theirs = facts_of(said, source), facts_of(back.settings, source)
        if not ours["weight_decay"]:
            ours |= {"decoupled": theirs["decoupled"]}
        assert ours == theirs


def ints(sentence):
    """The numbers in a sentence."""
    return [float(x) for x in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?", sentence)]


def steps_of(name, settings, grads):
    """How long the steps are."""
    path = run_form(name, full(name, settings), np.reshape(grads, (-1, 1)), np.zeros(1))
    return -np.diff(path[:, 0], prepend=0.0)


ONES, SPIKE = np.ones(1000), np.eye(1, 1000)[0]
STEP = [0, 999]
CORRECTED = {"learning_rate": 0.1, "decay": 0.99, "eps": 0.0}
CORRECTED |= {"eps_in_sqrt": False, "bias_correction": True}


@pytest.mark.parametrize(
    ("source", "given", "target", "grads", "found"),
    [
        ("mlx.Adam", {"learning_rate": 0.1, "eps": 0.0}, "torch.Adam", ONES, (3.16, 1.26)),
        ("optax.rmsprop", CORRECTED, "torch.RMSprop", ONES, (10.0, 1.0)),
        ("torch.RMSprop", {"momentum": 0.9, "eps": 0.0}, "mlx.RMSprop", ONES, (1.0, 10.0)),
        ("torch.RMSprop", {"centered": True, "eps": 0.0}, "mlx.RMSprop", ONES, (1.01, 152.0)),
        ("torch.Adagrad", {"lr_decay": 0.1, "eps": 0.0}, "mlx.Adagrad", ONES, (1.0, 0.00991)),
    ],
)  # fmt: skip
def test_the_numbers_of_a_sentence_are_those_of_a_run(source, given, target, grads, found):
    into = translate(given, source, target)
    ratio = steps_of(source, given, grads)[STEP] / steps_of(target, into.settings, grads)[STEP]
    if source == "optax.rmsprop":  # it says how much longer the steps of the other are
        ratio = 1 / ratio
    assert [float(f"{x:.3g}") for x in ratio] == pytest.approx(found)
    (sentence,) = [s for s in into.sentences if "epsilon" not in s and "wants" not in s]
    said = [x for x in ints(sentence) if x not in (1, 1000)]
    assert set(said) <= {*found, 0.1} and (set(found) - {1.0}) <= set(said)


def test_the_maximum_of_the_raw_v_and_of_the_corrected():
    given = {"lr": 0.1, "eps": 1e-12, "amsgrad": True}
    found = translate(given, "torch.Adam", "optax.amsgrad")
    grads = SPIKE + 1e-3  # something to step by; the maximum stays that of the first step
    ours, theirs = (
        steps_of(n, s, grads) for n, s in (("torch.Adam", given), ("optax.amsgrad", found.settings))
    )
    assert theirs[0] == pytest.approx(ours[0])
    assert 25.1 in ints(found.sentences[0])
    assert ours[999] / theirs[999] == pytest.approx(25.1, rel=2e-2)


def test_a_rate_inside_the_buffer_shows_when_it_falls():
    given = {"lr": 0.1, "momentum": 0.9, "eps": 0.0}
    found = translate(given, "torch.RMSprop", "keras.RMSprop")
    (sentence,) = found.sentences
    assert sentence.startswith("the same steps while") and 9.1 in ints(sentence)
    outside = inside = 0.0  # under a constant gradient the quotient is 1
    for step in range(1000):
        lr = 0.1 if step < 999 else 0.01
        outside, inside = 0.9 * outside + 1, 0.9 * inside + lr
    assert inside / (0.01 * outside) == pytest.approx(9.1)


def test_where_epsilon_stands():
    given = {"lr": 0.1, "eps": 0.5}
    found = translate(given, "torch.Adam", "keras.Adam")
    ours = steps_of("torch.Adam", given, ONES)[STEP]
    theirs = steps_of("keras.Adam", found.settings, ONES)[STEP]
    assert 0.1 / ours - 1 == pytest.approx([0.5, 0.5])
    counts = (0.1 / theirs - 1) / 0.5
    assert [float(f"{x:.3g}") for x in counts] == [31.6, 1.26]
    assert {31.6, 1.26} <= set(ints(found.sentences[0]))
    root = np.logspace(-9, 9, 10001)
    for eps in (1e-8, 0.3):
        ratio = (root + eps) / np.sqrt(root**2 + eps**2)
        assert 1.414 < ratio.max() < 1.4143 and ratio.min() >= 1 - 1e-15


@pytest.mark.parametrize("name", [n for n in FORMS if n.startswith(("torch.", "optax."))])
def test_the_table_has_the_defaults_of_what_is_installed(name):
    library, called = name.split(".")
    function = getattr(torch.optim if library == "torch" else optax, called)
    found = inspect.signature(function).parameters
    for setting, (_, default) in FORMS[name].settings.items():
        theirs = found[setting].default
        assert theirs == default or (default is None and theirs is inspect.Parameter.empty), setting
    ignored = {"params", "foreach", "fused", "capturable", "differentiable"}
    assert found.keys() - FORMS[name].settings.keys() <= ignored | {
        *("mu_dtype", "mask", "bias_correction_mu", "bias_correction_nu"),
        *(["nesterov"] if called in ("adam", "adamw", "nadam", "nadamw") else []),
    }


def test_the_versions_are_those_that_are_installed():
    assert torch.__version__.split("+")[0] == LIBRARIES["torch"]
    assert optax.__version__ == LIBRARIES["optax"]


@pytest.mark.parametrize(
    ("given", "source", "target", "error", "says"),
    [
        ({"beta1": 0.9}, "torch.Adam", "optax", TypeError, "has no setting 'beta1'"),
        ({}, "optax.adam", "torch", TypeError, "learning_rate of optax.adam is None"),
        ({"lr": True}, "torch.Adam", "optax", TypeError, "give a number"),
        ({"lr": float("nan")}, "torch.Adam", "optax", ValueError, "at least 0 and finite"),
        ({"lr": -1.0}, "torch.Adam", "optax", ValueError, "at least 0 and finite"),
        ({"betas": (0.9, 1.0)}, "torch.Adam", "optax", ValueError, "at least 0 and below 1"),
        ({"betas": 0.9}, "torch.Adam", "optax", TypeError, "give 2 numbers"),
        ({"amsgrad": 1}, "torch.Adam", "optax", TypeError, "give True or False"),
        ({}, "torch.adam", "optax", ValueError, "there is no form 'torch.adam'"),
        ({}, "torch.Adam", "paddle", ValueError, "there is no form 'paddle'"),
        ({}, "torch.NAdam", "mlx", ValueError, "mlx is no nadam"),
    ],
)
def test_what_is_refused(given, source, target, error, says):
    with pytest.raises(error, match=re.escape(says)):
        translate(given, source, target)


def test_every_fact_has_its_sentence():
    from adam_nbdev.conformance import translate as module

    for form in FORMS.values():
        for fact, neutral in FACTS[form.method].items():
            if neutral is not None and fact != "eps_at":
                assert fact in module._SAY, fact
    assert settable(FORMS["torch.Adam"]) >= {"lr", "beta1", "beta2"}
