/* Names for screen readers that the theme gets wrong: a control is called what is written on it,
   and everything stands in a landmark. */
document.addEventListener("DOMContentLoaded", () => {
  for (const control of document.querySelectorAll(".search-button-field, details > summary"))
    control.removeAttribute("aria-label");
  const home = document.querySelector(".navbar-brand")?.parentElement;
  home?.setAttribute("role", "navigation");
  home?.setAttribute("aria-label", "Home");
});
