"""Print the built book as one PDF, in the order of the table of contents: _build/adam.pdf.

A browser puts the articles of all pages one after the other on one page, so that a link from
chapter to chapter leads there in the PDF too, pages are numbered through, and the headings are its
outline. What the PDF does not have is linked to the published book.
"""

import functools
import http.server
import re
import shutil
import sys
import threading
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "_build/html"
PAPER = {"top": "18mm", "bottom": "20mm", "left": "20mm", "right": "20mm"}
FOOT = '<p style="width:100%;text-align:center;font:8pt serif"><span class="pageNumber"></span></p>'

JOIN = """async ([names, home, name]) => {
  const addresses = names.map(name => new URL(`/${name}.html`, location).href);
  const chapter = address => addresses.indexOf(address.split("#")[0]);
  const body = document.querySelector("article.bd-article"), scripts = [];
  body.replaceChildren();
  for (const [n, address] of addresses.entries()) {
    const text = await (await fetch(address)).text();
    const page = new DOMParser().parseFromString(text, "text/html").querySelector("article");
    const made = document.createElement("section");
    made.id = `c${n}`;
    made.className = "printed-chapter";
    for (const e of page.querySelectorAll("[id]")) e.id = `c${n}-${e.id}`;
    for (const e of page.querySelectorAll("svg *"))
      for (const a of [...e.attributes])
        if (/^#|url\\(#/.test(a.value)) a.value = a.value.replace(/#/g, `#c${n}-`);
    for (const e of page.querySelectorAll("a[href]")) {
      const to = new URL(e.getAttribute("href"), address), m = chapter(to.href);
      const id = to.hash ? "-" + decodeURIComponent(to.hash.slice(1)) : "";
      if (m >= 0) e.setAttribute("href", `#c${m}${id}`);
      else e.href = to.href.replace(location.origin + "/", home);
    }
    for (const e of page.querySelectorAll("img[src]"))
      e.src = new URL(e.getAttribute("src"), address);
    page.querySelectorAll(".headerlink").forEach(e => e.remove());
    made.append(...page.childNodes);
    body.append(made);
    for (const old of made.querySelectorAll("script:not([type])")) {
      const script = document.createElement("script");
      script.textContent = old.textContent;
      old.replaceWith(script);
    }
  }
  const title = document.createElement("section"), list = document.createElement("ol");
  for (const made of body.children) {
    const link = document.createElement("a"), item = document.createElement("li");
    link.href = `#${made.id}`;
    link.textContent = made.querySelector("h1").textContent;
    item.append(link);
    list.append(item);
  }
  title.innerHTML = `<p style="font-size: 3rem">${document.title = name}</p>`;
  title.append(list);
  body.prepend(title);
  const dead = [...body.querySelectorAll('a[href^="#"]')]
    .filter(a => !document.getElementById(a.getAttribute("href").slice(1)));
  for (const a of dead) a.removeAttribute("href");
  await MathJax.startup.promise;
  await MathJax.typesetPromise([body]);
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  return dead.length;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def in_order():
    """The names of all pages, as one reads them."""
    text = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return re.findall(r"^(?:root| *- file): (\S+)$", text, flags=re.MULTILINE)


def write(browser, names, target, folder=PAGES):
    """Print some pages of a built book as one PDF, with a browser of Playwright."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport={"width": 643, "height": 900}, color_scheme="light")
        page.set_default_timeout(600_000)
        page.emulate_media(media="print")  # live figures are drawn as wide as the paper
        page.goto(f"http://127.0.0.1:{server.server_port}/nbs/index.html", wait_until="load")
        page.evaluate(JOIN, [names, config["html"]["baseurl"], config["title"]])
        foot = {
            "display_header_footer": True,
            "header_template": "<p></p>",
            "footer_template": FOOT,
        }
        page.pdf(path=target, format="A4", margin=PAPER, outline=True, tagged=True, **foot)
        page.close()
        server.shutdown()


def main():
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("Chromium is missing: install it (Debian: apt-get install chromium)")
    if not (PAGES / "index.html").exists():
        sys.exit("There is no book: run `make book` first")
    target = PAGES.parent / "adam.pdf"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        write(browser, in_order(), target)
        browser.close()
    print(f"The book is printed: {target}")


if __name__ == "__main__":
    main()
