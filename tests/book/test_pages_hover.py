"""The card that shows what a link leads to, in the built book."""

import pytest

pytestmark = pytest.mark.slow
CARD = "#peek"

#: A page, what its link leads to, and what the card says then.
LINKS = {
    "a source": ("adam/adam", "bibliography.html#id", "Adam: a method for stochastic optimization"),
    "a section": ("adam/adam", "#cannot-do", "What the five steps cannot do"),
    "an exercise": ("appendix/regret", "#ex-adagrad-constant", "Repeat the proof for"),
    "a term": ("appendix/glossary", "#term-L2-regularisation", "it adds"),
    "a page": ("adam/bias", "adam.html", "Adaptive moment estimation"),
    "a function": (
        "workshop/readers/trace",
        "readers.html#adam_nbdev.readers.trace.trace",
        "One step",
    ),
    "an equation": ("adam/bias", "#equation-eq-uncorrected", "(6)"),
}


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(error))
    yield page
    page.close()
    assert not page.errors


def link(page, target):
    return page.locator(f"article a.internal[href*='{target}']:not(.headerlink)").first


def says(page, text):
    page.wait_for_function("!document.querySelector('#peek').hidden")
    page.wait_for_function("document.querySelector('[aria-describedby=peek]')")
    assert text in page.locator(CARD).inner_text()


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_shows_what_it_leads_to(page, served, book, kind):
    name, target, text = LINKS[kind]
    page.goto(f"{served(book)}/nbs/{name}.html")
    link(page, target).hover()
    says(page, text)
    math = page.locator(f"{CARD} .math")
    assert math.count() == page.locator(f"{CARD} .math mjx-container").count()
    assert bool(math.count()) == (kind in ("an exercise", "a term", "an equation"))
    assert not page.locator(f"{CARD} [role=doc-biblioentry]").count(), "a deprecated role"
    box, shown = page.locator(CARD).bounding_box(), link(page, target).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 1280
    gap = max(box["y"] - shown["y"] - shown["height"], shown["y"] - box["y"] - box["height"])
    assert gap < 5, "the pointer cannot move onto the card"


def test_the_card_stays_under_the_pointer_and_goes_with_escape(page, served, book):
    page.goto(f"{served(book)}/nbs/adam/adam.html")
    first = link(page, "bibliography.html")
    first.hover()
    says(page, "Kingma")
    page.locator(CARD).hover()
    page.wait_for_timeout(600)
    assert page.locator(CARD).is_visible()
    page.keyboard.press("Escape")
    assert page.locator(CARD).is_hidden()
    first.hover()
    says(page, "Kingma")
    page.mouse.move(5, 5)
    page.wait_for_function("document.querySelector('#peek').hidden")


def test_the_keyboard_opens_the_card_and_takes_it_along(page, served, book):
    page.goto(f"{served(book)}/nbs/adam/adam.html")
    page.keyboard.press("Tab")  # whoever uses the keyboard sees where the focus is
    link(page, "bibliography.html").focus()
    says(page, "Kingma")
    page.keyboard.press("Escape")
    assert page.locator(CARD).is_hidden()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    says(page, "Kingma")
    page.locator("article summary").first.focus()
    page.wait_for_function("document.querySelector('#peek').hidden")


FIGURE = """<!doctype html><html lang="en" data-content_root="./"><title>x</title>
<link rel="icon" href="data:,"><script src="_static/book.js"></script>
<main><article class="bd-article"><p><a class="internal" href="#fig-x">Fig. 1</a></p>
<figure id="fig-x"><svg class="figure" role="img" aria-label="y" width="9" height="9">
<path id="fig0-a" d="M0 0"/><use href="#fig0-a"/></svg>
<adam-bench><img alt="still" src="data:,"></adam-bench><script>window.twice = window.once;
window.once = true</script><figcaption>See.</figcaption></figure></article></main>"""


def test_a_figure_is_shown_without_its_scripts_under_ids_of_its_own(page, served, book, tmp_path):
    (tmp_path / "_static").symlink_to(book / "_static")
    (tmp_path / "x.html").write_text(FIGURE)
    page.goto(f"{served(tmp_path)}/x.html")
    link(page, "#fig-x").hover()
    says(page, "See.")
    shown = page.locator(CARD).inner_html()
    assert 'id="peek-fig0-a"' in shown and "#peek-fig0-a" in shown
    assert "still" in shown and "adam-bench" not in shown and "script" not in shown
    assert not page.evaluate("window.twice") and page.evaluate("window.once")


def test_a_book_on_the_disk_has_no_card_and_no_complaint(page, book):
    page.goto((book / "nbs/adam/adam.html").as_uri())
    link(page, "bibliography.html").hover()
    page.wait_for_timeout(600)
    assert page.locator(CARD).count() == 0
