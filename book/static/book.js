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
