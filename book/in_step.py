"""Write the library from the notebooks, and clean them; fail if that changed a file.

With `--write`, changing files is what it is for. Every notebook with code gets the same first
code cell, which installs the library where a notebook runs in Colab or Binder. The package
`adam_nbdev.rules` collects the rules of all chapters, in the order of the table of contents.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
FIRST = ROOT / "book" / "first_cell.py"
RULES = ROOT / "adam_nbdev" / "rules"
COLLECTED = '''\
"""Every rule of the book by its name, in the order in which the book meets them"""

# Written by `make export` from the table of contents. DO NOT EDIT!
{imports}

#: Every rule of the book by its name.
RULES = {{
    rule.__name__: rule
    for rule in (
        {names},
    )
}}
__all__ = ["RULES", *RULES]
'''


def contents():
    """The bytes of every notebook and every generated file."""
    files = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("adam_nbdev/**/*.py")]
    return {f.relative_to(ROOT): f.read_bytes() for f in files if "checkpoints" not in str(f)}


def with_first_cell(notebook):
    """The notebook with the first cell as it is to be."""
    cells = [cell for cell in notebook["cells"] if cell.get("id") != "install"]
    if any(cell["cell_type"] == "code" for cell in cells):
        first = {"cell_type": "code", "execution_count": None, "id": "install"}
        lines = FIRST.read_text(encoding="utf-8").strip().splitlines(keepends=True)
        cells.insert(1, {**first, "metadata": {}, "outputs": [], "source": lines})
    return {**notebook, "cells": cells}


def collected():
    """The source of `adam_nbdev.rules`: what every chapter says of its rules."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    imports, names = [], []
    for page in filter(Path.exists, (ROOT / f"{chapter}.ipynb" for chapter in chapters)):
        text = page.read_text(encoding="utf-8")
        if module := re.search(r'"#\| default_exp rules\.(_\w+)', text):
            source = (RULES / f"{module[1]}.py").read_text(encoding="utf-8")
            found = [n.name for n in ast.parse(source).body if is_rule(n)]
            imports.append(f"from .{module[1]} import {', '.join(found)}")
            names += found
    return COLLECTED.format(imports="\n".join(imports), names=",\n        ".join(names))


def is_rule(node):
    """Whether a statement defines a function whose parameters begin as those of a rule."""
    arguments = [a.arg for a in node.args.args] if isinstance(node, ast.FunctionDef) else []
    return arguments[:2] == ["param", "grad"] and "step" in arguments


def unmerged(notebook):
    """Whether a merge left both sides of a cell in the notebook, for a person to choose."""
    return any("".join(cell["source"]).startswith("`<<<<<<< ") for cell in notebook["cells"])


def main(write):
    before, programs = contents(), Path(sys.executable).parent
    for file in before:
        if file.suffix == ".ipynb":
            notebook = with_first_cell(json.loads((ROOT / file).read_text(encoding="utf-8")))
            if unmerged(notebook):
                sys.exit(f"{file} is not merged yet: keep one side at each cell `<<<<<<<`")
            text = json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
            (ROOT / file).write_text(text, encoding="utf-8")
    for command in ("nbdev_export", "nbdev_clean"):
        subprocess.run([programs / command], cwd=ROOT, check=True)
    (RULES / "__init__.py").write_text(collected(), encoding="utf-8")
    after = contents()
    changed = sorted(str(f) for f in before.keys() | after.keys() if before.get(f) != after.get(f))
    if changed and not write:
        sys.exit(f"out of step and now written anew, look and commit: {', '.join(changed)}")


if __name__ == "__main__":
    main(write="--write" in sys.argv[1:])
