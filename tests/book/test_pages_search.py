"""The search of the built book: what a reader types leads to the page that says what it is."""

import re
from ast import literal_eval
from pathlib import Path

import pytest

from adam_nbdev.rules import RULES

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

#: Where some words lead first.
LEAD = {
    "Adam": "adam/adam",
    "AdamW": "family/weight_decay",
    "RMSprop with momentum": "background/rmsprop",
    "adagrad": "background/adagrad",
    "bias correction": "appendix/glossary",
    "half-life": "appendix/glossary",
    "warmup": "appendix/glossary",
    "v_hat": "appendix/notation",
    "β": "appendix/notation",
    "β₂": "appendix/notation",
    "beta2": "appendix/notation",
    "ε": "appendix/notation",
    "eps": "appendix/notation",
    "m̂": "appendix/notation",
    "Δ": "appendix/notation",
    "lr": "appendix/notation",
    "convergence": "adam/convergence",
    "gradient clipping": "practice/optim",
    "from_rule": "appendix/api/optim",
    "step_inplace": "appendix/api/kernels",
    "playground": "appendix/api/lab",
    "mnist": "paper/mnist",
}

ASK = """words => Object.fromEntries(words.map(word => {
  const found = Search._performSearch(...Search._parseQuery(word)).reverse();
  return [word, found.map(([page, title, anchor]) => [page.replace("nbs/", ""), title, anchor])];
}))"""


def exported():
    """The exported names of the library, each with the page that defines it."""
    for file in (ROOT / "adam_nbdev").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if page := re.search(r"File to edit: [./]*(nbs/.*)\.ipynb", text):
            names = re.search(r"^__all__ = (\[.*?\])", text, flags=re.DOTALL | re.MULTILINE)
            yield from ((name, page[1].removeprefix("nbs/")) for name in literal_eval(names[1]))


@pytest.fixture
def ask(browser, served, book):
    """What the search finds for some words: for each a list of page, title and anchor."""
    page = browser.new_page()
    page.goto(f"{served(book)}/search.html")
    page.wait_for_function("Search.hasIndex()")
    yield lambda words: page.evaluate(ASK, list(words))
    page.close()


def test_words_lead_to_the_page_that_says_what_they_are(ask):
    found = ask(LEAD)
    assert {word: hits[0][0] if hits else "" for word, hits in found.items()} == LEAD


def test_a_rule_leads_to_the_chapter_that_defines_it(ask):
    home = dict(exported())
    found = ask(RULES)
    for rule in RULES:
        assert found[rule][0][0] == home[rule], rule
        assert len(found[rule]) < 70 or rule == "adam", rule
    pages = {page for page, *_ in found["adam"]}  # it stands on most, and not on all
    assert 4 * len(pages) < 3 * len(list((ROOT / "_build/html/nbs").rglob("*.html")))


def test_every_exported_name_is_found(ask):
    names = {name for name, _ in exported()}
    found = ask(names)
    assert len(names) > 200 and not [name for name in names if not found[name]]


def test_the_field_on_a_page_leads_there(browser, served, book):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{served(book)}/nbs/index.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("β₂")
    page.keyboard.press("Enter")
    first = page.locator("ul.search a").first
    assert first.inner_text() == "Notation"
    first.click()
    page.wait_for_selector("tr:target")
    assert "beta2" in page.locator("tr:target").inner_text()
    page.close()


def test_among_other_words_a_greek_letter_is_what_the_code_calls_it(ask):
    found = ask(["β₂ AMSGrad", "beta2 AMSGrad", "ε float16", "eps float16"])
    assert found["β₂ AMSGrad"] == found["beta2 AMSGrad"] != []
    assert found["ε float16"] == found["eps float16"] != []
