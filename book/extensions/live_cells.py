"""Cells that run where they are read: Python for the browser, served with the book.

A cell with the directive `#| live: true` is an ordinary cell of its notebook. On its page the
reader can change it and run it again; `book/cell` has what the page needs for that. Python itself
is Pyodide, which npm brings; a book that is built without npm has the cells, and a sentence in
place of what they would compute.
"""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util import logging

from adam_nbdev.extras import cache_folder

log = logging.getLogger(__name__)
FILES = Path(__file__).resolve().parents[1] / "cell"
VERSION = "314.0.7"
#: Of the package, as npm shows it: `npm view pyodide@VERSION dist.integrity`.
SHA512 = "0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
CORE = "pyodide.mjs pyodide.asm.mjs pyodide.asm.wasm python_stdlib.zip pyodide-lock.json".split()
#: What of the library needs plain Python only.
PLAIN = (
    "__init__.py",
    "extras.py",
    "language/*.py",
    "readers/*.py",
    "rules/*.py",
    "lab/__init__.py",
    "lab/cell.py",
    "lab/walk.py",
)


def packed():
    """The package as npm brings it, in bytes; `OSError` if it brings none, or another one."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"pyodide@{VERSION}", "--pack-destination", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        files = list(Path(folder).glob("*.tgz"))
        if done.returncode or not files:
            raise OSError(f"npm does not bring pyodide {VERSION}: {done.stderr.strip()[-300:]}")
        content = files[0].read_bytes()
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise OSError(
            f"what npm brings as pyodide {VERSION} has another hash than the one we trust"
        )
    return content


def pyodide():
    """The folder with Pyodide's core, fetched once."""
    folder = cache_folder("ADAM_NBDEV_PYODIDE", "pyodide") / VERSION
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            core = Path(made, "core")
            core.mkdir()
            with tarfile.open(fileobj=io.BytesIO(packed())) as package:
                for name in CORE:
                    (core / name).write_bytes(package.extractfile(f"package/{name}").read())
            core.rename(folder)
    return folder


def library(file):
    """Write the floors of the library that need plain Python only, as a zip."""
    root = Path(find_spec("adam_nbdev").origin).parent
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for pattern in PLAIN for path in root.glob(pattern)):
            packed.write(path, path.relative_to(root.parent))


def install(folder):
    """Put into a folder all that a page with live cells asks for; `OSError` without Pyodide."""
    shutil.copytree(FILES, folder, dirs_exist_ok=True)
    library(Path(folder, "library.zip"))
    shutil.copytree(pyodide(), Path(folder, "pyodide"), dirs_exist_ok=True)


def serve(app, error):
    """Sphinx's `build-finished`: what the cells need, beside the pages."""
    if error or app.builder.format != "html":
        return
    try:
        install(Path(app.outdir, "_static/cell"))
    except OSError as problem:
        if os.environ.get("CI"):
            raise ExtensionError(f"the cells of the book cannot run: {problem}") from problem
        log.info(f"The cells of the book will not run in the page: {problem}")


def add_script(app, pagename, templatename, context, doctree):
    """Sphinx's `html-page-context`: the script and the style, on the pages that have such cells."""
    if "tag_live" in context.get("body", ""):
        app.add_js_file("cell/cell.js", loading_method="defer")
        app.add_css_file("cell/cell.css")


def setup(app):
    app.connect("html-page-context", add_script)
    app.connect("build-finished", serve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
