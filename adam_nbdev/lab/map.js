/* The map: what a choice of beta1 and beta2 means, for the point under the reader's finger. */
if (!customElements.get("adam-map")) customElements.define("adam-map", class extends AdamLive {
  begin() {
    this.names = new Set(["beta1", "beta2"]);
    this.chosen = { ...this.spec.start };
    [this.period, this.stream] = [Object.keys(this.spec.astray)[1], Object.keys(this.spec.streams)[2]];
  }

  shown() { return { period: this.period, g: this.stream }; }

  restore({ period, g, ...chosen }) {
    if (period in this.spec.astray) this.period = period;
    if (g in this.spec.streams) this.stream = g;
    this.choose(chosen);
  }

  /* A rate stands at the logarithm of how many steps it remembers, 1 / (1 - rate). */
  place(rate, axis) {
    const [low, high] = this.spec[axis];
    return Math.log10(1 / (1 - rate) / low) / Math.log10(high / low);
  }

  rate(share, axis) {
    const [low, high] = this.spec[axis];
    return 1 - 1 / (low * (high / low) ** this.clamp(share, 0, 1));
  }

  build() {
    const make = this.make, grid = make("div", this, { class: "map-grid" });
    this.charts = make("div", grid, { class: "live-charts" });
    this.field = make("div", this.charts, {
      class: "map-field", role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 1,
      "aria-label": "Decay rates. Left and right change beta1, up and down beta2",
    });
    this.pick("Shaded: Adam goes astray on Reddi's line of period", this.charts, Object.keys(this.spec.astray), "period");
    const beside = make("div", grid);
    this.facts = make("dl", beside, { class: "map-facts" });
    this.pick("Gradients", beside, Object.keys(this.spec.streams), "stream");
    this.run = make("div", beside, { class: "live-charts", role: "img" });
    const chips = make("div", this, { class: "live-chips", role: "group", "aria-label": "Settings in use" });
    for (const setting of this.spec.settings)
      make("button", chips, { type: "button", title: setting.source }, setting.label).onclick = () => {
        this.chosen = { beta1: setting.beta1, beta2: setting.beta2 };
        this.draw();
      };
    this.chips = [...chips.children];
    this.foot();
    this.listen();
    this.draw();
  }

  pick(text, parent, options, name) {
    const select = this.make("select", this.make("label", parent, { class: "map-pick" }, `${text} `));
    for (const option of options) this.make("option", select, {}, option);
    select.value = this[name];
    select.onchange = () => { this[name] = select.value; this.draw(); };
  }

  listen() {
    const put = event => {
      const box = this.field.getBoundingClientRect();
      this.chosen = {
        beta1: +this.rate((event.clientX - box.left - 44) / (box.width - 52), "x").toPrecision(4),
        beta2: +this.rate(1 - (event.clientY - box.top - 8) / (box.height - 48), "y").toPrecision(5),
      };
      this.draw();
    };
    let moving = false;
    this.field.onpointerdown = event => { moving = true; this.field.setPointerCapture(event.pointerId); put(event); };
    this.field.onpointermove = event => { if (moving) put(event); };
    this.field.onpointerup = this.field.onpointercancel = () => (moving = false);
    this.field.onkeydown = event => {
      const move = { ArrowLeft: ["beta1", "x", -1], ArrowRight: ["beta1", "x", 1], ArrowDown: ["beta2", "y", -1], ArrowUp: ["beta2", "y", 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const [name, axis, way] = move;
      this.chosen[name] = +this.rate(this.place(this.chosen[name], axis) + way / 60, axis).toPrecision(5);
      this.draw();
    };
  }

  rule(name) { return this.spec.rules.find(rule => rule.name === name); }

  /* The steps that Adam takes under some gradients, in learning rates. */
  steps(grads, rates, state = [0, 0], begun = 0) {
    const found = grads.map((grad, i) => {
      const [param, ...after] = this.rule("adam").step(0, grad, ...state, begun + i + 1, { lr: 1, ...rates });
      state = after;
      return -param;
    });
    return [found, state];
  }

  /* How far a period of Reddi's line moves the parameter when both averages repeat themselves, long
     after bias correction has come to an end: after one period from zero they lack a known share. */
  moves(period, { beta1, beta2 }) {
    const rates = { beta1, beta2, eps: 0 }, grads = Array.from({ length: period }, (_, i) => (i ? -1 : period)), late = 1e9;
    const state = this.steps(grads, rates, [0, 0], late)[1].map((x, i) => x / (1 - [beta1, beta2][i] ** period));
    return -this.steps(grads, rates, state, late)[0].reduce((sum, step) => sum + step, 0);
  }

  /* What the rules say of a pair of rates: the update of each is a number in learning rates. */
  numbers({ beta1, beta2 }) {
    const at = (name, step) => -this.rule(name).step(0, 1, step, { lr: 1, beta1, beta2 })[0];
    let longest = [0, 0];
    for (let step = 1; step <= 20000; step = Math.ceil(step * 1.02)) {
      const size = at("uncorrected", step);
      if (size > longest[0]) longest = [size, step];
    }
    let astray = 3;
    while (astray < 300 && this.moves(astray, { beta1, beta2 }) <= 0) astray++;
    return { limit: at("limit", 1), hundred: at("farthest", 100), overshoot: longest[0], when: longest[1], floor: at("floor", 1), astray };
  }

  draw() {
    const { beta1, beta2 } = this.chosen, found = (this.found = this.numbers(this.chosen)), width = this.charts.clientWidth || 400, height = Math.min(width, 380);
    const x = rate => 44 + this.place(rate, "x") * (width - 52), y = rate => 8 + (1 - this.place(rate, "y")) * (height - 48);
    const line = points => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("");
    const contours = this.spec.contours.map(({ level, lines, label }) => lines.map(points => `<path class="contour" d="${line(points)}"/>`).join("")
      + `<text x="${x(label[0]) + 3}" y="${y(label[1]) - 3}">${level}</text>`).join("");
    const edge = this.spec.lines.map(({ points, dash, text, at }) => `<path class="edge" d="${line(points)}" stroke-dasharray="${dash}"/><text x="${x(at[0])}" y="${y(at[1])}" text-anchor="${at[2]}">${text}</text>`).join("");
    const dots = this.spec.settings.map(s => `<circle cx="${x(s.beta1)}" cy="${y(s.beta2)}" r="3.5" fill="currentColor"/><text class="name" x="${x(s.beta1) + (s.left ? -8 : 11)}" y="${y(s.beta2) + 4}" text-anchor="${s.left ? "end" : "start"}">${s.label}</text>`).join("");
    const ticks = (axis, rates) => rates.map(r => axis === "x" ? `<text x="${x(r)}" y="${height - 24}" text-anchor="middle">${r}</text>` : `<text x="38" y="${y(r) + 4}" text-anchor="end">${r}</text>`).join("");
    const border = this.spec.astray[this.period], [[right]] = border, bottom = this.rate(0, "y");
    const astray = `<path class="astray" d="${line([...border, [0, bottom], [right, bottom]])}Z"/><path class="border" d="${line(border)}"/>`;
    this.field.innerHTML = `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">` + astray + contours + edge + dots
      + ticks("x", this.spec.ticks.x) + ticks("y", this.spec.ticks.y) + `<text x="${width - 8}" y="${height - 8}" text-anchor="end">β₁</text><text x="4" y="30">β₂</text>`
      + `<circle class="here" cx="${x(beta1)}" cy="${y(beta2)}" r="8"/></svg>`;
    const half = rate => this.number(rate > 0 ? Math.log(0.5) / Math.log(rate) : 0), facts = [
      ["β₁, β₂", `${this.number(beta1)}, ${+beta2.toPrecision(5)}`],
      ["half-lives, in steps", `${half(beta1)}, ${half(beta2)}`],
      ["longest step there can be", this.number(found.limit)],
      ["… within a hundred steps", this.number(found.hundred)],
      ["longest without correction", found.overshoot > 1.0001 ? `${this.number(found.overshoot)}, step ${found.when}` : "none above 1"],
      ["size of a step under noise alone", this.number(found.floor)],
      ["shortest period of Reddi's that leads astray", `${found.astray}`],
    ];
    this.facts.innerHTML = facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("");
    this.field.setAttribute("aria-valuenow", beta1);
    this.field.setAttribute("aria-valuetext", `beta1 ${this.number(beta1)}, beta2 ${this.number(beta2)}`);
    this.chips.forEach((chip, i) => chip.setAttribute("aria-pressed", this.spec.settings[i].beta1 === beta1 && this.spec.settings[i].beta2 === beta2));
    this.strip();
    const used = this.spec.settings.find(s => s.beta1 === beta1 && s.beta2 === beta2);
    this.said.textContent = used ? `${used.label}: ${used.source}.` : "Lengths are in learning rates.";
  }

  /* The steps under the chosen gradients. */
  strip() {
    const [steps] = this.steps(this.spec.streams[this.stream], this.chosen), width = this.run.clientWidth || 240, height = 96, left = 30;
    const high = Math.max(1, ...steps), low = Math.min(0, ...steps), longest = this.number(Math.max(...steps.map(Math.abs)));
    const x = i => left + (i * (width - left - 6)) / (steps.length - 1), y = v => 22 + ((high - v) * (height - 30)) / (high - low);
    const path = steps.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("");
    const level = v => `<line class="zero" x1="${left}" x2="${width}" y1="${y(v)}" y2="${y(v)}"/><text x="${left - 5}" y="${y(v) + 4}" text-anchor="end">${v}</text>`;
    const text = `${steps.length} steps, the longest ${longest} learning rates`;
    this.run.innerHTML = `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"><text x="${left}" y="11">${text}</text>${level(0)}${level(1)}<path d="${path}" style="stroke:${this.spec.color}"/></svg>`;
    this.run.setAttribute("aria-label", text);
  }
});
