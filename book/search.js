/* What the search of the book adds to that of Sphinx, on its page of results only. */

/* A Greek letter is looked for by what the code calls it, and a subscript as a digit: β₂ is beta2. */
const GREEK = { α: "lr", β: "beta", Δ: "update", ε: "eps", ϵ: "eps", θ: "param", λ: "weight_decay", ρ: "decay" };
splitQuery = query => query.normalize("NFKC").replace(/[αβΔεϵθλρ]/g, letter => GREEK[letter])
  .split(/[^\p{Letter}\p{Number}_]+/u).filter(word => word);

/* A function is found by its own name, not by that of the package, and by one letter only if it is
   all of it. */
const objects = Search.performObjectSearch;
Search.performObjectSearch = (term, terms) => objects(term, terms).filter(([, name]) => {
  const own = name.toLowerCase().split(".").pop();
  return term.length > 2 ? own.includes(term) : own === term;
});

/* First the chapters, in the order in which they are read, then what one looks things up in, then
   how the book is made. */
const order = () => [...document.querySelectorAll(".bd-links a")].map(link => link.pathname);
Scorer.objPrio[0] = Scorer.objPrio[1];
Scorer.objPartialMatch = 0;
Scorer.score = ([page, , , , score]) => {
  const place = order().findIndex(path => path.endsWith(`/${page}.html`));
  const room = page.split("/")[1];
  return score - (room === "workshop" ? 9 : room === "appendix" ? 5 : 0) - place / 100;
};
