/* The memory: what each rule still knows of every past gradient, today, after the reader's spike. */
if (!customElements.get("adam-memory")) customElements.define("adam-memory", class extends AdamLive {
  begin() {
    this.names = new Set(this.spec.sliders.map(slider => slider.name));
    ({ at: this.at, high: this.high } = this.spec.spike);
  }

  get values() { return Object.fromEntries(this.spec.sliders.map(s => [s.name, this.chosen[s.name] ?? s.value])); }
  get today() { return Math.round(this.values.today); }

  shown() { return { at: this.at, high: this.high }; }

  restore({ at, high, ...chosen }) {
    if (at >= 1 && at <= this.spec.grads.length) this.at = Math.round(at);
    if (Number.isFinite(high)) this.high = this.clamp(high, ...this.spec.heights);
    this.choose(chosen);
  }

  /* The gradients, with the spike or with the ordinary gradient in its place. */
  grads(spike = true) { return this.spec.grads.map((g, i) => (spike && i + 1 === this.at ? this.high : g)); }

  /* The updates of a rule under some gradients, and its slots after the last. */
  follow(rule, grads) {
    const { beta1, beta2 } = this.values, shared = { beta1, momentum: beta1, beta2, decay: beta2, lr: rule.mean ? 1 - beta1 : 1 };
    const given = Object.fromEntries(rule.hyperparameters.filter(name => name in shared).map(name => [name, shared[name]]));
    let state = rule.starts;
    const updates = grads.map((grad, i) => {
      const [param, ...after] = rule.step(0, grad, ...state, i + 1, given);
      state = after;
      return -param;
    });
    return [updates, state];
  }

  /* What a gradient adds to the last update, for 1 of it. With its sign turned all squares, and so
     all scales, stay as they are; half the difference is its share. */
  weights(rule, grads) {
    const last = list => this.follow(rule, list)[0].at(-1), whole = last(grads);
    return grads.map((g, i) => (whole - last(grads.map((h, k) => (k === i ? -h : h)))) / (2 * g));
  }

  /* What the square of a gradient adds to the scale, for 1 of it. */
  squares(rule, count) {
    const scale = rule.slots.indexOf(rule.scale), impulse = i => Array.from({ length: count }, (_, k) => +(k === i));
    return Array.from({ length: count }, (_, i) => this.follow(rule, impulse(i))[1][scale]);
  }

  find(rule) {
    const today = this.today, [spiked, plain] = [true, false].map(spike => this.grads(spike).slice(0, today));
    return {
      weights: this.weights(rule, spiked), before: this.weights(rule, plain), squares: this.squares(rule, today),
      steps: this.follow(rule, this.grads())[0], without: this.follow(rule, plain)[0].at(-1),
    };
  }

  build() {
    const make = this.make;
    this.charts = make("div", this, { class: "live-charts" });
    this.input = make("div", this.charts, {
      class: "memory-input", role: "slider", tabindex: 0, "aria-valuemin": 1, "aria-valuemax": this.spec.grads.length,
      "aria-label": "Spike. Left and right move it, up and down change its height",
    });
    this.output = make("div", this.charts, { "aria-hidden": true });
    this.rates = make("div", this, { class: "live-sliders" });
    this.foot();
    this.listen();
    this.sliders(this.rates, this.spec.sliders);
    this.draw();
  }

  listen() {
    const count = this.spec.grads.length, [low, high] = this.spec.heights;
    const put = event => {
      const box = this.input.getBoundingClientRect();
      this.at = this.clamp(1 + Math.round(((event.clientX - box.left - this.left) / (box.width - this.left - 8)) * (count - 1)), 1, count);
      this.high = +this.clamp(((this.floor - (event.clientY - box.top)) / (this.floor - 16)) * high, low, high).toPrecision(2);
      this.draw();
    };
    let moving = false;
    this.input.onpointerdown = event => { moving = true; this.input.setPointerCapture(event.pointerId); put(event); };
    this.input.onpointermove = event => { if (moving) put(event); };
    this.input.onpointerup = this.input.onpointercancel = () => (moving = false);
    this.input.onkeydown = event => {
      const [move, raise] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 0.5], ArrowDown: [0, -0.5] }[event.key] ?? [];
      if (move === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.at = this.clamp(this.at + move, 1, count);
      this.high = +this.clamp(this.high + raise, low, high).toPrecision(3);
      this.draw();
    };
  }

  draw() {
    const width = this.charts.clientWidth || 420, grads = this.grads(), count = grads.length, { rules } = this.spec, today = this.today;
    [this.left, this.floor] = [40, 74];
    const x = i => this.left + (i * (width - this.left - 8)) / (count - 1), bar = Math.max(2, (width - this.left) / count - 2.5);
    const found = (this.found = Object.fromEntries(rules.map(rule => [rule.name, this.find(rule)])));
    const frame = (height, title, inner) => `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"><text x="${this.left}" y="11">${title}</text>${inner}</svg>`;
    const cursor = height => `<line class="cursor" x1="${x(today - 1)}" x2="${x(today - 1)}" y1="14" y2="${height}"/>`;
    const tick = (value, y) => `<text x="${this.left - 7}" y="${y + 4}" text-anchor="end">${this.number(+value.toPrecision(2))}</text>`;
    const unit = (this.floor - 16) / this.spec.heights[1];
    this.input.innerHTML = frame(90, "gradients: drag the spike", tick(this.high, this.floor - this.high * unit) + grads.map((g, i) =>
      `<rect x="${x(i) - bar / 2}" y="${this.floor - g * unit}" width="${bar}" height="${g * unit}" class="${i + 1 === this.at ? "now" : i < today ? "" : "later"}"/>`).join("")
      + cursor(this.floor) + `<text x="${this.clamp(x(today - 1), this.left + 16, width - 24)}" y="87" text-anchor="middle">today</text>`);
    const bands = rules.map((rule, i) => {
      const { weights, before, squares } = found[rule.name], top = Math.max(...weights, ...before) || 1, most = Math.max(...squares) || 1;
      const y = w => 62 - (44 * Math.max(w, 0)) / top;
      const inner = weights.map((w, k) => `<rect class="memory-before" x="${x(k) - bar / 2}" y="${y(before[k])}" width="${bar}" height="${62 - y(before[k])}"/>`
        + `<rect x="${x(k) - bar / 2}" y="${y(w)}" width="${bar}" height="${62 - y(w)}" style="fill:${rule.color}"/>`
        + `<rect class="memory-square" x="${x(k) - bar / 2}" y="66" width="${bar}" height="7" style="fill-opacity:${(squares[k] / most).toFixed(3)}"/>`).join("");
      return frame(80, `<tspan class="name">${rule.label}</tspan>${i ? "" : ": what counts in today's step"}`, tick(top, 18) + inner + cursor(73));
    });
    const all = rules.flatMap(rule => found[rule.name].steps), high = Math.max(...all), y = v => 88 - (66 * v) / high;
    const lines = rules.map(rule => `<path d="${found[rule.name].steps.map((v, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(v).toFixed(1)}`).join("")}" style="stroke:${rule.color}" stroke-dasharray="${rule.dash}"/>`).join("");
    const steps = `<line class="zero" x1="${this.left}" x2="${width}" y1="88" y2="88"/>${tick(high, 22)}${tick(0, 88)}${cursor(88)}${lines}`;
    this.output.innerHTML = bands.join("") + frame(94, "length of each step, in learning rates", steps)
      + `<p class="memory-key"><span><i class="outlined"></i> without the spike</span><span><i class="shaded"></i> its square, in the scale</span>`
      + rules.map(rule => `<span><svg width="26" height="8"><path d="M0,4H26" style="stroke:${rule.color}" stroke-dasharray="${rule.dash}"/></svg> ${rule.label}</span>`).join("") + "</p>";
    this.input.setAttribute("aria-valuenow", this.at);
    this.input.setAttribute("aria-valuetext", `step ${this.at}, height ${this.number(this.high)}`);
    const shares = rules.map(rule => `${rule.label} ${this.number(+(found[rule.name].steps[today - 1] / found[rule.name].without).toPrecision(2))}`);
    this.said.textContent = `Today's step, as a share of what it would be without the spike: ${shares.join(", ")}.`;
  }
});
