"""The book's own extension, on single cells."""

import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book/extensions"))

from nbdev_pages import (  # noqa: E402
    MODULES,
    definitions,
    index,
    inline,
    letters,
    linkcode_resolve,
    public,
    read_page,
    translate,
    without_docstrings,
)


def cell(*lines):
    return {"id": "abc", "metadata": {}, "source": [f"{line}\n" for line in lines]}


@pytest.mark.parametrize(
    ("line", "tag"),
    [
        ("#| hide", "remove-cell"),
        ("#| default_exp adam", "remove-cell"),
        ("#| include: false", "remove-cell"),
        ("#| echo: false", "remove-input"),
        ("#| code-fold: true", "hide-input"),
        ("#| eval: false", "skip-execution"),
        ("#| export", "exported"),
        ("#| live: true", "live"),
    ],
)
def test_a_directive_becomes_a_tag_and_leaves_the_page(line, tag):
    translated = cell(line, "x = 1")
    targets = translate(translated)
    assert translated["metadata"]["tags"] == [tag] and translated["source"] == "x = 1\n"
    assert targets == (["cell-abc"] if tag == "exported" else [])


def test_a_figure_gets_its_name_caption_and_alternative_text():
    figure = cell("#| label: fig-x", "#| fig-cap: See this.", "#| fig-alt: A line.", "plot()")
    assert translate(figure) == []
    assert figure["metadata"]["mystnb"] == {
        "image": {"alt": "A line."},
        "figure": {"caption": "See this.", "name": "fig-x"},
    }
    assert translate(cell("#| label: eq-x", "formula(adam)")) == ["eq-x"]
    quoted = cell('#| fig-cap: "Left: one. Right: two."', "plot()")
    translate(quoted)
    assert quoted["metadata"]["mystnb"]["figure"] == {"caption": "Left: one. Right: two."}


@pytest.mark.parametrize("line", ["#| exprot", "#| code-fold: maybe", "#| fig-cap:"])
def test_an_unknown_directive_is_an_error(line):
    with pytest.raises(ExtensionError, match="unknown directive"):
        translate(cell(line))


def test_a_figure_takes_the_ink_of_the_page_and_keeps_its_ids_to_itself():
    svg = '<?xml version="1.0"?><svg width="72pt" height="36pt" viewBox="0 0 72 36">'
    svg += '<g id="a" style="stroke: #1a1a1a"/><use xlink:href="#a"/><g clip-path="url(#a)"/></svg>'
    shown = inline(svg, 'a "b" <c>', "fig0")
    assert shown.startswith('<svg class="figure" role="img" aria-label="a &quot;b&quot; &lt;c>"')
    assert 'id="fig0-a"' in shown and 'href="#fig0-a"' in shown and "url(#fig0-a)" in shown
    assert "currentColor" in shown and "#1a1a1a" not in shown and 'style="width:96px"' in shown
    assert 'height="36pt"' not in shown


def test_an_api_entry_leads_to_its_cell():
    page, cell_id = definitions("adam_nbdev.rules._adam")["adam"]
    link = linkcode_resolve("py", {"module": "adam_nbdev.rules._adam", "fullname": "adam"})
    assert link == f"../../../nbs/adam/adam.html#cell-{cell_id}" and page == "nbs/adam/adam"
    assert (
        linkcode_resolve("py", {"module": "adam_nbdev.rules._adam", "fullname": "nothing"}) is None
    )


def test_every_room_of_the_library_has_its_page_of_the_reference():
    pages = (ROOT / "nbs/appendix/api").glob("*.md")
    listed = [MODULES.search(page.read_text(encoding="utf-8"))[1].split(", ") for page in pages]
    rooms = {p.stem for p in (ROOT / "adam_nbdev").iterdir() if p.suffix == ".py" or p.is_dir()}
    assert sorted(chain(*listed)) == sorted(rooms - {"__init__", "_modidx", "__pycache__"})


def test_methods_that_are_added_later_are_entries_of_their_class():
    made = """
@patch_to(Dog)
@property
def name(self):
    "Its name."

@_word(types.float32)
def half(b, x):
    "Compiled."

def _hidden():
    "For nobody."

class Dog:
    "A dog."
"""
    assert public(made) == ["Dog.name", "Dog"]


def test_a_chapter_leads_to_the_library_though_it_hides_docstrings():
    env = SimpleNamespace(doc2path=lambda name: f"{name}.ipynb")
    source = [(ROOT / "nbs/adam/adam.ipynb").read_text(encoding="utf-8")]
    read_page(SimpleNamespace(env=env, srcdir=ROOT), "nbs/adam/adam", source)
    assert "`adam <adam_nbdev.rules._adam.adam>`" in source[0]
    assert "Kingma & Ba (2015), Algorithm 1;" not in source[0]


DOCUMENTED = '''\
def rule(param):
    """One line.

    And more.
    """

    # why
    return param


class Named:
    """All there is."""


class Dog:
    """A dog."""

    @property
    def name(self):
        "Its name."
        return "Rex"
'''


def test_a_chapter_shows_functions_without_docstrings():
    shown = without_docstrings(DOCUMENTED)
    assert "One line" not in shown and "A dog" not in shown and "Its name" not in shown
    assert "All there is" in shown and "    # why\n    return param" in shown
    assert "    @property\n    def name(self):\n        return" in shown
    exec(compile(shown, "<shown>", "exec"), found := {})
    assert found["rule"](2) == 2 and found["Dog"]().name == "Rex"
    chapter, workshop = cell("#| export", DOCUMENTED), cell("#| export", DOCUMENTED)
    translate(chapter, chapter=True)
    translate(workshop)
    assert chapter["source"].strip() == shown.strip() and "One line" in workshop["source"]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["#| code-fold: true", "x = 1"], "How this is computed"),
        (["#| code-fold: true", "#| code-summary: The data", "x = 1"], "The data"),
        (["#| code-fold: true", "#| fig-cap: See.", "x = 1"], "How this figure is drawn"),
        (["#| export", "import math", "from os import path"], "What is imported"),
    ],
)
def test_a_fold_says_what_is_in_it(lines, words):
    folded = cell(*lines)
    translate(folded, chapter=True)
    assert "hide-input" in folded["metadata"]["tags"]
    assert folded["metadata"]["mystnb"]["code_prompt_show"] == words
    assert folded["metadata"]["mystnb"]["code_prompt_hide"] == words


def test_what_is_not_shown_is_not_folded():
    for line in ("#| hide", "#| echo: false"):
        hidden = cell(line, "import math")
        translate(hidden, chapter=True)
        assert "hide-input" not in hidden["metadata"]["tags"]


def test_a_rule_and_a_symbol_stand_in_the_index_under_their_names():
    assert index("def adamw(param):\n    pass") == "```{index} ! single: AdamW\n```\n\n"
    assert index("def rmsprop_momentum(param): ...").count("! single:") == 2
    assert index("def other(param): ...") == ""
    assert letters(r"\beta_{2}") == {"β", "β2", "β₂"} and letters(r"\hat{v}_{t}") == {"v\u0302"}
    assert letters(r"\Delta_{t}") == {"Δ"} and letters(r"v^{\max}_{t}") == set()
