"""The built book in a real browser: every page, light and dark, wide and narrow."""

import base64
import functools
import gzip
import random
import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
#: What a page may load, compressed, before its reader does anything.
HEAVY = 1_500_000
pytestmark = pytest.mark.slow

FAULTS = """() => {
  const faults = [], text = document.querySelector("article")?.innerText ?? document.body.innerText;
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width)
    faults.push(`scrolls sideways: ${document.documentElement.scrollWidth} > ${width}`);
  if (/^#\\|/m.test(text)) faults.push("shows a directive line #|");
  for (const e of document.querySelectorAll("mjx-merror"))
    faults.push("broken mathematics: " + e.innerText);
  for (const e of document.querySelectorAll("article p, article td, article li"))
    if (/\\$[^$]*\\\\[a-z]/.test(e.innerText))
      faults.push("mathematics left as source: " + e.textContent);
  const typeset = e => e.querySelector("mjx-container");
  const math = [...document.querySelectorAll(".math")].filter(e => !typeset(e));
  if (math.length) faults.push("mathematics not typeset: " + math[0].innerText);
  for (const e of document.querySelectorAll(".in-the-library code"))
    if (!e.closest("a")) faults.push("no API entry for " + e.innerText);
  for (const e of document.querySelectorAll("article img"))
    if (!e.alt) faults.push("an image without alternative text: " + e.src);
  for (const e of document.querySelectorAll("article svg.figure"))
    if (!e.getAttribute("aria-label")) faults.push("a figure without alternative text");
  for (const e of document.querySelectorAll("article .live"))
    if (!e.checkVisibility({ visibilityProperty: true }))
      faults.push("a live figure that is folded away: " + e.localName);
  const ids = [...document.querySelectorAll("svg.figure [id]")].map(e => e.id);
  if (new Set(ids).size < ids.length) faults.push("figures share an id");
  return faults;
}"""

#: What a page owes its reader at a desk.
READABLE = """chapter => {
  const faults = [], seen = e => e.checkVisibility() && e.getClientRects().length;
  for (const e of document.querySelectorAll("div.cell pre"))
    if (seen(e) && e.scrollWidth > e.clientWidth + 1)
      faults.push("code or output that is cut off: " + e.innerText.slice(0, 80));
  for (const e of document.querySelectorAll("mjx-container[display]"))
    if (seen(e) && e.scrollWidth > e.clientWidth + 1)
      faults.push("an equation that is cut off: " + e.innerText.slice(0, 80));
  for (const e of document.querySelectorAll("div.cell:not(.tag_all-digits) div.cell_output"))
    for (const [number] of e.innerText.matchAll(/\\d+\\.\\d+/g))
      if (number.replace(".", "").replace(/^0+|0+$/g, "").length > 8)
        faults.push("more than eight digits, and no `#| digits: all`: " + number);
  if (!chapter) return faults;
  const figure = document.querySelector("article :is(svg.figure, img, adam-bench)");
  if (!figure || figure.getBoundingClientRect().top > 900 - 100)
    faults.push("no picture on the first screen");
  if (document.documentElement.scrollHeight > 20000) faults.push("higher than 20,000 pixels");
  return faults;
}"""


#: Axe leaves undecided whether text in a drawing, a sign or a single letter can be read. Here the
#: colour of the text, as it is seen through, is held against the nearest backgrounds behind it.
FAINT = """selectors => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parsed = color => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = color => color.map(x => x / 255)
    .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0.05);
  const faint = e => {
    const ancestors = [];
    for (let at = e; at; at = at.parentElement) ancestors.unshift(at);
    const styles = ancestors.map(at => getComputedStyle(at)), own = styles.at(-1);
    if (styles.some(s => s.backgroundImage !== "none")) return "on a picture or gradient";
    const behind = styles.map(s => parsed(s.backgroundColor))
      .reduce((under, top) => over(top, under), [255, 255, 255]);
    const drawn = e.closest("svg"), text = parsed(drawn ? own.fill : own.color);
    text[3] *= (drawn ? own.fillOpacity : 1) * styles.reduce((all, s) => all * s.opacity, 1);
    const [a, b] = [light(over(text, behind)), light(behind)].sort((a, b) => b - a), ratio = a / b;
    const size = parseFloat(own.fontSize), large = size >= (own.fontWeight >= 700 ? 18.6 : 24);
    return ratio < (large ? 3 : 4.5) && `has a contrast of ${ratio.toFixed(2)}`;
  };
  const found = selectors.map(s => document.querySelector(s)).filter(e => e?.textContent.trim());
  return found.map(e => [faint(e), e]).filter(([said]) => said)
    .map(([said, e]) => `text ${said}: ${e.outerHTML.slice(0, 200)}`);
}"""


#: The first three texts in each combination of colours, size and backgrounds are marked: a page of
#: code has thousands of words in a dozen colours, and axe takes a millisecond for each.
UNLIKE = """() => {
  const seen = new Map(), behind = new Map();
  const under = e => {
    if (!e) return "";
    if (!behind.has(e)) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
      const own = [backgroundColor, backgroundImage, opacity].join();
      behind.set(e, under(e.parentElement) + (own === "rgba(0, 0, 0, 0),none,1" ? "" : own + ";"));
    }
    return behind.get(e);
  };
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!text && !e.matches("input, select, textarea")) continue;
    const shown = e.checkVisibility({ visibilityProperty: true, opacityProperty: true });
    const { width, height } = e.getBoundingClientRect();
    if (!shown || width < 2 || height < 2 || e.closest(":disabled, [aria-disabled]")) continue;
    const { color, fill, fillOpacity, fontSize, fontWeight, textShadow } = getComputedStyle(e);
    const key = [under(e), color, fill, fillOpacity, fontSize, fontWeight, textShadow].join();
    seen.set(key, (seen.get(key) ?? 0) + 1);
    if (seen.get(key) <= 3) e.setAttribute("data-unlike", "");
  }
  return seen.size;
}"""


def axe(page, kind, values, include=None, **options):
    """What axe-core finds wrong, and where it cannot decide, by rules or by tags."""
    options |= {"runOnly": {"type": kind, "values": values}, "preload": False}
    options["resultTypes"] = ["violations", "incomplete"]
    context = {"include": [[include]]} if include else None
    found = Axe().run(page, context, options).response
    wrong = [
        f"{violation['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
    return wrong, [n["target"][0] for v in found["incomplete"] for n in v["nodes"]]


def unreadable(page):
    """Text whose contrast is too low."""
    if not page.evaluate(UNLIKE):
        return []
    wrong, undecided = axe(page, "rule", ["color-contrast"], "[data-unlike]")
    return wrong + page.evaluate(FAINT, undecided)


def barriers(page):
    """What else would keep a reader out: WCAG A and AA, and landmarks."""
    asked = {name: {"enabled": True} for name in ("label-content-name-mismatch", "region")}
    asked["color-contrast"] = {"enabled": False}
    return axe(page, "tag", WCAG, rules=asked)[0]


def is_chapter(name):
    """Whether a page is for readers, not one to look things up in or about how the book is made."""
    return not name.startswith(("nbs/workshop/", "nbs/appendix/"))


@functools.cache
def weight(url):
    """The bytes of a file, as a server sends it."""
    with urllib.request.urlopen(url) as answer:
        return len(gzip.compress(answer.read(), 6))


def too_heavy(urls):
    """What is wrong with the weight of a page that loaded some files: none or one sentence."""
    first = sorted(urls, key=weight, reverse=True)[:3]
    names = ", ".join(f"{url.rsplit('/', 1)[-1]} {weight(url) / 1e3:.0f} kB" for url in first)
    total = sum(map(weight, urls))
    return [f"loads {total / 1e6:.2f} MB: {names}"] if total > HEAVY else []


def faults(browser, address, names, scheme, width):
    """What is wrong with some pages: a list of sentences.

    Barriers that have nothing to do with colours are looked for at one scheme of each width.
    """
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found, now, loaded = [], "", set()

    def note(fault):
        found.append(f"{now}: {fault}")

    def console(message):
        if message.type in ("error", "warning"):
            note(f"console {message.type}: {message.text}")

    def request(asked):
        if not asked.url.startswith((address, "data:", "blob:")):
            note(f"asks another host: {asked.url}")

    def failed(asked):
        if asked.failure != "net::ERR_ABORTED":  # what was under way when we left the page
            note(f"request failed: {asked.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: note(f"error: {error}"))
    page.on("request", request)
    page.on("requestfailed", failed)

    def response(got):
        if got.status >= 400:
            note(f"status {got.status}: {got.url}")
        elif got.url.startswith(address):
            loaded.add(got.url.partition("#")[0])

    page.on("response", response)
    for now in names:
        loaded.clear()
        page.goto(f"{address}/{now}", wait_until="load")
        page.evaluate("() => window.MathJax?.startup?.promise")
        wide = page.evaluate(READABLE, is_chapter(now)) if width > 1000 else []
        whole = (width > 1000) == (scheme == "light")
        barred = barriers(page) if whole else axe(page, "rule", ["link-in-text-block"])[0]
        for fault in page.evaluate(FAULTS) + wide + barred + unreadable(page) + too_heavy(loaded):
            note(fault)
    page.close()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_every_page_is_whole(browser, served, book, scheme, width):
    names = sorted(str(p.relative_to(book)) for p in book.rglob("nbs/**/*.html"))
    assert len(names) >= 20
    found = faults(browser, served(book), names, scheme, width)
    assert not found, "\n".join(found)


def test_cells_of_the_book_run_where_they_are_read(browser, served, book):
    address, asked, complaints = served(book), [], []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/nbs/adam/adam.html", wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    assert not [url for url in asked if "pyodide" in url or "worker.js" in url]
    cells = page.locator(".live-cell")
    assert cells.count() == 2
    for cell in cells.all():
        output = cell.locator(".cell_output")
        built = output.inner_text().split()
        cell.get_by_role("button", name="Run").click()
        cell.get_by_role("status").filter(has_text="Done.").wait_for(timeout=60_000)
        assert built and output.inner_text().split() == built
    page.wait_for_selector(".live-cell .cell_output .math mjx-container")
    assert [url for url in asked if "pyodide" in url] and complaints == [] == barriers(
        page
    ) + unreadable(page)
    assert all(url.startswith((address, "data:", "blob:")) for url in asked)
    page.close()


def cell(content):
    return f"<main><div class='cell'>{content}</div></main>"


BROKEN = {
    "an external script": "<script src='http://127.0.0.2:9/x.js'></script>",
    "a missing file": "<img src='nowhere.png' alt='x'>",
    "an error": "<script>throw new Error('x')</script>",
    "a complaint": "<script>console.warn('x')</script>",
    "no alternative text": "<article><svg class='figure'></svg></article>",
    "a folded live figure": "<article><b class='live' style='visibility:hidden'></b></article>",
    "no label": "<input type='text'>",
    "faint text": "<main><p style='color:#aaa'>hardly</p></main>",
    "faint text among clear": "<main><p>clear</p><p style='color:#aaa'>hardly</p></main>",
    "faint text after hidden": "<style>p, button { color: #aaa }</style><main><p hidden>x</p>"
    "<p style='visibility:hidden'>x</p><p style='position:absolute;width:1px;height:1px'>x</p>"
    "<button disabled>x</button><p>hardly</p></main>",
    "text on dark": "<main><p>clear</p><div style='background:#333'><p>hardly</p></div></main>",
    "faint text in a field": "<main><input aria-label='y' value='z' style='color:#aaa'></main>",
    "faint text in a drawing": "<main><svg><text y='20' fill='#aaa'>hardly</text></svg></main>",
    "drawn text seen through": "<main><svg><text y='20' opacity='.4'>hardly</text></svg></main>",
    "text on a gradient": "<main><p style='background: linear-gradient(#fff, #000)'>x y</p></main>",
    "outside a landmark": "<p>alone</p>",
    "another name": "<main><button aria-label='Go'>Search</button></main>",
    "no API entry": "<div class='in-the-library'><code>adam</code></div>",
    "raw mathematics": "<span class='math'>\\(x\\)</span>",
    "mathematics left as source": "<article><p>$\\hat{m}$ is the first</p></article>",
    "a directive": "<article><pre>#| export</pre></article>",
    "a page too wide": "<div style='width:3000px'>x</div>",
    "code cut off": cell(f"<pre style='overflow: auto' tabindex=0>{'x' * 999}</pre>"),
    "sixteen digits": cell("<div class='cell_output'>0.1507938500783320</div>"),
    "too heavy": "<script src='heavy.js'></script>",
    "a page too high": "<div style='height:20001px'></div>",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_page_is_found_out(browser, served, tmp_path, fault):
    whole = "<!doctype html><html lang='en'><title>x</title><link rel='icon' href='data:,'>"
    picture = "<main><article><svg class='figure' role='img' aria-label='y'></svg></article></main>"
    (tmp_path / "whole.html").write_text(whole + picture)
    (tmp_path / "broken.html").write_text(whole + picture + BROKEN[fault])
    (tmp_path / "plain.html").write_text(whole)
    noise = base64.b64encode(random.Random(1).randbytes(2_000_000)).decode()
    (tmp_path / "heavy.js").write_text(f"// {noise}")
    address = served(tmp_path)
    assert faults(browser, address, ["whole.html"], "light", 1280) == []
    assert faults(browser, address, ["broken.html"], "light", 1280)
    assert faults(browser, address, ["plain.html"], "light", 1280) == [
        "plain.html: no picture on the first screen"
    ]
