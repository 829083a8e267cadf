"""A book that asks no other host for anything: MathJax is served with it, thebe is left out."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

from sphinx_proof.domain import ProofDomain

MATHJAX = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts")


def copy_mathjax(app, error):
    """Copy what MathJax loads for TeX input and HTML output."""
    if error or app.builder.format != "html":
        return
    package = distribution("sphinx-mathjax-offline")
    source = Path(package.locate_file("sphinx-mathjax-offline/static/mathjax"))
    target = Path(app.outdir, "_static/mathjax")
    for part in MATHJAX:
        if (target / part).exists():
            continue
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (source / part).is_dir() else shutil.copy
        copy(source / part, target / part)


def without_thebe(app, config):
    """Disconnect the handlers of sphinx-thebe that put a remote address on the pages."""
    remote = ("init_thebe_core", "update_thebe_context")
    for listeners in app.events.listeners.values():
        for listener in [*listeners]:
            handler = listener.handler
            if handler.__module__ == "sphinx_thebe" and handler.__name__ in remote:
                listeners.remove(listener)


def mark_parallel_safe(app, config):
    """These extensions keep no state between documents but do not say so."""
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True


def mark_proofs_parallel_safe(app, config):
    """Its domain keeps no data of its own to merge, but does not say so."""
    ProofDomain.merge_domaindata = lambda self, docnames, otherdata: None


def setup(app):
    app.connect("config-inited", mark_parallel_safe)
    app.connect("config-inited", mark_proofs_parallel_safe)
    app.connect("config-inited", without_thebe)
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
