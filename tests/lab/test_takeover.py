"""Where epsilon takes over, in a browser: formats round as in torch, steps are those of Python."""

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from adam_nbdev.lab.takeover import FORMATS, last_step, takeover
from adam_nbdev.rules import RULES, adam

SCALES = [1e-22, 3e-9, 1e-8, 2e-5, 1e-4, 7e-3, 1.0, 300.0, 1e4, 7e4]


def by_torch(dtype, grad, steps, eps):
    """The last step of torch's own loop, everything in a dtype, the learning rate 1."""
    param = torch.zeros(1, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.Adam([param], lr=1.0, eps=eps, foreach=False)
    for _ in range(steps):
        with torch.no_grad():
            param.zero_()
        param.grad = torch.full_like(param, grad)
        optimizer.step()
    return -param.item()


@pytest.mark.parametrize("form", ["float32", "bfloat16", "float16"])
def test_what_is_told_is_what_torch_does(form):
    """Torch rounds in other places, so the last two digits may differ; the cliffs stand alike."""
    dtype, close = getattr(torch, form), {"float32": 1e-6, "bfloat16": 0.03, "float16": 0.004}[form]
    for grad in (3e-9, 1e-4, 7e-3, 1.0, 7e4):
        ours, theirs = last_step(adam, grad, form, 5, True)[0], by_torch(dtype, grad, 5, 1e-8)
        assert np.isfinite(ours) == np.isfinite(theirs), grad
        assert not np.isfinite(ours) or ours == pytest.approx(theirs, rel=close, abs=1e-6), grad


def test_torch_rounds_a_square_after_its_share_so_its_half_goes_further():
    assert last_step(adam, 300.0, "float16", 5, True)[0] == 0
    assert by_torch(torch.float16, 300.0, 5, 1e-8) == pytest.approx(1, rel=0.004)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("takeover") / "takeover.html"
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><title>x</title><main>"
    rules = [adam, RULES["amsgrad"]]
    file.write_text(f"{head}{takeover(rules)._repr_html_()}</main></html>", encoding="utf-8")
    return file.as_uri()


IN_PAGE = """([grads, values, whole, rule]) => {
  const figure = document.querySelector("adam-takeover");
  Object.assign(figure.chosen, values);
  Object.assign(figure, { whole, name: rule });
  return figure.formats.map(f => grads.map(g => `${figure.last(g, f).step}`));
}"""


def number(text):
    return float(text.replace("Infinity", "inf"))


def test_formats_round_as_in_python(page):
    rng = np.random.default_rng(1)
    numbers = [*(10.0 ** rng.uniform(-48, 39, 2000)), 65504.0, 65519.0, 65520.0, 65536.0]
    numbers += [*(1 + np.arange(60) * 2.0**-12), *(1 + np.arange(60) * 2.0**-9)]
    numbers += [*(np.arange(1, 40) * 2.0**-25), *(-np.arange(1, 9) * 2.0**-133)]
    found = page.evaluate(
        "numbers => document.querySelector('adam-takeover').formats"
        ".map(f => [f.name, numbers.map(x => `${f.round(x)}`)])",
        [float(x) for x in numbers],
    )
    for name, texts in found:
        assert [number(x) for x in texts] == [FORMATS[name](x) for x in numbers], name
    special = "() => document.querySelector('adam-takeover').formats.map(f => `${f.round(NaN)}`)"
    assert page.evaluate(special) == ["NaN"] * 4


@pytest.mark.parametrize("rule", ["adam", "amsgrad"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("steps", "eps"), [(1, 1e-8), (12, 1e-30), (200, 1e-3)])
def test_the_page_steps_as_python_does(page, rule, whole, steps, eps):
    told = page.evaluate(IN_PAGE, [SCALES, {"steps": steps, "eps": eps}, whole, rule])
    for form, texts in zip(FORMATS, told, strict=True):
        found = [number(x) for x in texts]
        expected = [last_step(RULES[rule], g, form, steps, whole, eps=eps)[0] for g in SCALES]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_gradient_follows_keyboard_and_finger_and_a_link_keeps_all(page, browser):
    field = page.get_by_role("slider", name="Size of the gradient")
    field.focus()
    page.keyboard.press("ArrowRight")
    assert field.get_attribute("aria-valuenow") == "-3.75"
    page.keyboard.press("End")
    assert field.get_attribute("aria-valuenow") == "6.00"
    box = field.bounding_box()
    page.mouse.click(box["x"] + 57, box["y"] + 100)
    assert float(field.get_attribute("aria-valuenow")) < -23.5
    page.get_by_label("Rule").select_option("amsgrad")
    page.get_by_role("button", name="gradient and state only").click()
    page.locator("input[name=eps]").evaluate(
        "e => { e.value = 120; e.dispatchEvent(new Event('input')); }"
    )
    page.get_by_role("button", name="Copy link").click()
    other = browser.new_page()
    other.goto(page.url)
    told = "() => { const f = document.querySelector('adam-takeover');"
    told += "return [f.shown(), f.values, f.table.innerText]; }"
    assert other.evaluate(told) == page.evaluate(told)
    assert other.evaluate(told)[0]["rule"] == "amsgrad" and not other.evaluate(told)[0]["whole"]
    other.close()


def test_the_table_says_what_happened(page):
    def rows():
        return [row.inner_text().split("\t") for row in page.locator("tbody tr").all()]

    assert [row[-1].strip() for row in rows()] == [*["right"] * 3, "v and ε are 0"]
    page.get_by_role("button", name="gradient and state only").click()
    assert rows()[3][-1].strip() == "v cannot be kept" and rows()[3][2] == "0"
    page.get_by_role("slider", name="Size of the gradient").focus()
    page.keyboard.press("End")
    assert rows()[3][-1].strip() == "the gradient is too large"
    page.keyboard.press("Home")
    assert rows()[0][-1].strip() == "right: ε decides"
    assert rows()[3][-1].strip() == "no gradient is left"


def test_the_picture_shows_the_plateau_the_fall_and_where_a_format_is_right(page):
    def points(kind, row):
        path = page.locator(f".takeover-{kind}").nth(row).get_attribute("d")
        numbers = [float(x) for x in path.replace("M", ",").replace("L", ",").split(",") if x]
        return list(zip(numbers[::2], numbers[1::2], strict=True))

    curve, bar = points("step", 0), points("right", 0)
    (first, low), (last, level) = curve[0], curve[-1]
    assert first < last and low > level + 80  # it rises from the left, up to one
    decade = (bar[-1][0] - bar[0][0]) / 30
    half = min(curve, key=lambda p: abs(p[1] - (level + 0.3 * (low - level) / 6)))
    mark = float(page.locator("line.zero[stroke-dasharray]").get_attribute("x1"))
    assert abs(mark - (bar[0][0] + 16 * decade)) < 1 and abs(half[0] - mark) < 0.7 * decade
    right = [(x - bar[0][0]) / decade - 24 for x, _ in points("right", 3)]
    assert -1.9 < right[0] < -1.3 and 2.2 < right[-1] < 2.45


def test_without_scripts_there_is_a_picture(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.get_by_role("img").bounding_box()["height"] > 150
    page.context.close()


@pytest.mark.parametrize("width", [1280, 375])
def test_it_is_open_to_everyone(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    wrong = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [v["id"] for v in wrong if v["id"] != "page-has-heading-one"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
