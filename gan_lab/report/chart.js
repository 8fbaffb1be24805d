// One chart as SVG. A section's data: recipes, grids of steps, and charts with their variants; see curves.py.

class Chart {
  constructor(figure, data, section) {
    Object.assign(this, { figure, data, section, variant: 0, log: data.log, cursor: null, cache: new Map() });
    const gap = data.variants.findIndex((v) => v.name === "joint");
    if (gap > 0) this.variant = gap;
    this.plot = make("div", { class: "plot" });
    this.readout = make("p", { class: "sr", "aria-live": "polite" });
    this.table = make("div", { class: "scroll" });
    const details = make("details", { class: "data-table", ontoggle: () => details.open && this.tabulate() },
      make("summary", {}, "Data table"), this.table);
    this.details = details;
    figure.append(this.tools(), this.plot, this.readout, details);
  }

  tools() {
    this.scale = make("button", { type: "button", "aria-pressed": String(this.log), onclick: () => {
      this.log = !this.log; this.scale.setAttribute("aria-pressed", String(this.log)); this.draw();
    } }, "log scale");
    const tools = make("div", { class: "tools" }, this.scale);
    if (this.data.variants.length > 1) {
      const select = make("select", { "aria-label": `${this.data.title}: which`, onchange: () => {
        this.variant = Number(select.value); this.draw(); if (this.details.open) this.tabulate();
      } }, ...this.data.variants.map((v, i) => make("option", { value: i }, v.name)));
      select.value = String(this.variant);
      tools.prepend(select);
    }
    return tools;
  }

  get current() { return this.data.variants[this.variant]; }
  get grid() { return this.section.data.grids[this.current.grid]; }
  get name() {
    const { title, variants } = this.data;
    return variants.length > 1 ? `${title}: ${this.current.name}` : title;
  }

  summaries() {
    if (!this.cache.has(this.variant)) {
      const counts = this.section.data.recipes.map((r) => r.runs.map((run) => run.counts));
      this.cache.set(this.variant, this.current.values.map((runs, i) => summarize(runs, counts[i], this.grid.length)));
    }
    return this.cache.get(this.variant);
  }

  // The range of y: all values of the visible runs that count, or of failed ones where there are no others.
  range(shown) {
    const collect = (failed) => {
      const out = [];
      for (const i of shown) this.current.values[i].forEach((run, j) => {
        if (this.section.data.recipes[i].runs[j].counts !== failed) for (const v of run) if (v !== null) out.push(v);
      });
      return out;
    };
    let values = collect(false);
    if (!values.length) values = collect(true);
    for (const bound of this.current.bounds) for (const line of bound.groups) for (const v of line) if (v !== null) values.push(v);
    return values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  }

  draw(width = this.plot.clientWidth) {
    if (width < 50) return;
    const shown = this.section.shown();
    let [low, high] = this.range(shown);
    this.plot.replaceChildren();
    if (low > high) { this.plot.append(make("p", { class: "note" }, "No values of the chosen recipes.")); this.axis = null; return; }
    const log = this.log && low > 0;
    this.scale.disabled = low <= 0;
    this.scale.title = low <= 0 ? "Not all values are positive" : "";
    const f = log ? Math.log : (v) => v;
    if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
    else if (log) [low, high] = [low / (high / low) ** 0.05, high * (high / low) ** 0.05];
    else [low, high] = [low - (high - low) * 0.05, high + (high - low) * 0.05];
    const height = Math.round(Math.min(Math.max(width * 0.62, 210), 290));
    const ticks = log ? logTicks(low, high) : niceTicks(low, high, 5);
    const left = 14 + 6.6 * Math.max(...ticks.map((t) => format(t).length), 2);
    const area = { left, right: width - 12, top: 8, bottom: height - 26 };
    const [first, last] = [this.grid[0], this.grid[this.grid.length - 1]];
    const x = (step) => area.left + ((step - first) / (last - first || 1)) * (area.right - area.left);
    const y = (v) => {
      const share = (f(v) - f(low)) / (f(high) - f(low));
      return area.bottom - Math.min(Math.max(share, -2), 3) * (area.bottom - area.top);
    };
    this.axis = { x, y, area, width, height, log };
    const id = `clip-${Chart.count = (Chart.count || 0) + 1}`;
    const svg = make("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
      "aria-labelledby": `${id}-title ${id}-desc`, onkeydown: (e) => this.onKey(e), onblur: () => this.hide(),
      onpointermove: (e) => this.onPointer(e), onpointerdown: (e) => this.onPointer(e), onpointerleave: () => this.hide() },
      make("svg:title", { id: `${id}-title` }, this.name + (log ? ", logarithmic" : "")),
      make("svg:desc", { id: `${id}-desc` }, this.describe(shown)),
      make("svg:clipPath", { id }, make("svg:rect", { x: area.left - 1, y: area.top - 4, width: area.right - area.left + 6,
        height: area.bottom - area.top + 8 })));
    this.drawAxes(svg, ticks, first, last);
    const inside = make("svg:g", { "clip-path": `url(#${id})` });
    svg.append(inside);
    this.drawBounds(inside);
    for (const i of [...shown].reverse()) this.drawRecipe(inside, i);
    for (const i of shown) this.drawEvents(svg, i);
    this.hair = make("svg:line", { class: "hair", y1: area.top, y2: area.bottom, visibility: "hidden" });
    this.tip = make("div", { class: "tip", hidden: "" });
    svg.append(this.hair);
    this.plot.append(svg, this.tip);
  }

  drawAxes(svg, ticks, first, last) {
    const { x, y, area } = this.axis;
    for (const t of ticks) svg.append(
      make("svg:line", { class: "grid", x1: area.left, x2: area.right, y1: y(t), y2: y(t) }),
      make("svg:text", { x: area.left - 6, y: y(t) + 4, "text-anchor": "end" }, format(t)));
    const steps = first === last ? [first] : niceTicks(first, last, (area.right - area.left) / 75);
    for (const s of steps) svg.append(
      make("svg:line", { class: "tick", x1: x(s), x2: x(s), y1: area.bottom, y2: area.bottom + 4 }),
      make("svg:text", { x: x(s), y: area.bottom + 17, "text-anchor": x(s) > area.right - 12 ? "end" : "middle" }, formatStep(s)));
    svg.append(make("svg:line", { class: "base", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }));
  }

  // Points of a line, skipping the steps it has no value at.
  line(values) {
    const { x, y } = this.axis;
    const points = [];
    values.forEach((v, i) => { if (v !== null && v !== undefined && !(this.axis.log && v <= 0)) points.push([x(this.grid[i]), y(v)]); });
    return points.map(([a, b]) => [a.toFixed(1), b.toFixed(1)]);
  }

  static path(points) { return points.length ? "M" + points.map((p) => p.join(" ")).join("L") : ""; }

  drawRecipe(parent, i) {
    const { band, seeds } = this.section.options;
    const style = look(i);
    const summary = this.summaries()[i];
    if (band !== "none") {
      const [a, b] = band === "range" ? ["low", "high"] : ["from", "to"];
      const floor = this.axis.log ? 1e-300 : -Infinity;
      const several = summary.map((s) => (s && s.n > 1 ? s : null));
      const up = this.line(several.map((s) => s && Math.max(s[b], floor)));
      const down = this.line(several.map((s) => s && Math.max(s[a], floor)));
      if (up.length > 1) parent.append(make("svg:path", { class: `band ${style.color}`, d: Chart.path([...up, ...down.reverse()]) + "z" }));
    }
    const runs = this.section.data.recipes[i].runs;
    this.current.values[i].forEach((values, j) => {
      if (!seeds && (runs[j].counts || !this.failed(runs[j]))) return;
      const points = this.line(values);
      parent.append(make("svg:path", { class: `seed ${style.color}${runs[j].counts ? "" : " lost"}`, d: Chart.path(points) }));
      if (this.failed(runs[j]) && points.length) {
        const [px, py] = points[points.length - 1].map(Number);
        const { top, bottom } = this.axis.area;
        parent.append(mark("cross", px, Math.min(Math.max(py, top + 3), bottom - 3), 3.5, { class: style.color }));
      }
    });
    const points = this.line(summary.map((s) => s && s.mean));
    parent.append(make("svg:path", { class: `mean ${style.color}`, d: Chart.path(points), "stroke-dasharray": style.dash }));
    const every = Math.max(1, Math.floor(points.length / 5));
    for (let k = (i * 2) % every; k < points.length; k += every) {
      parent.append(mark(style.mark, Number(points[k][0]), Number(points[k][1]), 3, { class: style.color }));
    }
  }

  failed(run) { return ["collapsed", "diverged", "failed", "unreadable"].includes(run.status); }

  drawBounds(parent) {
    const shown = this.section.shown();
    for (const [b, bound] of this.current.bounds.entries()) {
      const common = bound.groups.length === 1 && this.section.data.recipes.length > 1;
      bound.groups.forEach((values, i) => {
        if (!common && !shown.includes(i)) return;
        const points = this.line(values);
        if (!points.length) return;
        if (common) points[points.length - 1][0] = this.axis.area.right.toFixed(1);
        parent.append(make("svg:path", { class: `bound ${common ? "" : look(i).color}`, d: Chart.path(points) }));
        if (common) parent.append(make("svg:text", { class: "label", x: this.axis.area.right, y: Number(points[0][1]) - 4,
          "text-anchor": "end" }, bound.label));
      });
    }
  }

  drawEvents(svg, i) {
    const { x, area } = this.axis;
    const last = this.grid[this.grid.length - 1];
    for (const [step, text] of this.section.data.recipes[i].events) {
      if (step < this.grid[0] || step > last) continue;
      svg.append(make("svg:path", { class: `event ${look(i).color}`, d: `M${x(step)} ${area.bottom - 9}l5 9h-10z` },
        make("svg:title", {}, `${this.section.data.recipes[i].label}, step ${step}: ${text}`)));
    }
  }

  describe(shown) {
    const summaries = this.summaries();
    const ends = shown.map((i) => {
      const k = summaries[i].findLastIndex((s) => s !== null);
      return k < 0 ? `${this.section.data.recipes[i].label}: no values`
        : `${this.section.data.recipes[i].label} ends at ${format(summaries[i][k].mean)} at step ${this.grid[k]}`;
    });
    return `Lines over steps ${this.grid[0]} to ${this.grid[this.grid.length - 1]}. ${ends.join("; ")}.`;
  }

  onPointer(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * this.axis.width;
    let best = 0;
    this.grid.forEach((s, k) => { if (Math.abs(this.axis.x(s) - at) < Math.abs(this.axis.x(this.grid[best]) - at)) best = k; });
    this.show(best, false);
  }

  onKey(event) {
    const end = this.grid.length - 1;
    const now = this.cursor ?? (event.key === "ArrowLeft" ? end + 1 : -1);
    const moves = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: end, PageUp: now - 10, PageDown: now + 10 };
    if (event.key === "Escape") { this.hide(); return; }
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.show(Math.min(Math.max(moves[event.key], 0), end), true);
  }

  // The values at one step: beside the pointer, and for the keyboard also to a screen reader.
  show(k, speak) {
    if (!this.axis) return;
    this.cursor = k;
    const { recipes } = this.section.data;
    const rows = this.section.shown().map((i) => [i, this.summaries()[i][k]]).filter(([, s]) => s);
    rows.sort((a, b) => b[1].mean - a[1].mean);
    const px = this.axis.x(this.grid[k]);
    this.hair.setAttribute("x1", px);
    this.hair.setAttribute("x2", px);
    this.hair.setAttribute("visibility", "visible");
    const spread = (s) => (s.n > 1 ? `${format(s.low)} to ${format(s.high)}, n = ${s.n}` : "n = 1");
    this.tip.replaceChildren(make("b", {}, `Step ${this.grid[k].toLocaleString("en-US")}`),
      ...rows.slice(0, 12).map(([i, s]) => make("div", {}, key(i), make("span", { class: "who" }, recipes[i].label),
        make("span", { class: "value" }, format(s.mean)), make("small", {}, spread(s)))),
      ...(rows.length > 12 ? [make("small", {}, `and ${rows.length - 12} more`)] : []));
    this.tip.hidden = false;
    const scale = this.plot.clientWidth / this.axis.width;
    const room = this.plot.clientWidth - this.tip.offsetWidth;
    const right = px * scale + 14;
    this.tip.style.left = `${Math.max(0, right <= room ? right : Math.min(px * scale - 14 - this.tip.offsetWidth, room))}px`;
    if (speak) this.readout.textContent = `Step ${this.grid[k]}: ${rows.map(([i, s]) => `${recipes[i].label} ${format(s.mean)}`).join(", ") || "no values"}`;
  }

  hide() {
    this.cursor = null;
    if (this.tip) { this.tip.hidden = true; this.hair.setAttribute("visibility", "hidden"); }
  }

  // The chart as a table of means, at up to 60 of its steps.
  tabulate() {
    const shown = this.section.shown();
    const { recipes } = this.section.data;
    const every = Math.ceil(this.grid.length / 60);
    const steps = this.grid.map((_, k) => k).filter((k) => k % every === 0 || k === this.grid.length - 1);
    const cell = (s) => (s ? `${format(s.mean)}${s.n > 1 ? ` (${format(s.low)} to ${format(s.high)})` : ""}` : "–");
    this.table.replaceChildren(make("table", {},
      make("caption", {}, `${this.name}: mean over seeds, and range`),
      make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "n" }, "Step"),
        ...shown.map((i) => make("th", { scope: "col", class: "n" }, recipes[i].label)))),
      make("tbody", {}, ...steps.map((k) => make("tr", {}, make("th", { scope: "row", class: "n" }, this.grid[k].toLocaleString("en-US")),
        ...shown.map((i) => make("td", { class: "n" }, cell(this.summaries()[i][k]))))))));
  }
}
