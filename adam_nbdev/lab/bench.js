/* The bench: gradients go in, the lines of a rule run, steps come out. */
if (!customElements.get("adam-bench")) customElements.define("adam-bench", class extends AdamLive {
  /* What is shown: the rule, its hyperparameters, the gradients, the step under the cursor. */
  get rule() { return this.spec.rules.find(r => r.name === this.name) ?? this.spec.rules[0]; }
  get values() { return Object.fromEntries(this.rule.sliders.map(s => [s.name, this.chosen[s.name] ?? s.value])); }

  load(stream) {
    this.stream = stream;
    this.grads = [...this.spec.streams[stream]];
    this.at ??= this.spec.at;
  }

  run() {
    const { step, slots, starts, lines } = this.rule, values = this.values, [beside] = this.spec.beside;
    let state = [0, ...starts];
    return this.grads.map((grad, i) => {
      const before = { ...values, grad, step: i + 1, param: state[0] };
      slots.forEach((slot, k) => (before[slot] = state[k + 1]));
      const [after, named] = step(state[0], grad, ...state.slice(1), i + 1, values);
      state = after;
      if (beside) before.beside = -beside.step(0, grad, i + 1, values)[0];
      return lines.reduce((all, line, k) => ({ ...all, [line.name]: named[k] }), before);
    });
  }

  begin() {
    this.names = new Set(this.spec.rules.flatMap(rule => rule.sliders.map(slider => slider.name)));
    this.load(this.spec.stream);
  }

  shown() {
    return { rule: this.rule.name, at: this.at, g: this.stream ?? this.grads.map(g => +g.toPrecision(3)) };
  }

  restore({ rule, at, g, ...chosen }) {
    if (g in this.spec.streams) this.load(g);
    else if (Array.isArray(g) && g.length === this.grads.length && g.every(Number.isFinite))
      [this.grads, this.stream] = [g, null];
    if (at >= 1 && at <= this.grads.length) this.at = Math.round(at);
    this.name = rule;
    this.choose(chosen);
  }

  /* The page: controls above, charts to the left, the lines to the right, sliders below. */
  build() {
    const make = this.make;
    const top = make("div", this, { class: "live-top" });
    const choice = make("label", top, {}, "Rule ");
    const select = make("select", choice);
    for (const rule of this.spec.rules) make("option", select, { value: rule.name }, rule.label);
    select.value = this.rule.name;
    select.onchange = () => { this.name = select.value; this.sliders(this.rates, this.rule.sliders); this.lines(); this.draw(); };
    const chips = make("div", top, { class: "live-chips", role: "group", "aria-label": "Gradients" });
    for (const stream of Object.keys(this.spec.streams))
      make("button", chips, { type: "button" }, stream).onclick = () => { this.load(stream); this.draw(); };
    this.chips = [...chips.children];
    const grid = make("div", this, { class: "bench-grid" });
    this.charts = make("div", grid, { class: "live-charts" });
    this.input = make("div", this.charts, {
      class: "bench-input", role: "slider", tabindex: 0, "aria-valuemin": 1, "aria-valuemax": this.grads.length,
      "aria-label": "Step. Left and right move it, up and down change its gradient",
    });
    this.output = make("div", this.charts, { "aria-hidden": true });
    this.list = make("ol", grid, { class: "bench-lines" });
    this.rates = make("div", this, { class: "live-sliders" });
    this.foot();
    this.listen();
    this.sliders(this.rates, this.rule.sliders);
    this.lines();
    this.draw();
  }

  lines() {
    this.list.textContent = "";
    for (const line of this.rule.lines) {
      const last = this.list.lastElementChild;
      const item = last?.dataset.statement === `${line.statement}` ? last : this.make("li", this.list);
      item.dataset.statement = line.statement;
      item.value = line.statement;
      this.make("div", item, { class: "bench-formula" }).innerHTML = line.formula;
      this.make("div", item, { class: "bench-numbers" });
    }
  }

  listen() {
    const { clamp } = this;
    const place = event => {
      const box = this.input.getBoundingClientRect();
      const at = 1 + Math.round(((event.clientX - box.left - this.left) / (box.width - this.left - 8)) * (this.grads.length - 1));
      return [clamp(at, 1, this.grads.length), (this.middle - (event.clientY - box.top)) / this.scale];
    };
    const size = () => Math.max(...this.grads.map(Math.abs)) || 1;
    let drawing = false;
    this.input.onpointerdown = event => { drawing = true; this.input.setPointerCapture(event.pointerId); this.input.onpointermove(event); };
    this.input.onpointerup = this.input.onpointercancel = () => (drawing = false);
    this.input.onpointermove = event => {
      const [at, grad] = place(event);
      this.at = at;
      if (drawing) this.change(+clamp(grad, -size(), size()).toPrecision(3));
      this.draw();
    };
    this.input.onkeydown = event => {
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
      const raise = { ArrowUp: 0.1, ArrowDown: -0.1 }[event.key];
      if (!move && !raise) return;
      event.preventDefault();
      event.stopPropagation();
      if (move) this.at = clamp(this.at + move, 1, this.grads.length);
      else this.change(+(this.grads[this.at - 1] + raise * size()).toPrecision(3));
      this.draw();
    };
    this.output.onpointermove = event => { this.at = place(event)[0]; this.draw(); };
  }

  change(grad) {
    this.grads[this.at - 1] = grad;
    this.stream = null;
  }

  /* Everything that depends on a number. */
  draw() {
    const history = (this.history = this.run()), now = history[this.at - 1], width = this.charts.clientWidth || 420;
    this.left = 46;
    const x = i => this.left + (i * (width - this.left - 8)) / (history.length - 1);
    this.input.innerHTML = this.bars(history, x, width);
    const bands = this.rule.bands.map((band, i) => this.band(band, history, x, width, i === this.rule.bands.length - 1));
    this.output.innerHTML = bands.join("") + this.axis(x, width);
    this.rule.lines.forEach((line, k) => {
      const box = this.list.querySelectorAll(".bench-numbers")[k];
      box.innerHTML = `= ${this.put(line.numbers, now)} = <b></b>`;
      box.lastChild.textContent = this.number(now[line.name]);
    });
    const grad = this.number(this.grads[this.at - 1]);
    this.input.setAttribute("aria-valuenow", this.at);
    this.input.setAttribute("aria-valuetext", `step ${this.at}, gradient ${grad}`);
    const { curves: [{ name }] } = this.rule.bands.at(-1), rates = history.map(step => Math.abs(step[name]) / this.values.lr);
    this.said.textContent = `Step ${this.at} of ${history.length}: ${this.number(rates[this.at - 1])} learning rates. `
      + `The longest is ${this.number(Math.max(...rates))}.`;
    for (const chip of this.chips) chip.setAttribute("aria-pressed", chip.textContent === this.stream);
    if (this.lit !== this.at && !matchMedia("(prefers-reduced-motion: reduce)").matches)
      [...this.list.children].forEach((item, i) =>
        item.animate([{ background: "color-mix(in srgb, currentColor 14%, transparent)" }, { background: "none" }],
          { duration: 500, delay: 90 * i, fill: "backwards" }));
    this.lit = this.at;
  }

  bars(history, x, width) {
    const top = Math.max(...this.grads.map(Math.abs)) || 1, bar = Math.max(2, (width - this.left) / history.length - 2);
    [this.middle, this.scale] = [56, 36 / top];
    const rects = this.grads.map((g, i) => {
      const high = Math.max(1, Math.abs(g) * this.scale), y = g < 0 ? this.middle : this.middle - high;
      return `<rect x="${x(i) - bar / 2}" y="${y}" width="${bar}" height="${high}" class="${i + 1 === this.at ? "now" : i < this.at ? "" : "later"}"/>`;
    });
    return `<svg viewBox="0 0 ${width} 96" width="${width}" height="96"><text x="${this.left}" y="11">gradients: drag to draw</text>`
      + this.ticks([top, 0, -top], g => this.middle - g * this.scale) + this.zero(this.middle, width) + rects.join("") + "</svg>";
  }

  band({ title, curves, unit }, history, x, width, last) {
    for (const beside of last ? this.spec.beside : []) {
      title += `; dashed: ${beside.label}`;
      curves = [{ name: "beside", color: "currentColor", dash: "2 3" }, ...curves];
    }
    const scale = unit ? this.values[unit] : 1;
    const series = curves.map(c => history.map(step => (c.root ? Math.sqrt(step[c.name]) : step[c.name]) / scale));
    const finite = series.flat().filter(Number.isFinite), high = Math.max(0, ...finite), low = Math.min(0, ...finite);
    const y = value => 22 + (54 * (high - value)) / (high - low || 1);
    const paths = series.map((values, k) => {
      const path = values.map((v, i) => (Number.isFinite(v) ? `${Number.isFinite(values[i - 1]) ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}` : "")).join("");
      const now = values[this.at - 1], dot = Number.isFinite(now) ? `<circle cx="${x(this.at - 1)}" cy="${y(now)}" r="3.5" style="fill:${curves[k].color}"/>` : "";
      return `<path d="${path}" style="stroke:${curves[k].color}" stroke-dasharray="${curves[k].dash}"/>${dot}`;
    });
    const ticks = this.ticks(low < 0 ? [high, 0, low].filter((v, i) => !i || v !== [high, 0, low][i - 1]) : [high, 0], y);
    return `<svg viewBox="0 0 ${width} 84" width="${width}" height="84"><text x="${this.left}" y="11">${title}</text>${ticks}`
      + this.zero(y(0), width) + `<line class="cursor" x1="${x(this.at - 1)}" x2="${x(this.at - 1)}" y1="16" y2="82"/>` + paths.join("") + "</svg>";
  }

  axis(x, width) {
    const count = this.grads.length, ticks = [1, count / 3, (2 * count) / 3, count].map(Math.round);
    return `<svg viewBox="0 0 ${width} 16" width="${width}" height="16">`
      + ticks.map(t => `<text x="${x(t - 1)}" y="12" text-anchor="${t === count ? "end" : "middle"}">${t === 1 ? "step 1" : t}</text>`).join("") + "</svg>";
  }

  ticks(values, y) {
    const kept = values.filter((v, i) => values.slice(0, i).every(w => Math.abs(y(v) - y(w)) > 11));
    return kept.map(v => `<text x="${this.left - 8}" y="${y(v) + 4}" text-anchor="end">${this.number(+v.toPrecision(2))}</text>`).join("");
  }

  zero(y, width) { return `<line class="zero" x1="${this.left - 4}" x2="${width - 4}" y1="${y}" y2="${y}"/>`; }
});
