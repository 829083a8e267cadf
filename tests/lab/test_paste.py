"""Three numbers and their name: in the browser as in Python, and in words for what is no answer."""

import gzip
import io
import json
import math
import struct
from contextlib import redirect_stdout
from urllib.parse import quote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from adam_nbdev.conformance.dialects import AdamDialect, dialects, name, rule_of, usual
from adam_nbdev.lab.paste import AT, GIVEN, GRADS, START, WAYS, answers, distance, paste
from adam_nbdev.rules import RULES

HEAD = "<!doctype html><html lang='en'><meta charset='utf-8'><title>x</title><main><h1>x</h1>"
L2, FAULTS = AdamDialect(decay="L2"), AdamDialect(eps="inside", correction="late")
KNOWN = {str(d): rule_of(d) for d in dialects(2) if usual(d)}
OTHERS = {other: RULES[other] for other in "nadam radam adamax yogi laprop adopt".split()}
#: Two that are the same where the root of v is always larger than eps.
ROOT = "; the root of v is corrected with the factor of v"
PAIR = [
    f"{said}{ROOT}" for said in ("the root is at least eps, which is not added", "there is no eps")
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("paste") / "paste.html"
    live = paste(KNOWN | OTHERS, {"L2": str(L2), "two faults": str(FAULTS)})
    file.write_text(f"{HEAD}{live._repr_html_()}</main></html>", encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def shared(browser, address):
    opened = browser.new_page()
    opened.goto(address)
    yield opened
    opened.close()


def said(page, text):
    """What the page says of a text: the name and the sentence."""
    page.get_by_label("Paste the").fill(text)
    return [page.locator(part).inner_text() for part in (".paste-name", ".live-foot p")]


def named(page, numbers):
    found, _ = said(page, ", ".join(map(repr, numbers)))
    assert found.startswith("Your Adam: ")
    return found.removeprefix("Your Adam: ").removesuffix(".")


def in_single(numbers):
    return [struct.unpack("f", struct.pack("f", x))[0] for x in numbers]


@pytest.mark.parametrize("rounding", [list, in_single, lambda x: [float(f"{y:.4f}") for y in x]])
def test_every_known_rule_is_named(shared, rounding):
    texts = [", ".join(map(repr, rounding(answers(rule)))) for rule in (KNOWN | OTHERS).values()]
    judge = "texts => texts.map(text => document.querySelector('adam-paste').judge(text).name)"
    found = dict(zip(KNOWN | OTHERS, shared.evaluate(judge, texts), strict=True))
    assert found == {words: " – or: ".join(PAIR) if words in PAIR else words for words in found}


def test_the_page_computes_what_python_does(shared):
    stands = shared.evaluate("() => document.querySelector('adam-paste').stands")
    found = np.array(stands)[:, [step - 1 for step in AT]]
    expected = [answers(rule) for rule in (KNOWN | OTHERS).values()]
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    rows = [
        [0.9, 1.2, 1.3],
        [START] * 3,
        [2.0, -3.0, 1e9],
        [math.nan, 1.0, 1.0],
        [math.inf, 1.0, 2.0],
    ]
    measure = "([a, b]) => document.querySelector('adam-paste').distance(a, b)"
    for ours in rows:
        for theirs in rows:
            apart = shared.evaluate(measure, [ours, theirs])
            assert apart == pytest.approx(distance(ours, theirs), rel=1e-12)


@pytest.mark.parametrize("dialect", [AdamDialect(), L2, FAULTS, AdamDialect(eps="hat")])
def test_all_twelve_numbers_are_named_as_the_namer_does(shared, dialect):
    rule, state, stands, param = rule_of(dialect), [0.0, 0.0], [], START
    for step, grad in enumerate(GRADS, start=1):
        param, *state = rule(param, grad, *state, step, **GIVEN)
        stands.append(param)
    found = name([[g] for g in GRADS], [[x] for x in stands], [START], **GIVEN)
    assert named(shared, stands) == str(found.dialects[0]) == str(dialect)


@pytest.mark.parametrize("library, dialect", [("PyTorch", "L2"), ("optax", "decoupled")])
def test_the_code_for_a_library_prints_what_the_page_can_name(shared, library, dialect):
    if library == "optax":
        pytest.importorskip("optax")
    with redirect_stdout(io.StringIO()) as printed:
        exec(WAYS[library], {})
    found, sentence = said(shared, printed.getvalue())
    assert found == f"Your Adam: {AdamDialect(decay=dialect)}."
    assert "about what single precision leaves" in sentence


@pytest.mark.parametrize(
    "form",
    [
        "{} {} {}",
        "[{};{};{}]",
        "step 1: {}\nstep 2: {}\nstep 12: {}",
        "tensor({}) tensor([{}], device='cuda:0') tensor({}, dtype=torch.float64)",
        "Array({}, dtype=float32), Array({}, dtype=float32) np.float32({})",
        "<tf.Variable 'w:0' shape=(1,) dtype=float32, numpy=array([{}])>\n{}\n{}.",
        '{{"w1": {}, "w2": {}, "w12": {}}}',
    ],
)
def test_numbers_are_read_as_they_are_printed(shared, form):
    numbers = answers(KNOWN[str(L2)])
    assert said(shared, form.format(*numbers))[0] == f"Your Adam: {L2}."
    exponents = [f"{x * 1e3:.9f}e-03" for x in numbers]
    assert said(shared, form.format(*exponents))[0] == f"Your Adam: {L2}."


def test_a_minus_sign_of_any_kind_is_read(shared):
    read = "text => document.querySelector('adam-paste').read(text).numbers"
    assert shared.evaluate(read, "−1.5, -.5e1 +2. 0.25") == [-1.5, -5, 2, 0.25]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "Paste 3 numbers: where the weight stands after the steps 1, 2 and 12."),
        ("none", "There is no number. Give 3, where"),
        ("0.9", "There is 1 number. Give 3, where"),
        ("0,9 1,2 1,3", "There are 6 numbers. Give 3, where the weight stands after the steps"),
        ("0.9 nan 1.2", "There is a NaN or an infinity among the numbers."),
        ("0.9 -inf 1.2", "There is a NaN or an infinity among the numbers."),
        ("0.9 1e999 1.2", "There is a NaN or an infinity among the numbers."),
        ("0.9 1.5 -4", "One of the numbers is one of the gradients; what is asked for is the"),
        ("3 2 7.3", "and did your Adam get the settings above?"),
    ],
)
def test_what_is_no_answer_is_said_in_one_sentence(shared, text, words):
    found, sentence = said(shared, text)
    assert words in sentence and "Your Adam" not in found and "NaN %" not in sentence
    assert not shared.locator(".paste-lines").is_visible()


def test_what_is_near_is_called_near(shared):
    numbers = [x + 0.001 for x in answers(KNOWN[str(L2)])]
    found, sentence = said(shared, str(numbers))
    assert found.startswith("None of the") and f"off: {L2}." in sentence
    assert "Half precision" in sentence


def slipped(rule, start=START, sign=1, given=GIVEN):
    state, stands, param = [0.0, 0.0], [], start
    for step, grad in enumerate(GRADS, start=1):
        param, *state = rule(param, sign * grad, *state, step, **given)
        stands.append(param)
    return [stands[step - 1] for step in AT]


@pytest.mark.parametrize("dialect", [AdamDialect(), L2, FAULTS])
def test_a_slip_is_told_from_a_fault(shared, dialect):
    rule = rule_of(dialect)
    for how, words in (
        ({"start": 0.0}, "the weight began at 0, not at 1"),
        ({"sign": -1}, "the steps went up the gradient, not down"),
        ({"given": {**GIVEN, "lr": 1e-3}}, "lr was left at its default"),
        ({"given": {**GIVEN, "beta2": 0.999}}, "beta2 was left at its default"),
        ({"given": {}}, "all settings were left at their defaults"),
    ):
        if how == {"given": {}}:
            dialect, rule = AdamDialect(), rule_of(AdamDialect())  # without a decay none differ
        found, sentence = said(shared, str(slipped(rule, **how)))
        assert found == "A slip, it seems." and f"{dialect}, if {words}" in sentence


def test_no_eps_may_be_a_default(shared):
    found, sentence = said(shared, str(answers(rule_of(AdamDialect(eps="none")))))
    assert found == "Your Adam: there is no eps."
    assert "Or it is Algorithm 1 of the paper, if eps was left at its default." in sentence


def test_the_lines_that_differ_are_shown(page):
    said(page, str(answers(rule_of(AdamDialect(eps="inside")))))
    assert page.locator(".paste-lines .less").all_inner_texts() == [
        "- update = lr * m_hat / (sqrt(v_hat) + eps)"
    ]
    assert page.locator(".paste-lines .more").all_inner_texts() == [
        "+ update = lr * m_hat / sqrt(v_hat + eps)"
    ]
    said(page, str(answers(RULES["adam"])))
    assert not page.locator(".paste-lines").is_visible()


def test_keyboard_and_link(page, browser):
    assert page.locator(".paste-name").inner_text() == f"Your Adam: {L2}."
    field = page.get_by_label("Paste the")
    field.focus()  # the example is selected, and goes
    page.keyboard.type("0.5 0.6 0.7")
    assert field.input_value() == "0.5 0.6 0.7"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".paste-name").inner_text() == f"Your Adam: {FAULTS}."
    pressed = page.locator(".paste-tries [aria-pressed=true]")
    assert pressed.all_inner_texts() == ["two faults"]
    page.get_by_role("button", name="PyTorch").click()
    assert page.locator(".paste-code").inner_text() == WAYS["PyTorch"]
    page.get_by_role("button", name="Copy code").click()
    assert page.evaluate("String(getSelection())").startswith("import torch")
    field.fill("step 1: 0.9\nstep 2: 1.2\n")
    page.get_by_role("button", name="Copy link").click()
    other = browser.new_page()
    other.goto(page.url)
    assert other.get_by_label("Paste the").input_value() == "step 1: 0.9\nstep 2: 1.2\n"
    assert other.locator(".live-foot p").inner_text().startswith("There are 2 numbers.")
    other.close()


@pytest.mark.parametrize("text", [7, None, ["<b>"], "<img src=x onerror=alert(1)>"])
def test_a_broken_link_does_no_harm(browser, address, text):
    page = browser.new_page()
    page.goto(f"{address}#adam-paste={quote(json.dumps({'text': text}))}")
    expected = "Not yet." if isinstance(text, str) else f"Your Adam: {L2}."
    assert page.locator(".paste-name").inner_text() == expected
    assert page.locator("adam-paste img").count() == 0
    page.close()


def test_all_rules_are_sent_in_few_bytes():
    figure = paste(KNOWN | OTHERS)._repr_html_()
    assert len(gzip.compress(figure.encode())) < 20_000


def test_without_scripts_and_in_print_there_are_the_gradients(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    still = page.locator("adam-paste pre")
    assert still.is_visible() and WAYS["Any language"] in still.inner_text()
    assert "after the steps 1, 2 and 12?" in still.inner_text()
    context.close()


def test_a_second_figure_on_a_page_replaces_its_still_too(browser, tmp_path):
    file, live = tmp_path / "two.html", paste({"a": RULES["adam"], "b": RULES["nadam"]})
    file.write_text(f"{HEAD}{live._repr_html_() * 2}</main>", "utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator("adam-paste").count() == 2
    assert [e.is_visible() for e in page.locator("adam-paste > .still").all()] in ([], [False])
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_it_is_open_to_everyone(browser, address, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(address)
    for text in ("two faults", "L2"):
        page.get_by_role("button", name=text).click()
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response
        assert [violation["id"] for violation in found["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
