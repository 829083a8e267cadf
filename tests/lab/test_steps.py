"""The lines of a rule, one at a time, in a browser: as in Python, and open to every hand."""

import json
from urllib.parse import quote

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from adam_nbdev.lab.steps import GRADS, steps
from adam_nbdev.readers.trace import table
from adam_nbdev.rules import RULES

HEAD = "<!doctype html><html lang='en'><meta charset='utf-8'><title>x</title><main>"
pytestmark = pytest.mark.slow


@pytest.fixture
def show(watched, tmp_path):
    """A function that opens a page with the figure of a rule."""
    file = tmp_path / "steps.html"

    def opens(link="", **context):
        return watched(link if ":" in link else file.as_uri() + link, **context)

    def shows(rule="adam", link="", **context):
        file.write_text(f"{HEAD}{steps(rule)._repr_html_()}</main>", "utf-8")
        return opens(link, **context)

    shows.again = opens
    return shows


def values(page):
    """For each coordinate and step, the value of each line."""
    return page.evaluate(
        "() => { const s = document.querySelector('adam-steps'); return s.history.map(steps =>"
        "steps.map(({ named }) => s.rule.lines.map(line => named[line.name]))); }"
    )


def in_python(rule="adam", grads=GRADS, **chosen):
    runs = (table(RULES[rule], list(row), **{"lr": 0.1, **chosen}).steps for row in grads)
    return [[[line.value for line in step] for step in run] for run in runs]


def shown(page):
    """All that a reader sees of the run."""
    seen = (".steps-lines", ".steps-kept", ".live-foot p", ".steps-charts")
    return [page.locator(part).inner_html() for part in seen]


@pytest.mark.parametrize("rule", RULES)
def test_the_page_computes_what_python_does(show, rule):
    np.testing.assert_allclose(values(show(rule)), in_python(rule), rtol=1e-12)


def test_one_line_at_a_time_forwards_and_back(show):
    page, expected, states = show(), in_python(), []
    page.get_by_label("Line of the run").press("Home")
    assert page.locator(".steps-numbers b").count() == 0
    for at in range(1, 6 * 7 + 1):
        states.append(shown(page))
        page.get_by_role("button", name="on").click()
        step, line = divmod(at - 1, 7)
        lit = page.locator("li[aria-current=step]")
        assert lit.count() == 1 and page.locator("li b").count() == 2 * (line + 1)
        found = [float(text.replace("−", "-")) for text in lit.locator("b").all_inner_texts()]
        np.testing.assert_allclose(found, [run[step][line] for run in expected], rtol=6e-3)
        assert "=" in lit.locator(".steps-numbers").last.inner_text()
        statement = (1, 2, 2, 3, 3, 4, 5)[line]
        assert (
            page.locator(".live-foot p")
            .inner_text()
            .startswith(f"Step {step + 1}, line {statement} of 5: ")
        )
    for before in reversed(states):
        page.get_by_role("button", name="back").click()
        assert shown(page) == before


def test_what_is_kept_goes_on_to_the_next_step(show):
    page = show()
    way = page.get_by_label("Line of the run")
    assert page.locator(".steps-kept").inner_text().split() == (
        "at the start param 0 and 0 m 0 and 0 v 0 and 0".split()
    )
    for _ in range(6):
        way.press("ArrowRight")
    after = "param −0.1 and −0.1 m 10 and 0.1 v 10 and 0.001".split()
    assert page.locator(".steps-kept").inner_text().split() == ["kept", "for", "step", "2", *after]
    way.press("ArrowRight")
    assert page.locator(".steps-kept").inner_text().split() == ["kept", "from", "step", "1", *after]
    way.press("ArrowLeft")
    assert page.locator(".live-foot p").inner_text() == (
        "Step 1, line 5 of 5: param is −0.1 and −0.1."
    )
    page.get_by_role("button", name="on").press("End")
    assert page.locator(".live-foot p").inner_text().startswith("Step 6, line 5")


def test_a_gradient_can_be_typed_and_what_is_no_number_is_refused(show):
    page = show()
    field = page.get_by_label("Gradient, second, step 2")
    field.fill("-7.5")
    grads = [list(row) for row in GRADS]
    grads[1][1] = -7.5
    np.testing.assert_allclose(values(page), in_python(grads=grads), rtol=1e-12)
    field.fill("")
    assert page.locator(".live-foot p").inner_text() == (
        "That is no number; second, step 2 stays −7.5."
    )
    assert field.get_attribute("aria-invalid") == "true"
    field.blur()
    assert field.input_value() == "-7.5" and field.get_attribute("aria-invalid") == "false"
    np.testing.assert_allclose(values(page), in_python(grads=grads), rtol=1e-12)


def test_sliders_change_the_run_and_a_link_keeps_it(show):
    page = show()
    for name, stop in (("lr", 180), ("beta2", 120)):  # of 240, by orders of magnitude
        page.locator(f"input[name={name}]").evaluate(
            "(e, stop) => { e.value = stop; e.dispatchEvent(new Event('input')); }", stop
        )
    np.testing.assert_allclose(values(page), in_python(lr=1.0, beta2=0.99), rtol=1e-12)
    page.get_by_label("Gradient, first, step 1").fill("3")
    page.get_by_role("button", name="on").click()
    page.get_by_role("button", name="Copy link").click()
    other = show.again(page.url)
    assert values(other) == values(page) and shown(other) == shown(page)
    assert other.get_by_label("Gradient, first, step 1").input_value() == "3"


@pytest.mark.parametrize("g", ["x", [[1], [2]], [[1] * 6, ["x"] * 6], None])
def test_a_broken_link_shows_the_start(show, g):
    page = show(link="#adam-steps=" + quote(json.dumps({"g": g, "at": 99})))
    np.testing.assert_allclose(values(page), in_python(), rtol=1e-12)
    assert page.locator(".live-foot p").inner_text().startswith("Step 1, line 1")


@pytest.mark.parametrize("motion, expected", [("reduce", 0), ("no-preference", 1)])
def test_nothing_moves_for_who_wants_no_motion(show, motion, expected):
    page = show(reduced_motion=motion)
    moving = "() => { const s = document.querySelector('adam-steps'); s.go(7);"
    assert page.evaluate(f"{moving} return s.kept.getAnimations().length; }}") == expected


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("at", [1, 7])
def test_it_is_open_to_everyone(show, width, at):
    page = show(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    page.evaluate("at => document.querySelector('adam-steps').go(at)", at)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    wrong = [v["id"] for v in found["violations"] if v["id"] != "page-has-heading-one"]
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_script_there_is_a_picture(show):
    page = show(java_script_enabled=False)
    picture = page.locator("adam-steps img")
    assert picture.is_visible() and "two coordinates" in picture.get_attribute("alt")


def test_a_second_figure_on_a_page_replaces_its_picture_too(browser, tmp_path):
    file = tmp_path / "two.html"
    file.write_text(f"{HEAD}{steps()._repr_html_()}{steps('lion')._repr_html_()}</main>", "utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator("adam-steps").count() == 2
    assert [e.is_visible() for e in page.locator("adam-steps > img").all()] in ([], [False])
    page.close()
