/* The takeover: the length of a step over the size of the gradient, in four formats of numbers. */
if (!customElements.get("adam-takeover")) customElements.define("adam-takeover", class extends AdamLive {
  begin() {
    this.names = new Set(this.spec.sliders.map(slider => slider.name));
    [this.name, this.whole, this.grad] = [this.spec.rules[0].name, true, this.spec.grad];
    const single = new Float32Array(1), bits = new Uint32Array(single.buffer);
    const cut = (x, places) => { // to the nearest float32 with so many bits less, ties to even
      single[0] = x;
      if (x !== x) return x;
      bits[0] += 2 ** (places - 1) - 1 + ((bits[0] >>> places) & 1);
      bits[0] = (bits[0] >>> places) << places;
      return single[0];
    };
    const small = 2 ** -24, even = x => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));
    const half = x => {
      const f = Math.fround(x), size = Math.abs(f);
      if (size >= 65520) return f * Infinity;
      return size < 2 ** -14 ? even(f / small) * small : cut(f, 13);
    };
    this.formats = [
      { name: "float64", round: x => x, color: "currentColor", wide: 7, faint: 0.3, dash: "" },
      { name: "float32", round: Math.fround, color: "#3b82f6", wide: 4, faint: 1, dash: "" },
      { name: "bfloat16", round: x => cut(x, 16), color: "#CE8300", wide: 2.5, faint: 1, dash: "7 4" },
      { name: "float16", round: half, color: "#CD1800", wide: 2.5, faint: 1, dash: "2 3" },
    ];
  }

  get rule() { return this.spec.rules.find(rule => rule.name === this.name); }
  get values() { return Object.fromEntries(this.spec.sliders.map(s => [s.name, this.chosen[s.name] ?? s.value])); }

  shown() { return { rule: this.name, whole: this.whole, g: this.grad }; }

  restore({ rule, whole, g, ...chosen }) {
    if (this.spec.rules.some(r => r.name === rule)) this.name = rule;
    this.whole = whole !== false;
    if (g > 0) this.grad = this.clamp(g, ...this.spec.span.map(power => 10 ** power));
    this.choose(chosen);
  }

  /* The last of some steps under a constant gradient, in learning rates, and what is kept. */
  last(grad, { round }) {
    const { rule } = this, { eps, beta2, steps } = this.values, shared = { lr: 1, beta2, [rule.eps]: eps };
    const given = Object.fromEntries(rule.hyperparameters.filter(name => name in shared).map(name => [name, shared[name]]));
    const within = this.whole ? round : x => x, g = round(grad);
    let param, state = rule.starts;
    for (let step = 1; step <= steps; step++) {
      [param, ...state] = rule.step(0, g, ...state, step, given, within);
      state = state.map(round);
    }
    return { g, step: -param, slots: Object.fromEntries(rule.slots.map((slot, i) => [slot, state[i]])) };
  }

  build() {
    const make = this.make, top = make("div", this, { class: "live-top" });
    if (this.spec.rules.length > 1) {
      const select = make("select", make("label", top, {}, "Rule "));
      for (const rule of this.spec.rules) make("option", select, {}, rule.name);
      select.value = this.name;
      select.onchange = () => { this.name = select.value; this.draw(); };
    }
    const chips = make("div", top, { class: "live-chips", role: "group", "aria-label": "What is in the format" });
    this.chips = [["gradient and state only", false], ["all that is computed", true]].map(([text, whole]) => {
      const chip = make("button", chips, { type: "button" }, text);
      chip.onclick = () => { this.whole = whole; this.draw(); };
      return [chip, whole];
    });
    this.charts = make("div", this, { class: "live-charts" });
    this.field = make("div", this.charts, {
      class: "takeover-field", role: "slider", tabindex: 0, "aria-valuemin": this.spec.span[0], "aria-valuemax": this.spec.span[1],
      "aria-label": "Size of the gradient, a power of ten. Left and right change it",
    });
    this.table = make("table", this, { class: "takeover-table" });
    this.rates = make("div", this, { class: "live-sliders" });
    this.foot();
    this.listen();
    this.sliders(this.rates, this.spec.sliders);
    this.draw();
  }

  listen() {
    const [low, high] = this.spec.span, set = power => {
      this.grad = +(10 ** this.clamp(power, low, high)).toPrecision(3);
      this.draw();
    };
    const put = event => {
      const box = this.field.getBoundingClientRect();
      set(low + ((event.clientX - box.left - this.left) / (box.width - this.left - 8)) * (high - low));
    };
    let moving = false;
    this.field.onpointerdown = event => { moving = true; this.field.setPointerCapture(event.pointerId); put(event); };
    this.field.onpointermove = event => { if (moving) put(event); };
    this.field.onpointerup = this.field.onpointercancel = () => (moving = false);
    this.field.onkeydown = event => {
      const move = { ArrowLeft: -0.25, ArrowRight: 0.25, PageDown: -2, PageUp: 2, Home: -99, End: 99 }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      set(Math.log10(this.grad) + move);
    };
  }

  power(k) { return `10<tspan dy="-4" font-size="8">${`${k}`.replace("-", "−")}</tspan>`; }

  draw() {
    const width = this.charts.clientWidth || 420, height = 240, [low, high] = this.spec.span, [bottom, top] = this.spec.height, { eps, steps } = this.values;
    this.left = 56;
    const x = power => this.left + ((power - low) / (high - low)) * (width - this.left - 8), y = power => 20 + ((top - power) / (top - bottom)) * (height - 52);
    const count = Math.round(this.clamp(4500 / steps, 36, 180)), powers = Array.from({ length: count + 1 }, (_, i) => low + (i * (high - low)) / count);
    const lengths = format => powers.map(power => this.last(10 ** power, format).step), all = this.formats.map(lengths), [right] = all;
    const paths = this.formats.map((format, row) => {
      let path = "", pen = "M", bar = "", fits = false;
      for (const [i, power] of powers.entries()) {
        const step = all[row][i], line = height + 10 + 15 * row;
        bar += Math.abs(step / right[i] - 1) < 0.02 ? `${fits ? "L" : "M"}${x(power).toFixed(1)},${line}` : "";
        fits = Math.abs(step / right[i] - 1) < 0.02;
        const seen = step >= 10 ** bottom && step <= 10 ** top;
        if (seen) path += `${pen}${x(power).toFixed(1)},${y(Math.log10(step)).toFixed(1)}`;
        pen = seen ? "L" : "M";
      }
      return `<path class="takeover-step" d="${path}" style="stroke:${format.color};stroke-width:${format.wide};stroke-opacity:${format.faint}" stroke-dasharray="${format.dash}"/>`
        + `<path class="takeover-right" d="${bar}" style="stroke:${format.color};stroke-width:5"/><text x="0" y="${height + 14 + 15 * row}">${format.name}</text>`;
    });
    const at = x(Math.log10(this.grad)), here = x(this.clamp(Math.log10(eps), low, high));
    const across = [-20, -15, -10, -5, 0, 5].map(k => `<text x="${x(k)}" y="${height - 18}" text-anchor="middle">${this.power(k)}</text>`);
    const up = [6, 3, 0, -3, -6].map(k => `<text x="${this.left - 6}" y="${y(k) + 4}" text-anchor="end">${k ? this.power(k) : 1}</text>`);
    this.field.innerHTML = `<svg viewBox="0 0 ${width} ${height + 68}" width="${width}" height="${height + 68}" style="overflow:hidden"><text x="${this.left}" y="11">length of the step, in learning rates</text>`
      + `<line class="zero" x1="${this.left}" x2="${width}" y1="${y(0)}" y2="${y(0)}"/><line class="zero" stroke-dasharray="2 4" x1="${here}" x2="${here}" y1="20" y2="${height - 32}"/>`
      + `<text x="${here + 4}" y="${y(bottom) - 3}">ε</text>` + paths.join("") + `<line class="takeover-here" x1="${at}" x2="${at}" y1="18" y2="${height + 52}"/>`
      + across.join("") + up.join("") + `<text x="${width - 8}" y="${height - 4}" text-anchor="end">size of the gradient</text></svg>`;
    this.found = Object.fromEntries(this.formats.map(format => [format.name, this.last(this.grad, format)]));
    const rows = this.formats.map(({ name, color, dash, wide, faint }) => {
      const { g, step, slots } = this.found[name];
      return `<tr><th scope="row"><svg width="26" height="9" aria-hidden="true"><path d="M0,4.5H26" style="stroke:${color};stroke-width:${wide};stroke-opacity:${faint}" stroke-dasharray="${dash}"/></svg> ${name}</th>`
        + `<td>${this.number(g)}</td><td>${this.number(slots.v)}</td><td>${this.number(step)}</td><td>${this.words(name)}</td></tr>`;
    });
    this.table.innerHTML = `<thead><tr><th scope="col">format</th><th scope="col">gradient</th><th scope="col">v</th><th scope="col">step</th><th scope="col">which is</th></tr></thead><tbody>${rows.join("")}</tbody>`;
    for (const [chip, whole] of this.chips) chip.setAttribute("aria-pressed", whole === this.whole);
    const power = Math.log10(this.grad);
    this.field.setAttribute("aria-valuenow", power.toFixed(2));
    this.field.setAttribute("aria-valuetext", `gradient ${this.number(this.grad)}, step ${this.number(this.found.float64.step)}`);
    this.said.textContent = `A gradient of ${this.number(this.grad)}: ${this.number(this.found.float64.step)} learning rates, as it should be. The bars show where a format has the right step.`;
  }

  /* What became of a step in a format. */
  words(name) {
    const { g, step, slots } = this.found[name], right = this.found.float64.step, off = step / right;
    if (name === "float64") return this.grad < this.values.eps ? "right: ε decides" : "right";
    if (g === 0) return "no gradient is left";
    if (!Number.isFinite(g)) return "the gradient is too large";
    if (Number.isNaN(step)) return "nothing can be said";
    if (slots.v === Infinity) return "v is too large";
    if (Math.abs(off - 1) < 0.02) return "right";
    if (slots.v === 0) return step === Infinity ? "v and ε are 0" : "v cannot be kept";
    return off > 1 ? "too long" : "too short";
  }
});
