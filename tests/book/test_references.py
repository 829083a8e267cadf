"""What a page refers to is there: sources in the bibliography, sections of other pages."""

import json
import re
from pathlib import Path

from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"\]\(([\w./]+\.ipynb)\),? \*([^*\n]+)\*")


def text_of(page):
    """What is written on a page."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


TEXTS = {p: text_of(p) for p in [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("nbs/**/*.md")]}


def test_every_key_that_a_page_cites_is_an_entry():
    cited = {
        key.strip(): page.name
        for page, text in TEXTS.items()
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text)
        for key in keys.split(",")
    }
    entries = parse_file(ROOT / "book" / "references.bib").entries
    assert len(cited) > 20
    assert not {key: page for key, page in cited.items() if key not in entries}


def test_every_section_that_is_named_beside_a_link_is_there():
    named = [(p, *found) for p, text in TEXTS.items() for found in SECTION.findall(text)]
    assert len(named) > 5
    for page, link, name in named:
        lines = TEXTS[(page.parent / link).resolve()].splitlines()
        headings = [line.lstrip("# ") for line in lines if line.startswith("#")]
        assert any(h.startswith(name) for h in headings), f"{page.name}: {link}, {name}"
