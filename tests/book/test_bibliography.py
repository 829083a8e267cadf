"""The bibliography: it parses, and has an entry for every key that a page cites."""

import json
import re
from pathlib import Path

from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parents[2]


def cited():
    """Every key that a page cites, and a page that does."""
    found = {}
    for file in sorted([*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("nbs/**/*.md")]):
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".ipynb":
            text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text):
            found.update({key.strip(): file.name for key in keys.split(",")})
    return found


def test_every_key_that_a_page_cites_is_an_entry():
    entries, keys = parse_file(ROOT / "book" / "references.bib").entries, cited()
    assert len(keys) > 20
    assert not {key: page for key, page in keys.items() if key not in entries}
