/* What live figures share: the rules they were told of, sliders, numbers, links. What computes here
   are the rules themselves, printed from the Python functions; see "Live figures" in the workshop. */
window.AdamLive ??= class extends HTMLElement {
  connectedCallback() {
    if (this.spec) return;
    this.spec = JSON.parse(this.dataset.spec);
    for (const rule of [...this.spec.rules, ...(this.spec.beside ?? [])]) rule.step = (0, eval)(`(${rule.source})`);
    this.chosen = {};
    this.begin();
    try {
      this.restore(JSON.parse(decodeURIComponent(location.hash.split(`#${this.localName}=`)[1])));
    } catch { /* no link, or not one of ours: the start */ }
    this.textContent = "";
    this.classList.add("live");
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.charts);
  }

  make(tag, parent, facts = {}, text = "") {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(facts)) found.setAttribute(name, value);
    found.textContent = text;
    return parent.appendChild(found);
  }

  /* Take over numbers that sliders have, from a link. */
  choose(numbers) {
    for (const [name, value] of Object.entries(numbers))
      if (this.names.has(name) && Number.isFinite(value)) this.chosen[name] = value;
  }

  sliders(parent, sliders) {
    parent.textContent = "";
    for (const slider of sliders) {
      const label = this.make("label", parent), { low, high, kind } = slider, stops = kind === "whole" ? high - low : 240;
      label.innerHTML = `${slider.symbol} <span>${slider.said ?? slider.name}</span>`;
      const shown = this.make("output", label);
      const [value, place] = {
        decay: [u => 1 - 10 ** (-high * u), x => -Math.log10(1 - x) / high],
        log: [u => 10 ** (low + (high - low) * u), x => (Math.log10(x) - low) / (high - low)],
        linear: [u => low + (high - low) * u, x => (x - low) / (high - low)],
        count: [u => Math.round(10 ** (low + (high - low) * u)), x => (Math.log10(x) - low) / (high - low)],
        whole: [u => Math.round(low + (high - low) * u), x => (x - low) / (high - low)],
      }[kind];
      const range = this.make("input", label, { type: "range", min: 0, max: stops, name: slider.name });
      const now = () => this.chosen[slider.name] ?? slider.value;
      const show = () => {
        shown.textContent = this.number(now());
        range.setAttribute("aria-valuetext", shown.textContent);
      };
      range.value = stops * place(now());
      range.oninput = () => {
        this.chosen[slider.name] = +value(range.value / stops).toPrecision(6);
        show();
        this.draw();
      };
      range.onkeydown = event => event.stopPropagation(); // Jupyter would take the arrows
      show();
    }
  }

  foot() {
    const foot = this.make("div", this, { class: "live-foot" });
    this.said = this.make("p", foot, { "aria-live": "polite" });
    const copy = this.make("button", foot, { type: "button" }, "Copy link");
    copy.onclick = () => {
      const link = `#${this.localName}=${encodeURIComponent(JSON.stringify({ ...this.shown(), ...this.chosen }))}`;
      history.replaceState(null, "", link);
      navigator.clipboard?.writeText(location.href).catch(() => {});
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy link"), 1500);
    };
  }

  /* The numbers of a step in the expression of a line. */
  put(expression, named) {
    return expression.replace(/\{(\w+)\}/g, (_, name) => {
      const text = this.number(named[name]);
      return text.startsWith("−") ? `(${text})` : text;
    });
  }

  clamp(x, low, high) { return Math.min(high, Math.max(low, x)); }

  number(x) {
    if (!Number.isFinite(x)) return String(x).replace("Infinity", "∞");
    const size = Math.abs(x), short = x !== 0 && (size < 1e-3 || size >= 1e5);
    const text = short ? (+x.toPrecision(3)).toExponential() : `${+x.toPrecision(4)}`;
    return text.replaceAll("-", "−").replace("e+", "e");
  }
};
