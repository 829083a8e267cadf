"""Write the library from the notebooks, and clean them; fail if that changed a file.

With `--write`, changing files is what it is for. Every notebook with code gets the same first
code cell, which installs the library where a notebook runs in Colab or Binder.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST = ROOT / "book" / "first_cell.py"


def contents():
    """The bytes of every notebook and every generated file."""
    files = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("adam_nbdev/*.py")]
    return {f.relative_to(ROOT): f.read_bytes() for f in files if "checkpoints" not in str(f)}


def with_first_cell(notebook):
    """The notebook with the first cell as it is to be."""
    cells = [cell for cell in notebook["cells"] if cell.get("id") != "install"]
    if any(cell["cell_type"] == "code" for cell in cells):
        first = {"cell_type": "code", "execution_count": None, "id": "install"}
        lines = FIRST.read_text(encoding="utf-8").strip().splitlines(keepends=True)
        cells.insert(1, {**first, "metadata": {}, "outputs": [], "source": lines})
    return {**notebook, "cells": cells}


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
    after = contents()
    changed = sorted(str(f) for f in before.keys() | after.keys() if before.get(f) != after.get(f))
    if changed and not write:
        sys.exit(f"out of step and now written anew, look and commit: {', '.join(changed)}")


if __name__ == "__main__":
    main(write="--write" in sys.argv[1:])
