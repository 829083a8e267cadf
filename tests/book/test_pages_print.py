"""The book on paper: how a page prints, and the whole as one PDF."""

import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "book"))

import pdf

pytestmark = pytest.mark.slow

PRINTED = """() => {
  const faults = [], all = names => [...document.querySelectorAll(names)].filter(
    e => e.checkVisibility() && e.getClientRects().length);
  const light = ([red, green, blue]) => 0.3 * red + 0.6 * green + 0.1 * blue > 140;
  for (const e of all(".bd-sidebar-primary, .bd-header-article, .prev-next-area, button"))
    faults.push("prints " + e.className);
  if (!all("article h1").length) faults.push("no title");
  for (const e of all("article pre"))
    if (e.scrollWidth > e.clientWidth + 1) faults.push("cut: " + e.innerText.slice(0, 60));
  const right = e => e.getBoundingClientRect().right;
  for (const e of all("article .live svg"))
    if (right(e) > right(e.parentElement) + 1) faults.push("a live figure over its neighbour");
  for (const e of all("article :is(p, pre span, td, svg.figure, figcaption, h2)")) {
    const { color } = getComputedStyle(e);
    if (light(color.match(/[\\d.]+/g))) faults.push(`faint on paper, ${color}: ${e.outerHTML}`);
  }
  return faults.map(fault => fault.slice(0, 200));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["index", "adam/adam", "adam/bound", "family/weight_decay", "appendix/cheat_sheet"]
)
def test_a_page_prints_as_a_column_of_dark_text(browser, served, book, name, scheme):
    page = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme=scheme)
    page.goto(f"{served(book)}/nbs/{name}.html", wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 643, "height": 900})
    found = page.evaluate(PRINTED)
    page.close()
    assert not found


def test_the_cheat_sheet_is_a_sheet_of_paper(browser, served, book):
    page = browser.new_page(viewport={"width": 900, "height": 900})
    page.goto(f"{served(book)}/nbs/appendix/cheat_sheet.html", wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "12mm")
    data = page.pdf(format="A4", margin=margin)
    page.close()
    assert data.count(b"/Type /Page\n") == 1


def test_pages_are_joined_with_their_links_and_an_outline(browser, book, tmp_path):
    target = tmp_path / "two.pdf"
    pdf.write(browser, ["nbs/adam/bias", "nbs/appendix/bibliography"], target, book)
    data = target.read_bytes()
    assert data.count(b"/Type /Page\n") >= 8 and b"/Type /Outlines" in data
    assert b"/Title (Bias correction)" in data and b"/Title (Bibliography)" in data
    addresses = re.findall(rb"/URI \(([^)]*)\)", data)
    home = b"https://adam-nbdev.github.io/adam_nbdev/nbs/adam/adam.html"
    assert home in addresses and not [a for a in addresses if b"127.0.0.1" in a]
    sources = [d for d in re.findall(rb"/Dest /?\(?([\w-]+)", data) if d.startswith(b"c1-")]
    assert len(sources) >= 5, "citations do not lead to the bibliography"


def test_the_whole_book_is_printed_in_the_order_of_its_contents(book):
    names = pdf.in_order()
    pages = {str(p.relative_to(book).with_suffix("")) for p in book.rglob("nbs/**/*.html")}
    assert names[0] == "nbs/index" and names[-1] == "nbs/appendix/bibliography"
    assert set(names) == pages and len(names) == len(pages)
