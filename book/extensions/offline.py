"""A book that asks no other host for anything, and little of its own.

MathJax is served with it, thebe is left out, and of Font Awesome the pages load the few icons that
they show: the theme's script of all icons and its fonts are two thirds of a page else.
"""

import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

from fontTools import subset
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


#: What the pages load of Font Awesome beside its style: fonts before they are asked for, a script.
ICONS = re.compile(
    r"\s*<(?:link|script)\b[^>]*/fontawesome/[^>]*\.(?:woff2|js\b)[^>]*>(?:</script>)?"
)
ICON = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([\da-f]+)"\}')


def trim_icons(app, error):
    """Leave of Font Awesome what the pages, scripts and styles of the book use."""
    if error or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    (vendor,) = static.glob("vendor/fontawesome/*")
    pages = [page for page in Path(app.outdir).rglob("*.html") if static not in page.parents]
    texts = {file: file.read_text("utf-8") for file in [*pages, *static.glob("scripts/*.js")]}
    names = {name for text in texts.values() for name in re.findall(r"\bfa-[a-z-]+", text)}
    codes = set()
    for style in [*static.glob("*.css"), *static.glob("styles/*.css")]:
        codes |= set(re.findall(r'content: ?"\\([\da-f]+)"', style.read_text("utf-8")))

    def keep(rule):
        kept = names & set(re.findall(r"fa-[\w-]+", rule[1]))
        codes.update([rule[2]] if kept else [])
        return rule[0] if kept else ""

    style = vendor / "css/all.min.css"
    text = ICON.sub(keep, style.read_text("utf-8"))
    style.write_text(re.sub(r'url\([^)]*\.woff2\) format\("woff2"\),', "", text), "utf-8")
    for font in vendor.glob("webfonts/*.ttf"):
        options = subset.Options(notdef_outline=True)
        with subset.load_font(font, options) as loaded:
            kept = subset.Subsetter(options)
            kept.populate(unicodes=[int(code, 16) for code in codes])
            kept.subset(loaded)
            loaded.save(font)
    for page in pages:
        if (trimmed := ICONS.sub("", texts[page])) != texts[page]:
            page.write_text(trimmed, "utf-8")
    for file in [*vendor.glob("js/*.js"), *vendor.glob("webfonts/*.woff2")]:
        file.unlink()


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
    app.connect("build-finished", trim_icons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
