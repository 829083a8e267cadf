"""Cells that run where they are read, in a browser: they show what Python shows here."""

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from sphinx.errors import ExtensionError

from adam_nbdev.lab.cell import run_cell
from adam_nbdev.readers.grade import grade
from adam_nbdev.rules import adam

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book/extensions"))

import live_cells  # noqa: E402

pytestmark = pytest.mark.slow
MARK = "#| live: true\n"
NOTEBOOKS = sorted(ROOT.glob("nbs/**/*.ipynb"))
LIVE = {
    f"{path.stem}-{cell.id}": cell.source.removeprefix(MARK)
    for path in NOTEBOOKS
    if "checkpoints" not in str(path)
    for cell in nbformat.read(path, 4).cells
    if cell.source.startswith(MARK)
}
EXERCISE = next(code for code in LIVE.values() if "your lines go here" in code)
ANSWER = """\
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = unbias(m, beta1, step), unbias(v, beta2, step)
    return param - lr * m_hat / (sqrt(v_hat) + eps), m, v
"""


def answered(lines):
    """The exercise with some lines in place of the skeleton's."""
    before, after = EXERCISE.split("    # your lines go here\n    return param, m, v\n")
    return before + lines + after


def shown(code):
    """What a page should show of a run, one piece after another."""
    found = []
    run_cell(code, lambda *piece: found.append(piece))
    return found


def test_there_are_live_cells():
    assert {name.split("-")[0] for name in LIVE} >= {"adam", "parents", "epsilon", "cell"}
    assert sum("grade(" in code for code in LIVE.values()) == 3


@pytest.mark.parametrize("name", LIVE)
def test_a_live_cell_needs_nothing_but_plain_python(name, tmp_path):
    live_cells.library(tmp_path / "library.zip")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "library.zip")!r})
from adam_nbdev.lab.cell import run_cell
kinds = []
assert run_cell({LIVE[name]!r}, lambda kind, content: kinds.append(kind)), "an error"
print(*kinds)
"""
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "html" in done.stdout, done.stderr


def test_another_pyodide_is_not_trusted(monkeypatch, tmp_path):
    def run(command, **options):
        Path(command[-1], "pyodide.tgz").write_text("another")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(live_cells.subprocess, "run", run)
    monkeypatch.setenv("ADAM_NBDEV_PYODIDE", str(tmp_path))
    with pytest.raises(OSError, match="another hash"):
        live_cells.pyodide()
    assert not list(tmp_path.iterdir())


def test_without_npm_the_book_is_built_except_in_ci(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ADAM_NBDEV_PYODIDE", str(tmp_path / "none"))
    monkeypatch.delenv("CI", raising=False)
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path)
    live_cells.serve(app, None)
    assert (tmp_path / "_static/cell/cell.js").exists()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(ExtensionError, match="cannot run"):
        live_cells.serve(app, None)


CELL = """<div class="cell tag_live docutils container"><div class="cell_input docutils container">
<div class="highlight-ipython3"><div class="highlight"><pre><span></span>{code}
</pre></div></div></div><div class="cell_output docutils container"><p>as built</p></div></div>"""
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="_static/cell/cell.css">
<main>{cells}</main><script defer src="_static/cell/cell.js"></script></html>"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a page of two cells, made of what the book is made of."""
    folder = tmp_path_factory.mktemp("site")
    codes = [next(code for code in LIVE.values() if "walk(" in code), EXERCISE]
    cells = "".join(CELL.format(code=html.escape(code)) for code in codes)
    (folder / "page.html").write_text(PAGE.format(cells=cells), encoding="utf-8")
    try:
        live_cells.install(folder / "_static/cell")
    except OSError as problem:
        message = f"Python for the page is missing: {problem}"
        pytest.fail(message) if live_cells.os.environ.get("CI") else pytest.skip(message)
    return folder


@pytest.fixture
def page(browser, site, served):
    """The page, opened; `page.asked` are the addresses it asked for."""
    address, complaints = served(site), []
    opened = browser.new_page()
    opened.asked = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(f"{address}/page.html")
    yield opened
    assert complaints == []
    assert all(url.startswith((address, "data:", "blob:")) for url in opened.asked), opened.asked
    opened.close()


#: Whether a cell that ran has ended: there is nothing left to stop.
ENDED = "n => document.querySelectorAll('.live-cell')[n].querySelectorAll('button')[1].disabled"


def run_in(page, number, code=None, ends="Done."):
    """Run a cell, with other code if some is given; what it shows."""
    cell = page.locator(".live-cell").nth(number)
    if code is not None:
        cell.locator("textarea").fill(code)
    cell.get_by_role("button", name="Run").click()
    page.wait_for_function(ENDED, arg=number, timeout=60_000)
    assert ends in cell.get_by_role("status").inner_text()
    return cell.locator(".cell_output")


def numbers(markup):
    """The cells of the body of a table."""
    return re.findall(r"<td[^>]*>([^<]*)</td>", markup)


def test_the_page_shows_what_python_does_and_follows_a_change(page):
    assert not [url for url in page.asked if "pyodide" in url or "worker" in url]
    code = page.locator("textarea").first.input_value()
    changed = code.replace("(sqrt(v_hat) + eps)", "(v_hat + eps)")
    found = []
    for number, now in enumerate([code, changed]):
        output = run_in(page, 0, now if number else None)
        (_, latex), (_, table), (_, path) = shown(now)
        assert output.locator(".math").text_content() == latex
        assert numbers(output.locator("table").inner_html()) == numbers(table)
        points = output.locator("polyline").get_attribute("points")
        assert f'points="{points}"' in path
        found.append([latex, numbers(table), points])
    assert all(before != after for before, after in zip(*found, strict=True))


def test_an_error_names_the_line_and_the_next_run_is_clean(page):
    output = run_in(page, 1, "x = 1\ny = x / 0", ends="An error")
    assert output.inner_text().startswith("line 2:\n    y = x / 0\nZeroDivisionError: ")
    assert "pyodide" not in output.inner_text()
    assert run_in(page, 1, "print('well')").inner_text().strip() == "well"


def test_an_endless_loop_is_stopped(page):
    cell = page.locator(".live-cell").first
    cell.locator("textarea").fill("print('on')\nwhile True:\n    pass")
    cell.get_by_role("button", name="Run").click()
    cell.locator(".cell_output").filter(has_text="on").wait_for(timeout=60_000)
    cell.get_by_role("button", name="Stop").click()
    assert cell.get_by_role("status").inner_text() == "Stopped."
    assert run_in(page, 0, "6 * 7").inner_text().strip() == "42"
    for _ in range(100):  # the browser takes its time to end the other
        if len(page.workers) > 1:
            page.wait_for_timeout(100)
    assert len(page.workers) == 1


def test_an_answer_is_graded(page):
    verdict = run_in(page, 1).inner_text().strip()
    assert verdict == str(grade(skeleton, adam)) and verdict.startswith("step 1, ")
    wrong = run_in(page, 1, answered(ANSWER.replace("unbias(m, beta1, step)", "m"))).inner_text()
    assert re.match(r"step \d+, gradient \S+: \w+ is \S+, the reference has ", wrong)
    assert run_in(page, 1, answered(ANSWER)).inner_text().startswith("right: over 60 steps")
    page.locator(".live-cell").nth(1).get_by_role("button", name="Reset").click()
    assert page.locator("textarea").nth(1).input_value() == EXERCISE.strip()
    assert page.locator(".cell_output").nth(1).inner_text() == "as built"


def skeleton(param, grad, m, v, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    return param, m, v


def test_the_keyboard_writes_and_gets_out_again(page):
    field = page.locator("textarea").first
    field.fill("if True:")
    field.focus()
    page.keyboard.press("Tab")  # whoever passes by is not held
    assert page.evaluate("document.activeElement.textContent") == "Run"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.keyboard.type("x = 1  # one")
    assert field.input_value() == "if True:\n    x = 1  # one"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert field.input_value().endswith("\n        ")
    page.keyboard.press("Shift+Tab")
    assert field.input_value().endswith("\n    ")
    assert page.locator("pre .c1").first.inner_text() == "# one"
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Run"


@pytest.mark.parametrize("width", [1280, 375])
def test_it_is_open_to_everyone(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response
    wrong = [v["id"] for v in found["violations"] if v["id"] != "page-has-heading-one"]
    assert wrong == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("where", ["a file", "a browser without WebAssembly"])
def test_where_it_cannot_run_a_sentence_says_so(browser, site, served, where):
    page = browser.new_page()
    page.add_init_script("delete window.WebAssembly" if where != "a file" else "")
    page.goto((site / "page.html").as_uri() if where == "a file" else f"{served(site)}/page.html")
    assert page.locator("textarea").count() == 0
    said = page.locator(".live-note").first.inner_text()
    assert {"a file": "from a file"}.get(where, "no WebAssembly") in said and "notebook" in said
    assert page.locator(".cell_output").first.inner_text() == "as built"
    page.close()


def test_without_python_a_sentence_says_so(browser, site, served, tmp_path):
    shutil.copytree(site, tmp_path, ignore=shutil.ignore_patterns("pyodide"), dirs_exist_ok=True)
    page = browser.new_page()
    page.goto(f"{served(tmp_path)}/page.html")
    run_in(page, 0, ends="could not be loaded here")
    page.close()
