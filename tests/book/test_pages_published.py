"""What the built book needs on the web: cards of its pages, a map, a page for the lost."""

import re
import struct
from html.parser import HTMLParser
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from fontTools.ttLib import TTFont

HOME = "https://adam-nbdev.github.io/adam_nbdev/"
pytestmark = pytest.mark.slow


class Head(HTMLParser):
    """The properties that a page says of itself."""

    def __init__(self, page):
        super().__init__()
        self.said = {}
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "meta" and (name := found.get("property") or found.get("name")):
            self.said[name] = found["content"]
        elif tag == "link" and found.get("rel") == "canonical":
            self.said["canonical"] = found["href"]


@pytest.fixture(scope="module")
def pages(book):
    return sorted(str(page.relative_to(book)) for page in book.rglob("nbs/**/*.html"))


def test_every_page_says_what_it_is_and_where(book, pages):
    seen = {}
    for page in pages:
        said = Head(book / page).said
        assert said["og:url"] == said["canonical"] == HOME + page
        assert said["og:title"] and 15 < len(said["og:description"]) <= 202, page
        assert said["description"] == said["og:description"]
        assert (book / said["og:image"].removeprefix(HOME)).exists() and said["og:image:alt"]
        seen[page] = said
    assert Head(book / "index.html").said["og:title"] == seen["nbs/index.html"]["og:title"]
    bias = seen["nbs/adam/bias.html"]
    assert bias["og:title"] == "Bias correction" and bias["og:site_name"] == "Adam"
    assert bias["og:description"].startswith("Why the averages are divided")


def test_the_card_is_a_picture_of_the_size_that_sites_want(book):
    data = (book / "_static/card.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (1200, 630)
    assert len(data) < 300_000


def test_the_map_of_the_site_names_every_page(book, pages):
    root = ElementTree.parse(book / "sitemap.xml").getroot()
    named = [place.text for place in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert sorted(named) == [HOME + page for page in pages]
    assert f"Sitemap: {HOME}sitemap.xml" in (book / "robots.txt").read_text()


@pytest.mark.parametrize("missing", ["nowhere.html", "nbs/adam/nowhere", "a/b/c/d.html"])
def test_a_missing_page_leads_back(browser, served, book, tmp_path, missing):
    (tmp_path / "adam_nbdev").symlink_to(book)
    address, page = served(tmp_path), browser.new_page()
    lost = (book / "404.html").read_text(encoding="utf-8")
    asked = f"{address}/adam_nbdev/{missing}"
    page.route(asked, lambda route: route.fulfill(status=404, body=lost, content_type="text/html"))
    failed = []
    page.on("requestfailed", lambda r: failed.append(r.url))
    page.on("response", lambda r: r.status >= 400 and r.url != asked and failed.append(r.url))
    page.goto(asked, wait_until="networkidle")
    links = page.evaluate("[...document.querySelectorAll('article a[href]')].map(a => a.href)")
    local = {urlsplit(link).path for link in links if link.startswith(address)}
    assert len(local) >= 4 and all((tmp_path / path.lstrip("/")).is_file() for path in local)
    page.locator("article a", has_text="Start here").click()
    page.wait_for_url("**/adam_nbdev/nbs/index.html")
    page.close()
    assert not failed


def test_every_icon_of_a_page_is_in_the_fonts_that_are_left(book, pages):
    (vendor,) = book.glob("_static/vendor/fontawesome/*")
    style = (vendor / "css/all.min.css").read_text(encoding="utf-8")
    fonts = {name: TTFont(vendor / f"webfonts/{file}.ttf").getBestCmap() for name, file in FONTS}
    used = set()
    for page in [*pages, "search.html"]:
        text = (book / page).read_text(encoding="utf-8")
        assert "fa-solid-900.woff2" not in text and "all.min.js" not in text
        used |= set(re.findall(r"\b(fas|far|fab|fa-solid|fa-regular|fa-brands) (fa-[\w-]+)", text))
    assert len(used) > 10
    for kind, icon in used - {(kind, "fa-lg") for kind, _ in FONTS}:
        code = re.search(rf"\.{icon}:before[^{{]*{{content:\"\\([\da-f]+)", style)
        assert code and int(code[1], 16) in fonts[kind], (kind, icon)


FONTS = [("fas", "fa-solid-900"), ("fa-solid", "fa-solid-900"), ("far", "fa-regular-400")]
FONTS += [
    ("fa-regular", "fa-regular-400"),
    ("fab", "fa-brands-400"),
    ("fa-brands", "fa-brands-400"),
]
