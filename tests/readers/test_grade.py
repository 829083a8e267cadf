"""The grader: what is right in other words passes, what is wrong is told where."""

import math

import numpy as np
import pytest
import torch
from harness.evidence import EVIDENCE
from harness.mutants import function, sources

from adam_nbdev.readers.grade import grade
from adam_nbdev.readers.trace import table
from adam_nbdev.rules import RULES

ADAM = RULES["adam"]
HEAD = "def adam(param, grad, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):\n"
OTHER_SLOTS = HEAD.replace("m, v,", "first, second,")
RIGHT = {
    "the paper's words": """
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad**2
        m_hat = m / (1 - beta1**step)
        v_hat = v / (1 - beta2**step)
        return param - lr * m_hat / (sqrt(v_hat) + eps), m, v""",
    "the rate outside": """
        m, v = ema(m, grad, beta1), ema(v, grad * grad, beta2)
        m_hat, v_hat = unbias(m, beta1, step), unbias(v, beta2, step)
        return param - lr * (m_hat / (sqrt(v_hat) + eps)), m, v""",
    "differences": """
        m = m + (1 - beta1) * (grad - m)
        v = v + (1 - beta2) * (grad * grad - v)
        return param - lr / (1 - beta1**step) * m / (sqrt(v / (1 - beta2**step)) + eps), m, v""",
    "section 2, with eps_hat": """
        m, v = ema(m, grad, beta1), ema(v, grad * grad, beta2)
        root = sqrt(1 - beta2**step)
        rate = lr * root / (1 - beta1**step)
        eps_hat = eps * root
        return param - rate * m / (sqrt(v) + eps_hat), m, v""",
    "one quotient": """
        m, v = ema(m, grad, beta1), ema(v, grad * grad, beta2)
        c1, c2 = 1 - beta1**step, 1 - beta2**step
        return param - lr * m / (c1 * sqrt(v / c2) + c1 * eps), m, v""",
    "names used otherwise": """
        m, v = ema(m, grad, beta1), ema(v, grad * grad, beta2)
        v_hat = sqrt(unbias(v, beta2, step)) + eps
        update = unbias(m, beta1, step) / v_hat
        return param - lr * update, m, v""",
}


def written(body, folder, head=HEAD):
    return function("adam", head + body.strip("\n").replace("\n        ", "\n    ")[4:], folder)


@pytest.mark.parametrize("words", RIGHT)
def test_what_is_right_in_other_words_passes(words, tmp_path):
    verdict = grade(written(RIGHT[words], tmp_path), ADAM)
    assert verdict and verdict.right and str(verdict).startswith("right: over 60 steps"), verdict


def test_slots_may_have_other_names_and_another_order(tmp_path):
    body = RIGHT["differences"]
    renamed = body.replace("m = m", "first = first").replace("- m)", "- first)")
    renamed = renamed.replace("v = v", "second = second").replace("- v)", "- second)")
    renamed = renamed.replace("* m /", "* first /").replace("sqrt(v", "sqrt(second")
    assert grade(written(renamed.replace(", m, v", ", first, second"), tmp_path, OTHER_SLOTS), ADAM)
    swapped = body.replace(", m, v", ", v, m")
    assert grade(written(swapped, tmp_path, HEAD.replace("m, v,", "v, m,")), ADAM)


@pytest.mark.long
@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_itself_and_no_mutant_of_it_passes(name, tmp_path):
    assert grade(RULES[name], RULES[name])
    outside = {fault: chosen for fault, (chosen, _) in EVIDENCE[name].outside.items()}
    passed = [
        fault
        for fault, source in sources(RULES[name])
        if grade(function(name, source, tmp_path), RULES[name], **outside.get(fault, {}))
    ]
    assert not passed


def test_the_mutants_of_adam_are_those_of_the_list():
    named = [fault for fault, _ in sources(ADAM)]
    assert {fault for fault, *_ in EVIDENCE["adam"].faults} <= set(named) and len(named) > 40


WHERE = {  # a fault of the list: the step and the quantity that the grader names
    "no bias correction": (1, "m_hat"),
    "v not corrected": (1, "v_hat"),
    "root missing": (1, "update"),
    "betas swapped": (1, "m"),
    "one beta for both": (1, "v"),
    "state overwritten by its corrected value": (1, "m"),
    "v overwritten": (1, "v"),
    "absolute value for square": (1, "square"),
    "variance for second moment": (2, "square"),
    "gradient for m": (2, "update"),
    "ascent": (1, "param"),
    "L2 that was not asked for": (1, "square"),
    "eps dropped": (1, "update"),
}


@pytest.mark.parametrize("fault", WHERE)
def test_the_first_quantity_that_differs_is_named_with_both_numbers(fault, tmp_path):
    verdict = grade(function("adam", dict(sources(ADAM))[fault], tmp_path), ADAM)
    assert not verdict and (verdict.step, verdict.name) == WHERE[fault]
    assert f"step {verdict.step}, gradient " in str(verdict)
    assert f"{verdict.name} is " in str(verdict) and ", the reference has " in str(verdict)
    assert verdict.answer != verdict.reference and len(verdict.grads) == verdict.step


def test_the_verdict_leads_back_to_the_numbers(tmp_path):
    wrong = function("adam", dict(sources(ADAM))["v not corrected"], tmp_path)
    verdict = grade(wrong, ADAM)
    for rule, value in ((wrong, verdict.answer), (ADAM, verdict.reference)):
        last = table(rule, verdict.grads, **verdict.hyperparameters).steps[-1]
        assert next(line.value for line in last if line.name == verdict.name) == value
    assert verdict.sentence in verdict._repr_html_() and "Before it square, m, v and" in str(
        verdict
    )


def test_an_empty_answer_is_told_no_more_than_what_differs(tmp_path):
    verdict = grade(function("adam", HEAD + "    return param, m, v", tmp_path), ADAM)
    assert not verdict and str(verdict).startswith("step 1, gradient ")
    assert str(verdict).split(": ")[1].startswith("m is 0, the reference has ")
    assert str(verdict).count(". ") == 0


def test_a_number_typed_for_a_hyperparameter_is_found(tmp_path):
    body = RIGHT["the rate outside"].replace("grad, beta1)", "grad, 0.9)")
    verdict = grade(written(body, tmp_path), ADAM)
    assert not verdict and verdict.name == "m" and verdict.hyperparameters["beta1"] != 0.9
    assert str(verdict).startswith("with lr=0.003, beta1=0.8, ")
    assert grade(written(body, tmp_path), ADAM, beta1=0.9)


def test_another_default_is_told_and_forgiven(tmp_path):
    verdict = grade(written(RIGHT["differences"], tmp_path, HEAD.replace("1e-8", "1e-7")), ADAM)
    assert verdict and "The default of eps is 1e-07, the reference has 1e-08" in str(verdict)


UNLIKE = {
    "def adam(param, grad, m, step, lr=1):\n    return param, m": "slots: the answer keeps 1 (m), "
    "the reference 2 (m, v).",
    "def adam(param, grad, m, v, step, lr=1):\n    return param, m, v": "the answer has no "
    "hyperparameter 'beta1'; it has lr.",
    "def adam(param, grad, m, v, step):\n    if step > 1: m = m\n    return param, m, v": "no rule "
    "yet: rule 'adam': line 2 is no assignment to names; choose with where(condition, a, b)",
}


@pytest.mark.parametrize("source", UNLIKE)
def test_what_cannot_be_compared_is_told_why(source, tmp_path):
    verdict = grade(function("adam", source, tmp_path), ADAM)
    assert not verdict and str(verdict) == UNLIKE[source]


def test_the_callers_mistakes_are_raised():
    with pytest.raises(TypeError, match="has no hyperparameter 'beta'"):
        grade(ADAM, ADAM, beta=0.9)
    with pytest.raises(TypeError, match="a rule is a plain function"):
        grade(ADAM, None)
    with pytest.raises(ValueError, match="grads is empty"):
        grade(ADAM, ADAM, grads=[])
    with pytest.raises(ValueError, match="no finite number"):
        grade(ADAM, ADAM, grads=[0.0, 1.0], eps=0)


NO_GRADIENTS = {
    "grads is empty; give a number for each step": [[], (), [[]], [[], []], np.ones((0, 3))],
    "grads is empty": [np.ones((3, 0)), iter([])],
    "rows of 1 to 2 numbers; give as many in each": [[1.0, [2.0, 3.0]], [[1.0, 2.0], [3.0]]],
    "rows of 0 to 2 numbers": [[[], [1.0, 2.0]]],
    "what is no number": [["a"], "12", [None], [[1.0, "2"]], 3.0, [1j], [10**400], [object()]],
    "no number .* a row of numbers": [np.ones((2, 2, 2)), [{"a": 1}], [b"1"], [[[1.0]]]],
    "no number in grads is finite; give others": [[math.nan] * 3, [[math.nan, math.inf]] * 2],
}


@pytest.mark.parametrize(
    ("message", "grads"),
    [(message, grads) for message in NO_GRADIENTS for grads in NO_GRADIENTS[message]],
)
def test_what_are_no_gradients_is_said_in_one_sentence(message, grads):
    with pytest.raises(ValueError, match=message) as error:
        grade(ADAM, ADAM, grads)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [np.array, torch.tensor, list, iter, np.float32])
def test_gradients_of_any_kind_are_read(make):
    assert "over 2 steps of 1 coordinate," in str(grade(ADAM, ADAM, make([1.0, 2.0])))
    if make is not iter:
        assert "over 1 step of 2 coordinates," in str(grade(ADAM, ADAM, make([[1.0, math.nan]])))


def test_gradients_and_schedules_can_be_given():
    assert "over 3 steps of 1 coordinate," in str(grade(ADAM, ADAM, grads=[1.0, 2.0, -1.0]))
    assert grade(ADAM, ADAM, lr=lambda step: 1 / step)
    assert not grade(RULES["adam_uncorrected"], ADAM, lr=lambda step: 1 / step)
