/* The steps: gradients of two coordinates go in, and the lines of a rule run one at a time. */
if (!customElements.get("adam-steps")) customElements.define("adam-steps", class extends AdamLive {
  get rule() { return this.spec.rules[0]; }
  get values() { return Object.fromEntries(this.rule.sliders.map(s => [s.name, this.chosen[s.name] ?? s.value])); }
  get count() { return this.spec.grads[0].length; }
  get last() { return this.count * this.rule.lines.length; }

  begin() {
    this.names = new Set(this.rule.sliders.map(slider => slider.name));
    this.grads = this.spec.grads.map(grads => [...grads]);
    this.at = this.spec.at; // how many lines have run
  }

  shown() { return { at: this.at, g: this.grads }; }

  restore({ at, g, ...chosen }) {
    const good = grads => Array.isArray(grads) && grads.length === this.count && grads.every(Number.isFinite);
    if (Array.isArray(g) && g.length === 2 && g.every(good)) this.grads = g;
    if (at >= 0 && at <= this.last) this.at = Math.round(at);
    this.choose(chosen);
  }

  /* For each coordinate and step: what the step began with, what its lines gave, what is kept. */
  run() {
    const { step, slots, starts, lines } = this.rule, values = this.values;
    return this.grads.map(grads => {
      let kept = [0, ...starts];
      return grads.map((grad, i) => {
        const named = { ...values, grad, step: i + 1, param: kept[0] }, before = kept;
        slots.forEach((slot, k) => (named[slot] = before[k + 1]));
        const [after, found] = step(before[0], grad, ...before.slice(1), i + 1, values);
        lines.forEach((line, k) => (named[line.name] = found[k]));
        return { named, before, after: (kept = after) };
      });
    });
  }

  /* The page: gradients, the way through the run, the lines, what is kept, two drawings, sliders. */
  build() {
    const make = this.make;
    this.fields(make("table", this, { class: "steps-grads" }));
    const way = make("div", this, { class: "steps-way" });
    const button = (text, by) => (make("button", way, { type: "button" }, text).onclick = () => this.go(this.at + by));
    button("← back", -1);
    this.place = make("input", way, { type: "range", min: 0, max: this.last, "aria-label": "Line of the run" });
    this.place.oninput = () => this.go(+this.place.value);
    button("on →", 1);
    way.onkeydown = event => {
      const to = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, ArrowDown: this.at - 1, ArrowUp: this.at + 1, Home: 0, End: this.last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation(); // Jupyter would take the arrows
      this.go(to);
    };
    const head = make("div", this, { class: "steps-row steps-head" });
    for (const text of ["", "", ...this.spec.coordinates]) make("span", head, {}, text);
    this.list = make("ol", this, { class: "steps-lines" });
    for (const { statement, formula } of this.rule.lines) {
      const item = make("li", this.list, { class: "steps-row" });
      make("span", item, {}, statement);
      make("div", item, { class: "steps-formula" }).innerHTML = formula;
      for (const _ of this.grads) make("div", item, { class: "steps-numbers" });
    }
    this.kept = make("div", this, { class: "steps-kept" });
    this.charts = make("div", this, { class: "live-charts steps-charts" });
    this.rates = make("div", this, { class: "live-sliders" });
    this.foot();
    this.sliders(this.rates, this.rule.sliders);
    this.draw();
  }

  fields(parent) {
    const make = this.make, head = make("tr", make("thead", parent)), body = make("tbody", parent);
    make("th", head, { scope: "col" }, "gradients");
    this.heads = this.grads[0].map((_, i) => make("th", head, { scope: "col" }, `step ${i + 1}`));
    this.grads.forEach((grads, c) => {
      const row = make("tr", body);
      make("th", row, { scope: "row" }, this.spec.coordinates[c]);
      grads.forEach((grad, i) => {
        const name = `${this.spec.coordinates[c]}, step ${i + 1}`;
        const field = make("input", make("td", row), { type: "number", step: "any", value: grad, "aria-label": `Gradient, ${name}` });
        field.onkeydown = event => event.stopPropagation();
        field.oninput = () => {
          const good = Number.isFinite(field.valueAsNumber);
          field.setAttribute("aria-invalid", !good);
          if (good) grads[i] = field.valueAsNumber;
          this.draw();
          if (!good) this.said.textContent = `That is no number; ${name} stays ${this.number(grads[i])}.`;
        };
        field.onchange = () => {
          field.value = grads[i];
          field.setAttribute("aria-invalid", false);
        };
      });
    });
  }

  go(at) {
    this.at = this.clamp(at, 0, this.last);
    this.draw();
  }

  /* Everything that depends on a number. */
  draw() {
    const { lines, slots } = this.rule, history = (this.history = this.run());
    const now = this.clamp(Math.ceil(this.at / lines.length), 1, this.count), done = this.at - (now - 1) * lines.length;
    [this.step, this.done] = [now, done];
    const runs = history.map(steps => steps[now - 1]), whole = done === lines.length;
    this.heads.forEach((head, i) => head.classList.toggle("now", i === now - 1));
    [...this.list.children].forEach((item, k) => {
      const lit = k === done - 1, line = lines[k];
      item.classList.toggle("now", lit);
      lit ? item.setAttribute("aria-current", "step") : item.removeAttribute("aria-current");
      [...item.querySelectorAll(".steps-numbers")].forEach((box, c) => {
        box.innerHTML = k >= done ? "" : `${lit ? `<span>${this.put(line.numbers, runs[c].named)} =</span> ` : ""}<b></b>`;
        if (k < done) box.lastChild.textContent = this.number(runs[c].named[line.name]);
      });
    });
    const title = whole ? (now < this.count ? `kept for step ${now + 1}` : "at the end") : now === 1 ? "at the start" : `kept from step ${now - 1}`;
    this.kept.classList.toggle("now", whole);
    const cells = ["param", ...slots].map((name, i) => `<span><i>${name}</i> ${runs.map(run => this.number((whole ? run.after : run.before)[i])).join(" and ")}</span>`);
    this.kept.innerHTML = `<strong>${title}</strong>${cells.join("")}`;
    this.sketch(history, now - !whole);
    const line = lines[done - 1], statements = lines.at(-1).statement;
    const sentence = line
      ? `Step ${now}, line ${line.statement} of ${statements}: ${line.name.replace(/_\d+$/, "")} is ${runs.map(run => this.number(run.named[line.name])).join(" and ")}.`
      : "Nothing has run yet.";
    if (this.said.textContent !== sentence) this.said.textContent = sentence;
    this.place.value = this.at;
    this.place.setAttribute("aria-valuetext", sentence);
    if (whole && this.lit !== this.at && !matchMedia("(prefers-reduced-motion: reduce)").matches)
      this.kept.animate([{ transform: "translateY(-0.6rem)" }, { transform: "none" }], { duration: 300 });
    this.lit = this.at;
  }

  /* The gradients on one scale, and how far both coordinates have come, on another. */
  sketch(history, ended) {
    const whole = this.charts.clientWidth || 600, width = whole < 480 ? whole : (whole - 16) / 2;
    const ways = history.map(steps => [0, ...steps.map(step => step.after[0])]);
    this.charts.innerHTML = this.chart("gradients", this.grads, 1, width, this.step) + this.chart("param: where both are", ways, 0, width, ended);
  }

  chart(title, series, first, width, until) {
    const left = 46, high = 100, right = 52, finite = series.flat().filter(Number.isFinite), top = Math.max(0, ...finite), low = Math.min(0, ...finite);
    const x = i => left + ((i + first) * (width - left - right)) / this.count, y = v => 22 + ((high - 40) * (top - v)) / (top - low || 1);
    const ends = series.map(values => y(values.at(-1))), gap = ends[1] - ends[0], apart = Math.abs(gap) < 12 ? (12 - Math.abs(gap)) / 2 * (gap < 0 ? 1 : -1) : 0;
    const drawn = series.map((values, c) => {
      const path = part => part.map(([v, i]) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("L"), all = values.map((v, i) => [v, i]).filter(([v]) => Number.isFinite(v));
      const now = all.filter(([, i]) => i + first <= until), style = `style="stroke:${this.spec.colors[c]}" stroke-dasharray="${c ? "5 3" : ""}"`, end = now.at(-1);
      return (all.length ? `<path class="later" d="M${path(all)}" ${style}/>` : "") + (now.length ? `<path d="M${path(now)}" ${style}/>` : "")
        + (end ? `<circle cx="${x(end[1])}" cy="${y(end[0])}" r="3.5" style="fill:${this.spec.colors[c]}"/>` : "")
        + (Number.isFinite(ends[c]) ? `<text x="${width - right + 6}" y="${ends[c] + 4 + (c ? -apart : apart)}">${this.spec.coordinates[c]}</text>` : "");
    });
    const ticks = [top, 0, low].filter((v, i, all) => all.slice(0, i).every(w => Math.abs(y(v) - y(w)) > 11));
    return `<svg viewBox="0 0 ${width} ${high}" width="${width}" height="${high}" aria-hidden="true"><text x="${left}" y="11">${title}</text>`
      + ticks.map(v => `<text x="${left - 8}" y="${y(v) + 4}" text-anchor="end">${this.number(+v.toPrecision(2))}</text>`).join("")
      + `<line class="zero" x1="${left - 4}" x2="${width - right}" y1="${y(0)}" y2="${y(0)}"/>${drawn.join("")}`
      + `<text x="${x(this.count - first)}" y="${high - 3}" text-anchor="end">step ${this.count}</text></svg>`;
  }
});
