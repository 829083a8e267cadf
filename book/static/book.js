/* What the theme leaves undone for keyboards and screen readers: a control is called what is written
   on it, everything stands in a landmark, lists have items, and what scrolls can be reached. */
document.addEventListener("DOMContentLoaded", () => {
  for (const control of document.querySelectorAll(".search-button-field, details > summary"))
    control.removeAttribute("aria-label");
  for (const entry of document.querySelectorAll("[role=doc-biblioentry]"))
    entry.setAttribute("role", "listitem");
  for (const table of document.querySelectorAll(".pst-scrollable-table-container"))
    table.tabIndex = 0;
  const home = document.querySelector(".navbar-brand")?.parentElement;
  home?.setAttribute("role", "navigation");
  home?.setAttribute("aria-label", "Home");
});
