/* The playground: several rules go down one landscape, from where the reader puts them. */
if (!customElements.get("adam-playground")) customElements.define("adam-playground", class extends AdamLive {
  begin() {
    this.names = new Set(this.spec.sliders.map(slider => slider.name));
    for (const place of this.spec.landscapes)
      place.at = place.code ? new Function("x", "y", `return [${place.code}];`) : this.surface(place);
    this.racing = new Set(this.spec.racing);
    this.schedule = this.spec.schedules[0];
    this.go(this.spec.landscapes[0].label);
  }

  get values() { return Object.fromEntries(this.spec.sliders.map(s => [s.name, this.chosen[s.name] ?? s.value])); }

  go(label) {
    this.place = this.spec.landscapes.find(place => place.label === label) ?? this.place;
    this.start = [...this.place.start];
  }

  shown() { return { on: this.place.label, from: this.start, rules: [...this.racing], schedule: this.schedule?.label }; }

  restore({ on, from, rules, schedule, ...chosen }) {
    this.go(on);
    this.follow(schedule);
    if (Array.isArray(from) && from.length === 2 && from.every(Number.isFinite)) this.start = from;
    if (Array.isArray(rules)) this.racing = new Set(rules.filter(name => this.spec.rules.some(r => r.name === name)));
    this.choose(chosen);
  }

  follow(label) { this.schedule = this.spec.schedules.find(schedule => schedule.label === label) ?? this.schedule; }

  /* A landscape known at the knots of a grid, with its derivatives [by y][by x]: cubic between the
     knots, straight beyond. */
  surface({ x, y, knots }) {
    const weights = (axis, u) => {
      const size = axis[1] - axis[0], left = this.clamp(Math.floor((u - axis[0]) / size), 0, axis.length - 2);
      const t = (u - axis[left]) / size, a = t * t * (3 - 2 * t), b = (6 * t * (1 - t)) / size;
      return [left, [[1 - a, size * t * (1 - t) ** 2], [a, size * t * t * (t - 1)]],
        [[-b, (1 - t) * (1 - 3 * t)], [b, t * (3 * t - 2)]]];
    };
    return (px, py) => {
      const cx = this.clamp(px, x[0], x.at(-1)), cy = this.clamp(py, y[0], y.at(-1));
      const [column, ...across] = weights(x, cx), [row, ...up] = weights(y, cy);
      const [value, byX, byY] = [[0, 0], [0, 1], [1, 0]].map(([k, j]) => {
        let sum = 0;
        for (const a of [0, 1]) for (const b of [0, 1]) for (const i of [0, 1]) for (const m of [0, 1])
          sum += up[k][b][i] * across[j][a][m] * knots[i][m][row + b][column + a];
        return sum;
      });
      return [value + byX * (px - cx) + byY * (py - cy), byX, byY];
    };
  }

  /* The path of a rule: for each step, from 0, where it is and how high. */
  path(rule) {
    const { times, beta1, beta2, eps, noise } = this.values, { at, rates } = this.place;
    const shared = { beta1, momentum: beta1, beta2, decay: beta2, eps, lr: times * rates[rule.name] };
    const given = Object.fromEntries(rule.hyperparameters.filter(name => name in shared).map(name => [name, shared[name]]));
    let point = this.start, states = point.map(() => rule.starts);
    const points = [[...point, at(...point)[0]]];
    this.spec.noise.forEach((normal, i) => {
      const grads = at(...point).slice(1);
      if (this.schedule) given.lr = shared.lr * this.schedule.factors[i];
      const after = point.map((x, k) => rule.step(x, grads[k] + noise * normal[k], ...states[k], i + 1, given));
      [point, states] = [after.map(a => a[0]), after.map(a => a.slice(1))];
      points.push([...point, at(...point)[0]]);
    });
    return points;
  }

  build() {
    const make = this.make, top = make("div", this, { class: "live-top" }), label = make("label", top, {}, "Landscape ");
    const select = make("select", label);
    for (const place of this.spec.landscapes) make("option", select, {}, place.label);
    select.value = this.place.label;
    select.onchange = () => { this.go(select.value); this.draw(); };
    if (this.schedule) {
      const choice = make("select", make("label", top, {}, "Schedule "));
      for (const schedule of this.spec.schedules) make("option", choice, {}, schedule.label);
      choice.value = this.schedule.label;
      choice.onchange = () => { this.follow(choice.value); this.draw(); };
    }
    const chips = make("div", top, { class: "live-chips", role: "group", "aria-label": "Rules" });
    this.chips = this.spec.rules.map(rule => {
      const chip = make("button", chips, { type: "button" });
      chip.innerHTML = `<svg width="26" height="8" aria-hidden="true"><path d="M0,4H26" style="stroke:${rule.color}" stroke-dasharray="${rule.dash}"/></svg> ${rule.label}`;
      chip.onclick = () => { this.racing.delete(rule.name) || this.racing.add(rule.name); this.draw(); };
      return chip;
    });
    const grid = make("div", this, { class: "playground-grid" });
    this.charts = make("div", grid, { class: "live-charts" });
    this.map = make("div", this.charts, {
      class: "playground-map", role: "slider", tabindex: 0, "aria-valuemin": this.place.view[0], "aria-valuemax": this.place.view[1],
      "aria-label": "Start. The arrow keys move it",
    });
    this.loss = make("div", make("div", grid, { class: "live-charts" }), { "aria-hidden": true });
    this.rates = make("div", this, { class: "live-sliders" });
    this.foot();
    const play = make("button", top, { type: "button" }, "Play");
    play.onclick = () => this.play();
    this.sliders(this.rates, this.spec.sliders);
    this.listen();
    this.draw();
  }

  play() {
    const steps = this.spec.noise.length, began = performance.now();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.draw();
    const frame = now => {
      this.until = this.clamp(Math.round(((now - began) / 4000) * steps), 0, steps); // a frame may be older than the click
      this.draw();
      if (this.until < steps) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  listen() {
    const put = event => {
      const box = this.map.getBoundingClientRect(), [left, right, low, high] = this.place.view;
      const x = left + ((event.clientX - box.left) / box.width) * (right - left);
      const y = high - ((event.clientY - box.top) / box.height) * (high - low);
      this.start = [this.clamp(x, left, right), this.clamp(y, low, high)].map(v => +v.toFixed(3));
      this.draw();
    };
    let moving = false;
    this.map.onpointerdown = event => { moving = true; this.map.setPointerCapture(event.pointerId); put(event); };
    this.map.onpointermove = event => { if (moving) put(event); };
    this.map.onpointerup = this.map.onpointercancel = () => (moving = false);
    this.map.onkeydown = event => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      const [left, right, low, high] = this.place.view;
      this.start = [this.clamp(this.start[0] + move[0] * (right - left) / 50, left, right),
        this.clamp(this.start[1] + move[1] * (high - low) / 50, low, high)].map(v => +v.toFixed(3));
      this.draw();
    };
  }

  draw() {
    const rules = this.spec.rules.filter(rule => this.racing.has(rule.name)), until = this.until ?? this.spec.noise.length;
    this.paths = Object.fromEntries(rules.map(rule => [rule.name, this.path(rule)]));
    const width = this.charts.clientWidth || 360, [left, right, low, high] = this.place.view;
    const height = (width * (high - low)) / (right - left), x = v => ((v - left) / (right - left)) * width, y = v => ((high - v) / (high - low)) * height;
    const near = ([a, b]) => Number.isFinite(a + b) && Math.abs(x(a)) < 9 * width && Math.abs(y(b)) < 9 * height;
    const line = points => points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)},${y(b).toFixed(1)}`).join("");
    const trail = rule => {
      const points = this.paths[rule.name].slice(0, until + 1), lost = points.findIndex(p => !near(p));
      const kept = lost < 0 ? points : points.slice(0, lost), [a, b] = kept.at(-1) ?? this.start;
      return `<path d="${line(kept)}" style="stroke:${rule.color}" stroke-dasharray="${rule.dash}"/><circle cx="${x(a)}" cy="${y(b)}" r="4" style="fill:${rule.color}"/>`;
    };
    const contours = this.place.contours.map(points => `<path class="contour" d="${line(points)}"/>`).join("");
    const lows = this.place.minima.map(([a, b]) => `<text x="${x(a)}" y="${y(b) + 4}" text-anchor="middle">★</text>`).join("");
    const [a, b] = this.start;
    this.map.innerHTML = `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" style="overflow:hidden">${contours}${lows}`
      + rules.map(trail).join("") + `<circle class="start" cx="${x(a)}" cy="${y(b)}" r="7"/></svg>`;
    this.curves(rules, until);
    this.chips.forEach((chip, i) => chip.setAttribute("aria-pressed", this.racing.has(this.spec.rules[i].name)));
    this.map.setAttribute("aria-valuenow", a);
    this.map.setAttribute("aria-valuetext", `start at ${this.number(a)}, ${this.number(b)}`);
    const ends = rules.map(rule => [rule.label, this.paths[rule.name][until][2] - this.place.lowest]);
    const best = ends.filter(([, end]) => Number.isFinite(end)).sort((p, q) => p[1] - q[1])[0];
    this.said.textContent = best ? `After ${until} steps lowest: ${best[0]}, ${best[1] < 1e-8 ? "less than 1e−8" : this.number(best[1])} above the minimum.` : "Choose a rule to race.";
  }

  curves(rules, until) {
    const width = this.loss.clientWidth || 240, height = 190, left = 40, steps = this.spec.noise.length, factors = this.schedule?.factors;
    const x = t => left + (t * (width - left - 8)) / steps, low = -8, high = 4, y = v => 22 + ((high - v) * (height - 40)) / (high - low);
    const level = ([, , value]) => this.clamp(Math.log10(Math.max(value - this.place.lowest, 1e-300)), low, high);
    const ticks = [4, 0, -4, -8].map(v => `<text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${v ? `10<tspan dy="-4" font-size="8">${`${v}`.replace("-", "−")}</tspan>` : 1}</text>`).join("");
    const lines = rules.map(rule => {
      const points = this.paths[rule.name].slice(0, until + 1).filter(p => !Number.isNaN(p[2]));
      return `<path d="${points.map((p, t) => `${t ? "L" : "M"}${x(t).toFixed(1)},${y(level(p)).toFixed(1)}`).join("")}" style="stroke:${rule.color}" stroke-dasharray="${rule.dash}"/>`;
    });
    this.loss.innerHTML = `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"><text x="${left}" y="11">height above the minimum</text>${ticks}`
      + `<line class="zero" x1="${left}" x2="${width}" y1="${height - 18}" y2="${height - 18}"/>` + lines.join("")
      + `<text x="${x(0)}" y="${height - 4}">step 0</text><text x="${width - 8}" y="${height - 4}" text-anchor="end">${steps}</text></svg>`
      + (factors ? `<svg viewBox="0 0 ${width} 64" width="${width}" height="64"><text x="${left}" y="11">learning rate</text>`
        + `<line class="zero" x1="${left}" x2="${width}" y1="60" y2="60"/><path style="stroke:currentColor" d="${factors.map((f, t) => `${t ? "L" : "M"}${x(t + 1).toFixed(1)},${(60 - 40 * f).toFixed(1)}`).join("")}"/></svg>` : "");
  }
});
