/* What the theme leaves undone for keyboards and screen readers: a control is called what is written
   on it, everything stands in a landmark, lists have items, and what scrolls can be reached. */
document.addEventListener("DOMContentLoaded", () => {
  for (const control of document.querySelectorAll(".search-button-field, details > summary"))
    if (control.textContent.trim()) control.removeAttribute("aria-label");
    else control.setAttribute("aria-label", "The pages below");
  for (const entry of document.querySelectorAll("[role=doc-biblioentry]"))
    entry.setAttribute("role", "listitem");
  for (const table of document.querySelectorAll(".pst-scrollable-table-container"))
    table.tabIndex = 0;
  const reach = new ResizeObserver(entries => {
    for (const { target } of entries)
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
  });
  for (const figure of document.querySelectorAll("article figure")) reach.observe(figure);
  const home = document.querySelector(".navbar-brand")?.parentElement;
  home?.setAttribute("role", "navigation");
  home?.setAttribute("aria-label", "Home");
});

/* One switch shows or hides all folded code of the book, and remembers. */
document.addEventListener("DOMContentLoaded", () => {
  const folds = [...document.querySelectorAll("article details.hide.above-input")];
  const bar = document.querySelector(".article-header-buttons");
  if (!folds.length || !bar) return;
  const button = document.createElement("button");
  button.className = "btn btn-sm show-code";
  button.type = "button";
  const show = shown => {
    for (const fold of folds) fold.open = shown;
    button.textContent = shown ? "Hide code" : "Show code";
    button.setAttribute("aria-pressed", shown);
  };
  const kept = () => { try { return localStorage.getItem("show-code") === "yes"; } catch { return false; } };
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") !== "true";
    show(shown);
    try { localStorage.setItem("show-code", shown ? "yes" : "no"); } catch { /* then for this page */ }
  });
  show(kept());
  bar.prepend(button);
});

/* What a link leads to (an equation, a figure, a theorem, a section, a term, a source, a page) is
   shown on a card beside it, under the pointer or the keyboard. Escape puts the card away, and the
   pointer may move onto it. Over file:// one page may not read another: there is no card. */
document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector("article.bd-article");
  if (!article || !location.protocol.startsWith("http")) return;
  const card = document.createElement("div"), pages = new Map();
  let link = null, timer = 0;
  Object.assign(card, { id: "peek", className: "peek", role: "tooltip", hidden: true });
  article.append(card);

  const read = address => {
    if (!pages.has(address))
      pages.set(address, fetch(address).then(answer => answer.ok ? answer.text() : "")
        .then(text => new DOMParser().parseFromString(text, "text/html")));
    return pages.get(address);
  };
  const parts = (page, id) => {
    const main = page.querySelector("article");
    if (!id) return main ? [...main.querySelectorAll("h1, h1 + blockquote")].slice(0, 2) : [];
    const target = page.getElementById(id);
    if (target?.matches("dt.sig")) return [target, target.nextElementSibling.querySelector("p")];
    if (target?.matches("dt")) return [target, target.nextElementSibling];
    if (target?.matches(".cell")) return [target.querySelector(".cell_output") ?? target];
    const section = target?.matches("section, section > span") ? target.closest("section") : null;
    if (!section) return target?.textContent.trim() || target?.querySelector("svg, img") ? [target] : [];
    return [section.querySelector("h1, h2, h3, h4"), section.querySelector(":scope > :is(p, ul, ol, .math)")];
  };
  const copy = (part, address) => {
    const made = document.createElement("div");
    made.innerHTML = part.outerHTML.replace(/\bfig(\d+)-/g, "peek-fig$1-");
    made.querySelectorAll("script, style, .headerlink, button").forEach(e => e.remove());
    made.querySelectorAll("[role=doc-biblioentry]").forEach(e => e.removeAttribute("role"));
    made.querySelectorAll("[id]:not(svg.figure *)").forEach(e => e.removeAttribute("id"));
    for (const e of made.querySelectorAll("*"))
      if (e.localName.includes("-")) e.replaceWith(...e.childNodes); // a live figure: its picture
    for (const name of ["href", "src"])
      for (const e of made.querySelectorAll(`:is(a, img)[${name}]`))
        e.setAttribute(name, new URL(e.getAttribute(name), address));
    return made;
  };
  const typeset = async () => {
    if (!card.querySelector(".math")) return;
    if (!window.MathJax?.typesetPromise) await new Promise((ready, failed) => {
      window.MathJax = { options: { processHtmlClass: "math" }, startup: { typeset: false } };
      const script = document.createElement("script");
      const root = new URL(document.documentElement.dataset.content_root, document.baseURI);
      Object.assign(script, { src: new URL("_static/mathjax/tex-chtml.js", root), onload: ready, onerror: failed });
      document.head.append(script);
    }).then(() => MathJax.startup.promise);
    await MathJax.typesetPromise([card]);
  };
  const put = () => {
    const at = link.getBoundingClientRect(), home = card.offsetParent.getBoundingClientRect();
    const below = at.bottom + card.offsetHeight < innerHeight || at.top < card.offsetHeight;
    card.style.top = `${(below ? at.bottom : at.top - card.offsetHeight) - home.top}px`;
    const room = document.documentElement.clientWidth - card.offsetWidth - 8;
    card.style.left = `${Math.max(8, Math.min(at.left, room)) - home.left}px`;
  };
  const hide = () => {
    clearTimeout(timer);
    link?.removeAttribute("aria-describedby");
    link = null;
    card.hidden = true;
  };
  const show = async wanted => {
    if (wanted === link) return;
    hide();
    link = wanted;
    const { hash, href } = wanted, address = href.split("#")[0];
    const found = parts(await read(address).catch(() => document.createElement("p")), decodeURIComponent(hash.slice(1)));
    if (link !== wanted || !found.length) return;
    card.replaceChildren(...found.filter(Boolean).map(part => copy(part, address)));
    card.hidden = false;
    put();
    await typeset();
    if (link !== wanted) return;
    put();
    wanted.setAttribute("aria-describedby", card.id);
  };
  const linked = event => event.target.closest?.("a.internal:not(.headerlink, .peek a, nav a)");
  const later = (wait, act) => { clearTimeout(timer); timer = setTimeout(act, wait); };
  article.addEventListener("pointerover", event => {
    const over = linked(event);
    if (event.pointerType === "touch") return;
    if (over) later(250, () => show(over));
    else if (card.contains(event.target)) clearTimeout(timer);
  });
  article.addEventListener("pointerout", event => {
    if (linked(event) || card.contains(event.target)) later(300, hide);
  });
  article.addEventListener("focusin", event => {
    const at = linked(event);
    if (at?.matches(":focus-visible")) show(at);
  });
  article.addEventListener("focusout", event => linked(event) && later(0, hide));
  document.addEventListener("keydown", event => event.key === "Escape" && hide());
});
