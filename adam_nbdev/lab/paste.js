/* Paste your numbers: where a reader's Adam stands after some steps, and the rule that stands there. */
if (!customElements.get("adam-paste")) customElements.define("adam-paste", class extends AdamLive {
  begin() {
    this.names = new Set();
    this.stands = this.spec.rules.map(rule => this.walk(rule));
    this.examples = Object.entries(this.spec.examples).map(([label, i]) => [label, this.asked(this.stands[i]).map(x => +x.toPrecision(7)).join(", ")]);
    this.text = this.examples[0]?.[1] ?? "";
  }

  shown() { return { text: this.text }; }

  restore({ text }) { if (typeof text === "string") this.text = text.slice(0, 2000); }

  /* Where a rule stands after each step, if nothing slipped. */
  walk(rule, { start = this.spec.start, given = this.spec.given, sign = 1 } = {}) {
    let kept = [start, ...rule.starts];
    return this.spec.grads.map((grad, i) => (kept = rule.step(kept[0], sign * grad, ...kept.slice(1), i + 1, given))[0]);
  }

  asked(stands) { return this.spec.at.map(step => stands[step - 1]); }

  /* The largest difference, as a share of the farthest way that either has gone. */
  distance(ours, theirs) {
    if (![...ours, ...theirs].every(Number.isFinite)) return Infinity;
    const gone = Math.max(...[...ours, ...theirs].map(x => Math.abs(x - this.spec.start)));
    return gone ? Math.max(...ours.map((x, i) => Math.abs(x - theirs[i]))) / gone : 0;
  }

  /* What can go wrong with a run of the right rule: what is said of it, and where each rule then stands. */
  get slips() { return (this.slipped ??= this.slip().map(([slip, words]) => [words, this.spec.rules.map(rule => this.walk(rule, slip))])); }

  slip() {
    const { given, start } = this.spec, without = name => Object.fromEntries(Object.entries(given).filter(([other]) => other !== name));
    const own = Object.keys(given).filter(name => name !== "weight_decay"); // not every Adam has one
    return [
      ...own.map(name => [{ given: without(name) }, `${name} was left at its default`]),
      [{ given: {} }, "all settings were left at their defaults"],
      [{ start: 0 }, `the weight began at 0, not at ${start}`],
      [{ sign: -1 }, "the steps went up the gradient, not down"],
    ];
  }

  /* The numbers in a text: without names that hold digits, strings, shapes, and what labels a number. */
  read(text) {
    const plain = text.replaceAll("−", "-").replace(/(['"])[^'"\n]*[a-z][^'"\n]*\1/gi, " ").replace(/shape=\([^)]*\)/g, " ");
    const found = plain.match(/(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?(?!\.?\w|\s*:)/gi) ?? [];
    return { numbers: found.map(Number), broken: /\b(?:nan|inf|infinity)\b|∞/i.test(plain) };
  }

  /* What is said of a text: a name, a sentence, and the rule if there is one. */
  judge(text) {
    const { at, rules, tolerance, grads } = this.spec, { numbers, broken } = this.read(text), all = grads.length;
    const steps = `${at.slice(0, -1).join(", ")} and ${at.at(-1)}`, where = `where the weight stands after the steps ${steps}`;
    if (!text.trim()) return { name: "", said: `Paste ${at.length} numbers: ${where}.` };
    if (broken || !numbers.every(Number.isFinite)) return { name: "That is not finite.", said: "There is a NaN or an infinity among the numbers. No rule that is known here gives one." };
    if (![at.length, all].includes(numbers.length)) {
      const count = { 0: "There is no number", 1: "There is 1 number" }[numbers.length] ?? `There are ${numbers.length} numbers`;
      return { name: "Not yet.", said: `${count}. Give ${at.length}, ${where}, or all ${all}, with a point for the decimals.` };
    }
    const of = stands => this.distance(numbers.length === all ? stands : this.asked(stands), numbers);
    const apart = this.stands.map(of), order = apart.map((_, i) => i).sort((a, b) => apart[a] - apart[b]);
    const same = rules.filter((_, i) => apart[i] <= tolerance), [rule] = same, until = rule ? rules.indexOf(rule) : rules.length;
    const slipped = this.slips.flatMap(([words, stands]) => {
      const found = rules.slice(0, until).find((_, i) => of(stands[i]) <= tolerance);
      return found ? [`${found.said}, if ${words}`] : [];
    });
    const or = slipped.length ? ` Or it is ${slipped.slice(0, 2).join("; or ")}.` : "";
    const [nearest] = order, off = x => `${this.number(+(100 * x).toPrecision(2))} %`;
    if (rule) {
      const others = same.slice(1).filter(other => !other.said.startsWith(rule.said));
      const other = order.find(i => apart[i] > tolerance), left = apart[rules.indexOf(rule)];
      const [, why] = [[1e-11, "about what double precision leaves"], [5e-6, "about what single precision leaves"], [tolerance, "about what a few printed digits leave"]].find(([most]) => left <= most);
      const agree = left ? `The largest difference is ${this.number(+left.toPrecision(1))} of the way gone, ${why}.` : "The numbers are the same to the last bit.";
      return { rule, name: [rule, ...others].map(one => one.said).join(" – or: "), said: `${agree} The next nearest is ${off(apart[other])} off.${or}` };
    }
    if (slipped.length) return { name: "A slip, it seems.", said: `It is ${slipped.slice(0, 2).join("; or ")}.` };
    const hints = [];
    if (numbers.some(x => grads.includes(x))) hints.push("One of the numbers is one of the gradients; what is asked for is the weight.");
    if (apart[nearest] < 0.025) hints.push("Half precision, or numbers printed with two digits, would explain as much.");
    else hints.push(`Do the numbers say ${where}, and did your Adam get the settings above?`);
    return { name: `None of the ${rules.length} that are known here.`, said: `The nearest is ${off(apart[nearest])} of the way off: ${rules[nearest].said}. ${hints.join(" ")}` };
  }

  build() {
    const make = this.make, { at, grads } = this.spec;
    make("p", this, { class: "paste-ask" }, `Give your Adam these ${grads.length} gradients, one a step:`);
    const chips = make("div", this, { class: "live-chips" });
    this.ways = Object.keys(this.spec.ways).map((label, i) => {
      const button = make("button", chips, { type: "button" }, label);
      button.onclick = () => this.turn(i);
      return button;
    });
    const copy = make("button", chips, { type: "button", class: "paste-copy" }, "Copy code");
    copy.onclick = () => {
      getSelection().selectAllChildren(this.code);
      navigator.clipboard?.writeText(this.code.textContent).catch(() => {});
      copy.textContent = "Copied";
      setTimeout(() => (copy.textContent = "Copy code"), 1500);
    };
    this.code = make("pre", this, { class: "paste-code" });
    const label = make("label", this, { class: "paste-ask" }, `Paste the ${at.length} numbers, the weight after the steps ${at.slice(0, -1).join(", ")} and ${at.at(-1)}:`);
    this.field = make("textarea", label, { rows: 2, spellcheck: false, autocomplete: "off", autocapitalize: "off" });
    this.field.onkeydown = event => event.stopPropagation(); // Jupyter would take the keys
    this.field.onfocus = () => this.examples.some(([, text]) => text === this.text) && this.field.select();
    this.field.oninput = () => this.put(this.field.value);
    const tries = make("div", this, { class: "live-chips paste-tries" });
    if (this.examples.length) make("span", tries, {}, "Or try");
    this.tries = this.examples.map(([label, text]) => {
      const button = make("button", tries, { type: "button" }, label);
      button.onclick = () => this.put((this.field.value = text));
      return button;
    });
    this.charts = make("div", this, { class: "paste-found", "aria-live": "polite" });
    this.named = make("p", this.charts, { class: "paste-name" });
    this.beside = make("p", this.charts, { class: "paste-beside" }, `Beside ${this.spec.rules[0].said}:`);
    this.lines = make("pre", this.charts, { class: "paste-lines" });
    this.foot();
    this.field.value = this.text;
    this.turn(0);
  }

  /* Show the code for another library. */
  turn(way) {
    this.code.textContent = Object.values(this.spec.ways)[way];
    this.ways.forEach((button, i) => button.setAttribute("aria-pressed", i === way));
  }

  put(text) {
    this.text = text;
    this.draw();
  }

  draw() {
    if (this.drawn === this.text) return; // only the width has changed
    this.drawn = this.text;
    const { rule, name, said } = (this.found = this.judge(this.text)), lines = rule?.lines ?? [];
    this.named.textContent = rule ? `Your Adam: ${name}.` : name;
    this.said.textContent = said;
    this.lines.textContent = "";
    this.lines.hidden = this.beside.hidden = !lines.length;
    for (const line of lines) this.make("span", this.lines, { class: line.startsWith("+") ? "more" : "less" }, line);
    this.examples.forEach(([, text], i) => this.tries[i].setAttribute("aria-pressed", text === this.text));
  }
});
