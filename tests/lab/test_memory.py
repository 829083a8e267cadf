"""The memory of a rule, in Python and in a browser: the same weights, and those of autograd."""

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from adam_nbdev.lab.memory import COUNT, HEIGHTS, SCALES, SPIKE, memory, ordinary, squares, weights
from adam_nbdev.rules import RULES

GRADS = [0.7, -1.3, 8.0, -0.2, 1.1, 0.9, -3.0, 0.4]


def detached(name, grads, beta1, beta2, eps):
    """The last update by torch, its scale not followed by autograd; and the scale."""
    m = v = total = torch.zeros((), dtype=torch.float64)
    for step, grad in enumerate(grads, start=1):
        square = grad.detach() ** 2
        total, v = total + square, beta2 * v + (1 - beta2) * square
        if name == "adagrad":
            update = grad / (total.sqrt() + eps)
        elif name == "rmsprop":
            update = grad / (v.sqrt() + eps)
        elif name == "adam":
            m = beta1 * m + (1 - beta1) * grad
            corrected = v / (1 - beta2**step)
            update = m / (1 - beta1**step) / (corrected.sqrt() + eps)
        else:
            m = beta1 * m + grad / (v.sqrt() + eps)
            update = m
    return update


@pytest.mark.parametrize("name", SCALES)
def test_the_weights_are_those_of_autograd_with_the_scale_held_fixed(name):
    chosen = {"beta1": 0.8, "momentum": 0.8, "beta2": 0.9, "decay": 0.9}
    own = {k: x for k, x in chosen.items() if k in RULES[name].__code__.co_varnames}
    for today in range(1, len(GRADS) + 1):
        grads = torch.tensor(GRADS[:today], dtype=torch.float64, requires_grad=True)
        detached(name, grads, 0.8, 0.9, 1e-6).backward()
        found = weights(RULES[name], GRADS[:today], lr=1.0, eps=1e-6, **own)
        np.testing.assert_allclose(found, grads.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("memory") / "memory.html"
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>x</title><main>"
    file.write_text(f"{head}{memory(list(SCALES))._repr_html_()}</main></html>", encoding="utf-8")
    return file.as_uri()


def found(page):
    return page.evaluate("() => document.querySelector('adam-memory').found")


def spiked(at=SPIKE["at"], high=SPIKE["high"]):
    return [high if i + 1 == at else g for i, g in enumerate(ordinary())]


def agree(page, grads, today, beta1=0.9, beta2=0.9):
    chosen = {"beta1": beta1, "momentum": beta1, "beta2": beta2, "decay": beta2}
    for name, told in found(page).items():
        own = {k: x for k, x in chosen.items() if k in RULES[name].__code__.co_varnames}
        lr = 1 - beta1 if name == "rmsprop_momentum" else 1.0
        for key, given in (("weights", grads), ("before", ordinary())):
            expected = weights(RULES[name], given[:today], lr=lr, **own)
            np.testing.assert_allclose(told[key], expected, rtol=1e-9, atol=1e-12)
        expected = squares(RULES[name], today, SCALES[name], **own)
        np.testing.assert_allclose(told["squares"], expected, rtol=1e-12)
        assert len(told["steps"]) == COUNT and told["without"] > 0


def slide(page, name, stop):
    page.locator(f"adam-memory input[name={name}]").evaluate(
        "(e, stop) => { e.value = stop; e.dispatchEvent(new Event('input')); }", stop
    )


def test_the_page_says_what_python_does(page):
    agree(page, spiked(), 23)
    slide(page, "today", 33)
    slide(page, "beta2", 120)
    rates = page.evaluate("() => document.querySelector('adam-memory').values")
    assert rates["today"] == 35 and rates["beta2"] == pytest.approx(0.99)
    agree(page, spiked(), 35, beta2=rates["beta2"])
    said = page.locator("adam-memory [aria-live]").inner_text()
    last = found(page)["adam"]
    share = float(f"{last['steps'][34] / last['without']:.2g}")
    assert f"Adam {share:g}" in said


def test_the_spike_follows_keyboard_and_finger_and_a_link_keeps_it(page, browser):
    spike = page.get_by_role("slider", name="Spike")
    spike.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    assert spike.get_attribute("aria-valuetext") == "step 17, height 7.5"
    agree(page, spiked(17, 7.5), 23)
    box = spike.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 9, box["y"] + 17)
    assert spike.get_attribute("aria-valuetext") == f"step {COUNT}, height 9.8"
    page.mouse.click(box["x"] + 41, box["y"] + 88)
    assert spike.get_attribute("aria-valuetext") == f"step 1, height {HEIGHTS[0]}"
    agree(page, spiked(1, 0.1), 23)
    page.get_by_role("button", name="Copy link").click()
    other = browser.new_page()
    other.goto(page.url)
    assert found(other) == found(page)
    other.close()


def test_without_scripts_there_is_a_picture(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.get_by_role("img").bounding_box()["height"] > 200
    page.context.close()


@pytest.mark.parametrize("width", [1280, 375])
def test_it_is_open_to_everyone(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    wrong = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [v["id"] for v in wrong if v["id"] != "page-has-heading-one"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
