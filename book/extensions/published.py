"""What only the published book needs, for links to it and for search engines.

Every page says in Open Graph's words what it is; there is a picture for that, a map of the site,
and a page for addresses that lead nowhere.
"""

import html
import re
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from docutils import nodes

sys.path.append(str(Path(__file__).resolve().parents[1]))

CARD = "_static/card.png"
ALT = "The paths of five optimizers down a narrow valley"
LOST = """<h1>This page is not here</h1>
<p>The address that you followed leads to no page of this book; perhaps it did once.
<a href="{home}">Start here</a>, or look for it in the <a href="search.html">search</a>, among
<a href="nbs/appendix/catalogue.html">all rules</a>, or in the
<a href="nbs/appendix/api.html">reference of the library</a>.</p>"""


def described(doctree):
    """What a page is about: the line below its title, or its first paragraph."""
    quoted = next(doctree.findall(nodes.block_quote), None)
    first = next((quoted or doctree).findall(nodes.paragraph), None)
    text = " ".join(first.astext().split()) if first else ""
    return text if len(text) <= 200 else f"{text[:200].rsplit(' ', 1)[0]} …"


def open_graph(app, page, template, context, doctree):
    """Sphinx's `html-page-context`: what a page is, where it is, and a picture."""
    if page == "404":  # the addresses on it hold wherever the missing page was to be
        context["metatags"] = f'<base href="{urlsplit(app.config.html_baseurl).path}">'
    if doctree is None:
        return
    address = urljoin(app.config.html_baseurl, app.builder.get_target_uri(page))
    said = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": html.unescape(re.sub("<.*?>", "", context["title"])),
        "og:description": described(doctree),
        "og:url": address,
        "og:image": urljoin(app.config.html_baseurl, CARD),
        "og:image:alt": ALT,
    }
    tags = [f'<meta property="{k}" content="{html.escape(v)}">' for k, v in said.items()]
    tags.append(f'<meta name="description" content="{html.escape(said["og:description"])}">')
    tags.append('<meta name="twitter:card" content="summary_large_image">')
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])


def lost(app):
    """Sphinx's `html-collect-pages`: the page for addresses that lead nowhere."""
    home = app.builder.get_target_uri(app.config.root_doc)
    yield "404", {"title": "Not here", "body": LOST.format(home=home)}, "page.html"


def site(app, error):
    """Write the picture, the map of the site, and where search engines find it."""
    if error or app.builder.format != "html":
        return
    from picture import draw

    figure, out, base = draw(), Path(app.outdir), app.config.html_baseurl
    figure.set_size_inches(8, 4.2)
    figure.savefig(out / CARD, dpi=150, facecolor="white", metadata={"Software": None})
    start = app.builder.get_target_uri(app.config.root_doc)
    said = re.findall(r"<meta property=.*>", (out / start).read_text("utf-8"))
    lines = ["<!doctype html>", *said, f'<meta http-equiv="refresh" content="0; url={start}">']
    (out / "index.html").write_text("\n".join(lines), "utf-8")  # it leads to the first page
    addresses = [urljoin(base, app.builder.get_target_uri(d)) for d in sorted(app.env.found_docs)]
    urls = "".join(f"<url><loc>{html.escape(address)}</loc></url>\n" for address in addresses)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    sitemap = f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="{space}">\n{urls}</urlset>\n'
    (out / "sitemap.xml").write_text(sitemap, "utf-8")
    (out / "robots.txt").write_text(f"User-agent: *\nSitemap: {urljoin(base, 'sitemap.xml')}\n")


def setup(app):
    app.connect("html-page-context", open_graph)
    app.connect("html-collect-pages", lost)
    app.connect("build-finished", site, priority=900)  # after the index of the table of contents
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
