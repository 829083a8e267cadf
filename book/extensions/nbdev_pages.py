"""Notebooks of nbdev as pages of the book.

The lines `#| ...` of a cell are read, turned into what MyST-NB understands, and removed; every
exported cell gets the target `cell-<id>`; figures are inlined as SVG so that they take the ink of
the page; every entry of the API page links to the cell that defines it, and the cell to the entry.
On the pages of a chapter functions stand without their docstrings, which the API page has, and
imports are folded.
"""

import ast
import html
import json
import re
from importlib.util import find_spec
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.index_entries import split_index_msg

from adam_nbdev.language.catalogue import ENTRIES
from adam_nbdev.rules import RULES

log = logging.getLogger(__name__)
TAGS = {
    "hide": "remove-cell",
    "default_exp": "remove-cell",
    "include: false": "remove-cell",
    "echo: false": "remove-input",
    "code-fold: true": "hide-input",
    "eval: false": "skip-execution",
    "export": "exported",
    "exports": "exported",
    "digits: all": "all-digits",
    "live: true": "live",
}
#: Chapters have their contents beside them; the workshop's code takes that room.
CONTENTS = {"nbs/[!w]**": ["page-toc.html"], "nbs/workshop/**": []}
NOTATION = "nbs/appendix/notation"
MODULES = re.compile(r"<!-- modules: (.*) -->")
LINK = "{{py:obj}}`{1} <adam_nbdev.{0}.{1}>`"
DEFINITION = re.compile(r"^# %% (?:\.\./)*(\S+)\.ipynb #(\S+)$")


def directives(source):
    """Split the source of a cell into its directives and its code."""
    lines = source.splitlines(keepends=True)
    found = [line[2:].strip() for line in lines if line.startswith("#|")]
    return found, "".join(line for line in lines if not line.startswith("#|"))


def without_docstrings(code):
    """Code whose functions have no docstrings, if it is more than a docstring that they have."""
    lines = code.splitlines(keepends=True)
    kinds = ast.FunctionDef, ast.ClassDef
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, kinds) and ast.get_docstring(node) and len(node.body) > 1:
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno
            last += not lines[last].strip()  # the empty line below it
            lines[first:last] = [""] * (last - first)
    return "".join(lines)


def only_imports(code):
    """Whether some code does nothing but import."""
    statements = ast.parse(code).body
    return bool(statements) and all(isinstance(s, (ast.Import, ast.ImportFrom)) for s in statements)


def in_words(display, code):
    """What is written on the fold of a cell."""
    if "code-summary" in display:
        return display["code-summary"]
    if only_imports(code):
        return "What is imported"
    return "How this figure is drawn" if "fig-cap" in display else "How this is computed"


def translate(cell, chapter=False):
    """Turn the directives of a code cell into its metadata; return the targets it is to have."""
    found, cell["source"] = directives("".join(cell["source"]))
    tags, display, targets = cell["metadata"].setdefault("tags", []), {}, []
    for directive in found:
        word, _, text = directive.partition(" ")
        if word in ("label:", "fig-cap:", "fig-alt:", "code-summary:") and text.strip():
            quoted = text.strip()[:1] == '"'  # as nbdev wants it where there is a colon
            display[word[:-1]] = yaml.safe_load(text) if quoted else text.strip()
        elif tag := TAGS.get(directive, word == "default_exp" and TAGS[word]):
            tags.append(tag)
        else:
            raise ExtensionError(f"cell {cell['id']}: unknown directive '#| {directive}'")
    if "exported" in tags:
        targets.append(f"cell-{cell['id']}")
    figure = {"caption": display["fig-cap"]} if "fig-cap" in display else {}
    if figure and "label" in display:
        figure["name"] = display["label"]
    elif "label" in display:
        targets.append(display["label"])
    shown = {}
    if figure or "fig-alt" in display:
        shown["image"] = {"alt": display["fig-alt"]} if "fig-alt" in display else {}
    if figure:
        shown["figure"] = figure
    if chapter and not {"remove-cell", "remove-input"} & set(tags):
        cell["source"] = without_docstrings(cell["source"])
        if only_imports(cell["source"]):
            tags.append("hide-input")
    if "hide-input" in tags:
        words = in_words(display, cell["source"])
        shown |= {"code_prompt_show": words, "code_prompt_hide": words}
    if shown:
        cell["metadata"]["mystnb"] = shown
    return targets


def read_page(app, docname, source):
    """Sphinx's `source-read`: a notebook, its directives translated; the modules, listed."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = MODULES.sub(
            lambda rooms: api(Path(app.srcdir), rooms[1].split(", ")), source[0]
        )
        return
    notebook, cells = json.loads(source[0]), []
    module = re.search(r'"#\| default_exp ([\w.]+)', source[0])
    for cell in notebook["cells"]:
        targets, whole = [], "".join(cell["source"])
        if cell["cell_type"] == "code":
            try:
                targets = translate(cell, chapter="/workshop/" not in f"/{docname}")
            except ExtensionError as error:
                raise ExtensionError(f"{docname}: {error}") from None
        if targets:
            text = index(cell["source"]) + "\n".join(f"({target})=" for target in targets) + "\n"
            cells.append(markdown(f"at-{cell['id']}", text))
        cells.append(cell)
        if module and "exported" in cell["metadata"].get("tags", []):
            links = [LINK.format(module[1], name) for name in public(directives(whole)[1])]
            if links:
                text = f"```{{div}} in-the-library\nIn the library: {', '.join(links)}\n```"
                cells.append(markdown(f"api-{cell['id']}", text))
    source[0] = json.dumps({**notebook, "cells": cells})


def markdown(name, text):
    return {"cell_type": "markdown", "metadata": {}, "id": name, "source": text}


def index(code):
    """What the index of the book, and so its search, has of the rules that some code defines."""
    rules = [name for name in re.findall(r"^def (\w+)", code, flags=re.MULTILINE) if name in RULES]
    words = {w.lower(): w for name in rules for w in (name, ENTRIES[name].label)}.values()
    return "".join(f"```{{index}} ! single: {word}\n```\n\n" for word in words)


def public(code):
    """The functions and classes with a docstring that some code defines for the library's users.

    A function that `patch_to` makes a method is `Class.method`; what a compiler makes of a
    decorated function is no function, and has no entry.
    """
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [n for n in ast.parse(code).body if isinstance(n, kinds) and ast.get_docstring(n)]
    names = []
    for node in found:
        decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
        patched = [d[len("patch_to(") : -1] for d in decorators if d.startswith("patch_to(")]
        compiled = any(
            "intrinsic" in d or d.startswith("_") or d == "triton.jit" for d in decorators
        )
        if not node.name.startswith("_") and not compiled:
            names.append(".".join([*patched, node.name]))
    return names


def api(root, rooms):
    """A section for each module of some rooms, in the order of the table of contents."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    entries = [e for chapter in chapters for e in (chapter, *chapter.get("sections", ()))]
    pages = [root / f"{entry['file']}.ipynb" for entry in entries]
    texts = [page.read_text(encoding="utf-8") for page in pages if page.exists()]
    modules = [m for text in texts for m in re.findall(r'"#\| default_exp ([\w.]+)', text)]
    section = "## {0}\n\n```{{eval-rst}}\n.. automodule:: adam_nbdev.{0}\n   :members:\n```\n"
    return "\n".join(section.format(m) for m in modules if m.partition(".")[0] in rooms)


def inline(svg, alt, prefix):
    """An SVG file as a part of the page: named, scalable, in the page's ink, its ids its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = svg.replace("#1a1a1a", "currentColor")
    width = re.search(r'width="([\d.]+)pt"', svg[: svg.index(">")])
    size = f' style="width:{float(width[1]) * 4 / 3:.0f}px"' if width else ""
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    label = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg class="figure" role="img" aria-label="{label}"{size}', 1)


def inline_figures(app, doctree):
    """Sphinx's `doctree-read`: every SVG that a cell made becomes a part of its page."""
    for number, image in enumerate([*doctree.findall(nodes.image)]):
        alt = image.get("alt", "").strip()
        if not alt:
            log.warning("a figure without alternative text", location=image)
        path = Path(app.srcdir, app.env.docname).parent / image["uri"]
        if image["uri"].startswith("/"):
            path = Path(app.srcdir, image["uri"].lstrip("/"))
        if path.suffix == ".svg" and app.builder.format == "html":
            svg = inline(path.read_text(encoding="utf-8"), alt, f"fig{number}")
            image.replace_self(nodes.raw("", svg, format="html"))


def letters(latex):
    """The letter of a symbol as one types it, with its number: `β`, `β₂` and `β2`; `v̂`."""
    if hat := re.fullmatch(r"\\hat\{(\w)\}_\{t\}", latex):
        return {f"{hat[1]}\u0302"}
    found = re.fullmatch(r"(\\?)(\w+?)(?:_\{(\d)\}|_\{t\})?", latex)
    if not found:
        return set()
    letter = html.unescape(f"&{found[2]};") if found[1] else found[2]
    number = found[3] and {letter + found[3], letter + chr(ord("₀") + int(found[3]))}
    return {letter, *(number or ())}


class Symbols(SphinxTransform):
    """Every symbol of the table of notation stands in the index, and so in the search."""

    default_priority = 800  # before the index is collected

    def apply(self):
        rows = self.document.findall(nodes.row) if self.env.docname == NOTATION else ()
        for number, row in enumerate(rows):
            symbol = next(row[0].findall(nodes.math), None)
            if symbol:
                row["ids"].append(f"symbol-{number}")
                words = {row[1].astext(), *letters(symbol.astext())}
                entries = [("single", word, row["ids"][0], "main", None) for word in sorted(words)]
                row[2].insert(0, addnodes.index(entries=entries))


def definitions(module):
    """For each top-level name of a generated module, the notebook and the cell it stands in."""
    found, place = {}, None
    for line in Path(find_spec(module).origin).read_text(encoding="utf-8").splitlines():
        if match := DEFINITION.match(line):
            place = match.groups()
        elif place and (match := re.match(r"(?:def|class) (\w+)", line)):
            found[match[1]] = place
    return found


def linkcode_resolve(domain, info):
    """The page and the cell of an API entry, for `sphinx.ext.linkcode`."""
    name = info.get("fullname", "").partition(".")[0]
    place = definitions(info["module"]).get(name) if info.get("module") else None
    if place is None:
        return None
    page, cell = place
    return f"../../../{page}.html#cell-{cell}"


def whole_index(app):
    """Sphinx's `html-collect-pages`: the search is told of the index of pages built earlier too."""
    for page, entries in app.env.get_domain("index").entries.items():
        words = {(w, i, m) for kind, text, i, m, _ in entries for w in split_index_msg(kind, text)}
        app.builder.indexer._index_entries[page] = sorted(words)
    return []


def configure(app, config):
    """Sphinx's `config-inited`: what Jupyter Book's own configuration has no words for."""
    config.linkcode_resolve = linkcode_resolve
    config.html_theme_options["secondary_sidebar_items"] = CONTENTS


def setup(app):
    app.setup_extension("sphinx.ext.linkcode")
    app.add_transform(Symbols)
    app.connect("html-collect-pages", whole_index)
    app.connect("config-inited", configure, 1)
    app.connect("source-read", read_page)
    app.connect("doctree-read", inline_figures, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
