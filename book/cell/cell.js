/* Cells that the reader can change and run. The first Run asks for Python, which lives in a worker:
   one for the page, which Stop ends; the next Run starts another. */
(() => {
  const home = new URL(".", document.currentScript.src);
  const cannot =
    location.protocol === "file:"
      ? "This cell can be changed and run where the book is served, on the web or by a server on this machine; from a file the browser starts no Python. The notebook runs it everywhere."
      : !window.Worker || !window.WebAssembly
        ? "This cell can be changed and run in a newer browser; this one has no WebAssembly. The notebook runs it everywhere."
        : "";
  const TOKENS =
    /(#.*)|("""[^]*?(?:"""|$)|'''[^]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?)|\b(def|return|from|import|as|for|in|if|else|elif|while|lambda|not|and|or|is|with|try|except|raise|class|assert|pass|True|False|None)\b|(\b\d[\w.]*(?:(?<=e)[+-]\d+)?)|((?<=\bdef )\w+)|([-+*/%=<>!@]+)/g;
  const KINDS = ["c1", "s2", "k", "mi", "nf", "o"]; // the names that the theme's colours go by
  let worker, running;

  const make = (tag, parent, facts = {}, text = "") => {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(facts)) found.setAttribute(name, value);
    found.textContent = text;
    return parent.appendChild(found);
  };

  const colour = (place, code) => {
    let last = 0;
    place.textContent = "";
    for (const found of code.matchAll(TOKENS)) {
      place.append(code.slice(last, found.index));
      make("span", place, { class: KINDS[found.slice(1).findIndex(Boolean)] }, found[0]);
      last = found.index + found[0].length;
    }
    place.append(code.slice(last), "\n");
  };

  const insert = (field, text) => document.execCommand("insertText", false, text) || field.setRangeText(text, field.selectionStart, field.selectionEnd, "end");

  /* Enter keeps the indentation. Tab indents whoever writes, and moves on for whoever passes by or
     has pressed Escape, so that the keyboard gets out again. */
  const keys = (field, run) => {
    let writing = false;
    field.onblur = () => (writing = false);
    field.onpointerdown = () => (writing = true);
    field.onkeydown = event => {
      if (event.isComposing) return;
      const { key } = event;
      const before = field.value.slice(0, field.selectionStart), line = before.slice(before.lastIndexOf("\n") + 1);
      if (key === "Enter" && (event.ctrlKey || event.metaKey || event.shiftKey)) run();
      else if (key === "Enter") insert(field, "\n" + line.match(/^ */)[0] + (/:\s*$/.test(line) ? "    " : ""));
      else if (key === "Tab" && writing && !event.shiftKey) insert(field, " ".repeat(4 - (line.length % 4)));
      else if (key === "Tab" && writing && / {1,4}$/.test(line)) {
        field.selectionStart -= line.match(/ {1,4}$/)[0].length;
        insert(field, "");
      } else {
        if (key === "Escape") writing = false;
        else if (!["Tab", "Shift", "Control", "Alt", "Meta"].includes(key)) writing = true;
        return;
      }
      event.preventDefault();
    };
  };

  const SHOW = {
    text: (place, text) => make("pre", place, { class: "printed" }, text),
    error: (place, text) => make("pre", place, { class: "live-error" }, text),
    note: (place, text) => make("p", place, { class: "live-note" }, text),
    html: (place, html) => {
      const made = make("div", place, { class: "output text_html" });
      made.innerHTML = html;
      if (made.scrollWidth > made.clientWidth) made.tabIndex = 0; // so that the keyboard can scroll it
    },
    latex: (place, latex) => {
      const made = make("div", place, { class: "math" }, latex);
      window.MathJax?.typesetPromise?.([made]);
    },
  };

  const editable = (cell, number) => {
    const pre = cell.querySelector(".cell_input pre"), start = pre.textContent.trimEnd();
    if (cannot) return cell.querySelector(".cell_input").after(make("p", cell, { class: "live-note" }, cannot));
    cell.classList.add("live-cell");
    const shown = document.createElement("span");
    shown.append(...pre.childNodes);
    pre.append(shown);
    const field = make("textarea", pre, {
      "aria-label": `Python code, cell ${number}`, "aria-describedby": `live-keys-${number}`,
      spellcheck: false, autocapitalize: "off", autocomplete: "off", wrap: "off",
    });
    const bar = make("div", cell, { class: "live-bar" });
    cell.querySelector(".cell_input").after(bar);
    const [run, stop, reset] = ["Run", "Stop", "Reset"].map(word => make("button", bar, { type: "button" }, word));
    const said = make("span", bar, { role: "status" });
    make("small", bar, { id: `live-keys-${number}`, class: "live-keys" }, "Ctrl+Enter runs. Tab indents; after Esc it moves on.");
    const output = cell.querySelector(".cell_output") ?? make("div", cell, { class: "cell_output docutils container" });
    output.setAttribute("aria-live", "polite");
    const still = output.innerHTML;

    const fill = code => {
      field.value = code;
      colour(shown, code);
    };
    const rest = (words = "") => {
      said.textContent = words;
      stop.disabled = true;
      if (running === end) running = undefined;
    };
    const end = words => {
      worker?.terminate();
      worker = undefined;
      rest(words);
    };
    const hear = ({ kind, content }) => {
      if (kind === "running") {
        said.textContent = "Running …";
        output.textContent = "";
      }
      else if (kind === "done") rest("Done.");
      else if (kind === "failed") rest("An error ended it.");
      else if (kind === "broken") end(`Python broke off: ${content.slice(0, 300)}`);
      else if (kind === "text" && output.lastChild?.className === "printed") output.lastChild.append(content);
      else SHOW[kind](output, content);
    };
    const begin = () => {
      if (running === end) return;
      running?.("Stopped, for another cell runs.");
      running = end;
      stop.disabled = false;
      said.textContent = worker ? "Running …" : "Python starts: about 6 MB, a few seconds.";
      const mine = (worker ??= new Worker(new URL("worker.js", home), { type: "module" }));
      mine.onmessage = ({ data }) => mine === worker && hear(data);
      mine.onerror = () => mine === worker && end("Python could not be loaded here. The notebook runs this cell everywhere.");
      mine.postMessage(field.value);
    };
    run.onclick = begin;
    stop.onclick = () => end("Stopped.");
    reset.onclick = () => {
      if (running === end) end();
      rest();
      fill(start);
      output.innerHTML = still;
    };
    field.oninput = () => colour(shown, field.value);
    keys(field, begin);
    field.value = start;
    rest();
  };

  document.querySelectorAll("div.cell.tag_live").forEach((cell, place) => editable(cell, place + 1));
})();
