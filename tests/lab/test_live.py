"""Live figures in a browser: they compute what Python does, and answer to every kind of hand."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from adam_nbdev.lab.betas import PERIODS, SETTINGS, beta_map, displacement, farthest, floor
from adam_nbdev.lab.bound import step_bound
from adam_nbdev.lab.live import STEPS, bench, streams
from adam_nbdev.lab.plane import Surface, knots
from adam_nbdev.lab.playground import LANDSCAPES, OFFERED, playground
from adam_nbdev.language.rule import parse
from adam_nbdev.readers.trace import table
from adam_nbdev.rules import RULES

BEGIN = "signal in noise"
HEAD = "<!doctype html><html lang='en'><meta charset='utf-8'><title>x</title><main>"
pytestmark = pytest.mark.slow


def known_at_knots():
    """The loss of forty random examples on a plane, begun outside its grid."""
    scores = np.random.default_rng(5).normal(size=(2, 40, 4))
    xs, ys = np.linspace(-2, 2, 9), np.linspace(-1, 2, 7)
    return Surface("knots", xs, ys, knots(scores - scores[..., :1], xs, ys), (2.5, 3.0), ())


PLACES = (*LANDSCAPES, known_at_knots())


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("bench") / "bench.html"
    file.write_text(f"{HEAD}{bench()._repr_html_()}</main></html>", encoding="utf-8")
    return file.as_uri()


def values(page):
    """What the page has computed: for each step, the value of each line, in their order."""
    return page.evaluate(
        "() => { const b = document.querySelector('adam-bench');"
        "return b.history.map(step => b.rule.lines.map(line => step[line.name])); }"
    )


def in_python(rule, grads, **chosen):
    steps = table(RULES[rule], grads, **chosen).steps
    return [[line.value for line in step] for step in steps]


def slide(page, name, stop, element="adam-bench"):
    page.locator(f"{element} input[name={name}]").evaluate(
        "(e, stop) => { e.value = stop; e.dispatchEvent(new Event('input')); }", stop
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_page_computes_what_python_does(page, rule):
    page.get_by_label("Rule").select_option(rule)
    for stream, grads in streams().items():
        page.get_by_role("button", name=stream, exact=True).click()
        np.testing.assert_allclose(values(page), in_python(rule, grads, lr=0.1), rtol=1e-12)


def test_a_slider_changes_the_run(page):
    slide(page, "beta2", 120)  # of 240: half the way from 0 to 0.9999, by orders of magnitude
    slide(page, "lr", 180)
    expected = in_python("adam", streams()[BEGIN], lr=1.0, beta2=0.99)
    np.testing.assert_allclose(values(page), expected, rtol=1e-12)
    assert page.locator("adam-bench input[name=beta2]").get_attribute("aria-valuetext") == "0.99"


def test_the_numbers_of_the_step_stand_in_its_lines(page):
    step = table(RULES["adam"], streams()[BEGIN], lr=0.1).steps[23]
    boxes = page.locator(".bench-numbers b").all_inner_texts()
    found = [float(text.replace("−", "-")) for text in boxes]
    np.testing.assert_allclose(found, [line.value for line in step], rtol=6e-3)
    assert page.locator(".bench-numbers").first.inner_text().startswith("= ")


def test_the_keyboard_moves_and_draws(page):
    slider = page.get_by_role("slider", name="Step")
    slider.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    assert slider.get_attribute("aria-valuenow") == "26"
    grads = streams()[BEGIN]
    grads[25] = float(f"{grads[25] + 0.1 * max(map(abs, grads)):.3g}")
    np.testing.assert_allclose(values(page), in_python("adam", grads, lr=0.1), rtol=1e-12)


def test_a_finger_draws(page):
    box = page.locator(".bench-input").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.up()
    changed = page.evaluate("() => document.querySelector('adam-bench').grads")
    assert sum(a != b for a, b in zip(changed, streams()[BEGIN], strict=True)) == 1
    np.testing.assert_allclose(values(page), in_python("adam", changed, lr=0.1), rtol=1e-12)


def test_a_link_restores_what_was_shown(page, browser, address):
    page.get_by_label("Rule").select_option("rmsprop")
    page.get_by_role("button", name="jump", exact=True).click()
    slide(page, "decay", 60)
    before = values(page)
    page.get_by_role("button", name="Copy link").click()
    other = browser.new_page()
    other.goto(page.url)
    assert values(other) == before
    other.close()


@pytest.mark.parametrize("link", ["#bench=x", "#bench=%7B%7D", "#bench=%5B1%5D", "#other"])
def test_a_broken_link_shows_the_start(browser, address, link):
    page = browser.new_page()
    page.goto(address + link)
    expected = in_python("adam", streams()[BEGIN], lr=0.1)
    np.testing.assert_allclose(values(page), expected, rtol=1e-12)
    page.close()


@pytest.mark.parametrize("width", [1280, 375])
def test_it_is_open_to_everyone(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    wrong = [v["id"] for v in found["violations"] if v["id"] not in ("page-has-heading-one",)]
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_script_there_is_a_picture(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    picture = page.locator("adam-bench img")
    assert picture.is_visible() and str(STEPS) in picture.get_attribute("alt")
    context.close()


def limit(param, grad, step, lr=0.1, beta1=0.9):
    update = lr / (1 - beta1**step)
    return param - update


def test_what_stands_beside_follows_the_sliders(browser, tmp_path):
    file = tmp_path / "beside.html"
    file.write_text(
        f"{HEAD}{bench(['adam'], beside={'a limit': limit})._repr_html_()}</main>", "utf-8"
    )
    page = browser.new_page()
    page.goto(file.as_uri())
    slide(page, "beta1", 120)
    found = page.evaluate("() => document.querySelector('adam-bench').history.map(s => s.beside)")
    expected = [-limit(0.0, 0.0, step, 0.1, 0.99) for step in range(1, STEPS + 1)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert "a limit" in page.locator(".live-charts").inner_text()
    page.close()


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """A page with the playground, and what it was told."""
    file, live = (
        tmp_path_factory.mktemp("ground") / "ground.html",
        playground(OFFERED, landscapes=PLACES),
    )
    file.write_text(f"{HEAD}{live._repr_html_()}</main></html>", encoding="utf-8")
    return file.as_uri(), live.told


@pytest.fixture
def racing(watched, ground):
    return watched(ground[0])


def paths(page):
    return page.evaluate("() => document.querySelector('adam-playground').paths")


def down(told, landscape, rule, noise=0.0, times=1.0, lr=None):
    """The path of a rule in Python: where it is after each step, and how high."""
    told_of = next(place for place in told["landscapes"] if place["label"] == landscape.label)
    given = {"lr": times * told_of["rates"][rule], "beta2": 0.99, "decay": 0.99}
    spec, param = parse(RULES[rule]), np.array(landscape.start, dtype=float)
    given = {name: value for name, value in given.items() if name in spec.defaults}
    state, found = [slot.start for slot in spec.slots.values()], []
    for step, normal in enumerate(np.array(told["noise"]), start=1):
        found.append([*param, landscape(*param)[0]])
        grad = np.array(landscape(*param)[1:], dtype=float) + noise * normal
        eps = {"eps": 1e-8} if "eps" in spec.defaults else {}
        given |= {"lr": lr(step)} if lr else {}
        after = RULES[rule](param, grad, *state, step, **given, **eps)
        param, *state = after if isinstance(after, tuple) else (after,)
    return np.array([*found, [*param, landscape(*param)[0]]])


@pytest.mark.parametrize("landscape", PLACES, ids=lambda place: place.label)
def test_rules_go_down_as_in_python(racing, ground, landscape):
    racing.get_by_label("Landscape").select_option(landscape.label)
    for rule, path in paths(racing).items():
        # a rule that flips between two sides of a ravine magnifies the last digit
        np.testing.assert_allclose(path[:40], down(ground[1], landscape, rule)[:40], rtol=1e-6)


def test_noise_and_learning_rate_change_the_race(racing, ground):
    slide(racing, "noise", 48, "adam-playground")
    slide(racing, "times", 160, "adam-playground")
    expected = down(ground[1], LANDSCAPES[0], "adam", noise=1.0, times=10**0.5)
    np.testing.assert_allclose(paths(racing)["adam"][:40], expected[:40], rtol=1e-4)


def test_the_start_follows_keyboard_and_finger_and_a_link_keeps_it(racing, browser):
    start = racing.get_by_role("slider", name="Start")
    start.focus()
    racing.keyboard.press("ArrowUp")
    moved = paths(racing)["adam"][0]
    assert moved[0] == LANDSCAPES[0].start[0] and moved[1] > LANDSCAPES[0].start[1]
    box = start.bounding_box()
    racing.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert np.allclose(paths(racing)["adam"][0][:2], [-1, 0], atol=0.02)
    racing.get_by_role("button", name="Lion").click()
    assert "lion" not in paths(racing)
    racing.get_by_role("button", name="Copy link").click()
    other = browser.new_page()
    other.goto(racing.url)
    assert paths(other) == paths(racing)
    other.close()


def test_a_schedule_is_followed_in_the_page(browser, tmp_path):
    """The paths of each schedule are Python's, and a link keeps the one that is chosen."""
    schedules = {"level": lambda step: 1.0, "falling": lambda step: (201 - step) / 200}
    live = playground(("adam", "lion"), landscapes=PLACES[:1], schedules=schedules)
    (tmp_path / "ground.html").write_text(f"{HEAD}{live._repr_html_()}</main></html>", "utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "ground.html").as_uri())
    rates = live.told["landscapes"][0]["rates"]
    for label, schedule in schedules.items():
        page.get_by_label("Schedule").select_option(label)
        for name, path in paths(page).items():
            expected = down(
                live.told,
                PLACES[0],
                name,
                lr=lambda step, name=name, schedule=schedule: rates[name] * schedule(step),
            )
            np.testing.assert_allclose(path[:40], expected[:40], rtol=1e-6)
    page.get_by_role("button", name="Copy link").click()
    other = browser.new_page()
    other.goto(page.url)
    assert other.get_by_label("Schedule").input_value() == "falling"
    assert paths(other) == paths(page)
    assert "learning rate" in page.locator(".playground-grid").inner_text()
    page.close()
    other.close()


def test_play_ends_where_the_paths_end(racing):
    whole = racing.locator(".playground-map path").last.get_attribute("d")
    racing.get_by_role("button", name="Play").click()
    racing.wait_for_function("() => document.querySelector('adam-playground').until === 200")
    assert racing.locator(".playground-map path").last.get_attribute("d") == whole


@pytest.mark.parametrize("width", [1280, 375])
def test_the_playground_is_open_to_everyone(racing, width):
    racing.set_viewport_size({"width": width, "height": 900})
    found = Axe().run(racing, options={"resultTypes": ["violations"]}).response
    wrong = [v["id"] for v in found["violations"] if v["id"] not in ("page-has-heading-one",)]
    assert wrong == []
    assert racing.evaluate("document.documentElement.scrollWidth") <= width


@pytest.fixture
def chart(watched, tmp_path):
    """A page with the map of the decay rates."""
    file = tmp_path / "map.html"
    file.write_text(f"{HEAD}{beta_map()._repr_html_()}</main></html>", encoding="utf-8")
    return watched(file.as_uri())


def found(page):
    return page.evaluate(
        "() => { const { found, chosen } = document.querySelector('adam-map');"
        "return { ...found, ...chosen, limit: String(found.limit) }; }"
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting[0])
def test_the_map_says_what_python_does(chart, setting):
    label, beta1, beta2, _ = setting
    chart.get_by_role("button", name=label).click()
    said = found(chart)
    assert (said["beta1"], said["beta2"]) == (beta1, beta2)
    steps = np.arange(1, 20_001)
    sizes = (1 - beta1**steps) / np.sqrt(1 - beta2**steps)
    assert float(said["limit"]) == pytest.approx(step_bound(beta1, beta2), rel=1e-9)
    assert said["hundred"] == pytest.approx(-farthest(0.0, 0.0, 100, 1.0, beta1, beta2), rel=1e-9)
    assert said["overshoot"] == pytest.approx(max(1.0, sizes.max()), rel=1e-3)
    assert said["floor"] == pytest.approx(-floor(0.0, 0.0, 1, 1.0, beta1, beta2), rel=1e-12)
    assert said["astray"] == next(n for n in range(3, 300) if displacement(n, n, beta1, beta2) > 0)


@pytest.mark.parametrize("period", PERIODS)
def test_adam_goes_astray_where_the_map_is_shaded(chart, period):
    chart.get_by_label("Reddi's line").select_option(str(period))
    shade = """([beta1, beta2, period]) => {
      const map = document.querySelector("adam-map");
      map.chosen = { beta1, beta2 };
      map.draw();
      const { cx, cy } = map.querySelector(".here").attributes;
      const shaded = map.querySelector(".astray").isPointInFill(new DOMPoint(cx.value, cy.value));
      return [shaded, map.moves(period, map.chosen)];
    }"""
    for beta1, beta2 in ((0.3, 0.6), (0.5, 0.93), (0.9, 0.8), (0.9, 0.98), (0.9, 0.9996)):
        shaded, moved = chart.evaluate(shade, [beta1, beta2, period])
        assert moved == pytest.approx(displacement(period, period, beta1, beta2), rel=1e-9)
        assert shaded == (moved > 0)


@pytest.mark.parametrize("stream", streams())
def test_the_map_runs_adam_on_the_gradients(chart, stream):
    chart.get_by_label("Gradients").select_option(stream)
    chart.get_by_role("button", name="GPT-3").click()
    steps = table(RULES["adam"], streams()[stream], lr=1, beta1=0.9, beta2=0.95).steps
    longest = max(abs(line.value) for step in steps for line in step if line.name == "update")
    shown = chart.get_by_role("img", name="longest").get_attribute("aria-label")
    assert float(shown.split("longest ")[1].split(" ")[0]) == pytest.approx(longest, rel=1e-3)


def test_the_map_follows_keyboard_and_finger(chart):
    field = chart.get_by_role("slider", name="Decay rates")
    field.focus()
    chart.keyboard.press("ArrowRight")
    assert 0.9 < found(chart)["beta1"] < 0.92 and found(chart)["beta2"] == 0.999
    box = field.bounding_box()
    chart.mouse.click(box["x"] + box["width"] - 10, box["y"] + box["height"] - 45)
    assert found(chart)["limit"] == "Infinity" and "∞" in chart.locator("dl").inner_text()


@pytest.mark.parametrize("width", [1280, 375])
def test_the_map_is_open_to_everyone(chart, width):
    chart.set_viewport_size({"width": width, "height": 900})
    wrong = Axe().run(chart, options={"resultTypes": ["violations"]}).response["violations"]
    assert [v["id"] for v in wrong if v["id"] != "page-has-heading-one"] == []
    assert chart.evaluate("document.documentElement.scrollWidth") <= width
