"use strict";
// Draws the charts from the data that curves.py makes, sorts tables, and unfolds what is printed. What is shown is
// read from the page's own controls, so any change of one is followed by drawing again.

const LEFT = 56, RIGHT = 392, TOP = 8, BOTTOM = 222, WIDTH = 400;  // as the chart of macros.html

const add = (node, attributes, children) => {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};
const html = (name, attributes = {}, ...children) => add(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  add(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

function format(value) {
  const size = Math.abs(value);
  const notation = size !== 0 && (size < 1e-4 || size >= 1e6) ? "scientific" : "standard";
  return value.toLocaleString("en-US", { notation, maximumSignificantDigits: 4 }).replaceAll("-", "−");
}
const whole = (step) => step.toLocaleString("en-US");
const short = (step) => (step < 1e4 ? whole(step) : step.toLocaleString("en-US", { notation: "compact" }));

// As bounded_interval of statistics.py; null stands for no limit.
function interval(mean, reach, [smallest, largest]) {
  const above = mean - smallest, below = largest - mean;
  if (smallest === null || above <= 0 || (largest !== null && below <= 0)) return [mean - reach, mean + reach];
  if (largest === null) return [-1, 1].map((sign) => smallest + above * Math.exp(sign * reach / above));
  const width = largest - smallest, step = reach * width / (above * below);
  return [-1, 1].map((sign) => smallest + width / (1 + below / above * Math.exp(-sign * step)));
}

// Of several lines, at each step: n, mean, lowest and highest value, ends of the 95% interval; null without a value.
function summarize(lines, length, bounds, quantiles) {
  return Array.from({ length }, (_, k) => {
    const values = lines.map((line) => line[k] ?? null).filter((v) => v !== null);
    const n = values.length;
    if (n === 0) return null;
    const mean = values.reduce((a, b) => a + b) / n;
    const variance = values.reduce((a, v) => a + (v - mean) ** 2, 0) / Math.max(n - 1, 1);
    const reach = n > 1 ? quantiles[Math.min(n - 2, quantiles.length - 1)] * Math.sqrt(variance / n) : 0;
    return { n, mean, range: [Math.min(...values), Math.max(...values)], t: interval(mean, reach, bounds) };
  });
}

function linearTicks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function logTicks(low, high) {
  const decades = Math.log10(high / low), every = Math.ceil(decades / 6);
  const factors = decades > 4 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 3, 5, 7];
  const exponents = Array.from({ length: decades + 3 }, (_, i) => Math.floor(Math.log10(low)) + i);
  const ticks = exponents.filter((e) => e % every === 0).flatMap((e) => factors.map((f) => f * 10 ** e))
    .filter((v) => v >= low * 0.999 && v <= high * 1.001);
  return ticks.length > 1 ? ticks : linearTicks(low, high, 4).filter((v) => v > 0);
}

class Chart {
  constructor(figure, comparison) {
    this.find = (selector) => figure.querySelector(selector);
    Object.assign(this, { figure, comparison, data: comparison.data.charts[figure.dataset.chart] });
    [this.select, this.log, this.tip, this.hair] = ["select", ".log", ".tip", ".hair"].map(this.find);
    this.find("details").addEventListener("toggle", () => this.tabulate());
    const plot = this.find("[role=img]");
    plot.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["pointermove", "pointerdown"]) plot.addEventListener(name, (event) => this.point(event));
    for (const name of ["pointerleave", "blur"]) plot.addEventListener(name, () => this.hide());
  }

  draw() {
    const { recipes, grids, quantiles } = this.comparison.data;
    const { name, grid, values, bounds } = this.data.variants[this.select ? this.select.value : 0];
    this.name = this.select ? `${this.data.title}: ${name}` : this.data.title;
    this.grid = grids[grid];
    this.recipes = this.comparison.shown().map((i) => {
      const runs = recipes[i].runs.map((run, j) => ({ ...run, line: values[i][j] }));
      const lines = runs.filter((run) => run.counts).map((run) => run.line);
      const means = summarize(lines, grids[grid].length, this.data.limits, quantiles);
      return { ...recipes[i], index: i, runs, means };
    });
    const runs = this.recipes.flatMap((r) => r.runs), some = runs.some((run) => run.counts && run.line.length);
    const found = runs.filter((run) => run.counts === some).flatMap((run) => run.line).filter((v) => v !== null);
    const fill = (selector, ...content) => this.find(selector).replaceChildren(...content);
    this.hide();
    this.scale(found, bounds.flatMap((bound) => bound.groups.flat()));
    const axes = found.length ? this.axes() : [svg("text", { x: LEFT, y: 30 }, "No values of the chosen recipes.")];
    const lines = this.recipes.map((r) => this.recipe(r)).reverse().flat();  // the best recipe on top
    fill("title", this.name + (this.logarithmic ? ", logarithmic" : ""));
    fill("desc", this.describe());
    fill(".axes", ...axes);
    fill(".lines", ...bounds.flatMap((bound) => this.bound(bound)), ...lines);
    fill(".events", ...this.recipes.flatMap((r) => this.events(r)));
    this.tabulate();
  }

  // Chooses the axes: of the runs that count, or of failed ones where there are no others.
  scale(found, bounds) {
    let [low, high] = [...found, ...bounds].filter((v) => v !== null)
      .reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    this.log.disabled = low <= 0;
    this.logarithmic = this.log.checked && low > 0;
    const f = this.logarithmic ? Math.log : (v) => v, inverse = this.logarithmic ? Math.exp : (v) => v;
    const margin = (f(high) - f(low)) * 0.05 || (this.logarithmic ? 0.4 : Math.abs(high) * 0.1 || 1);
    [low, high] = [inverse(f(low) - margin), inverse(f(high) + margin)];
    this.ticks = () => (this.logarithmic ? logTicks(low, high) : linearTicks(low, high, 5));
    [this.start, this.end] = [this.grid[0], this.grid.at(-1)];
    this.x = (step) => LEFT + (step - this.start) / (this.end - this.start || 1) * (RIGHT - LEFT);
    const share = (v) => Math.min(Math.max((f(v) - f(low)) / (f(high) - f(low)), -2), 3);
    this.y = (v) => BOTTOM - share(v) * (BOTTOM - TOP);
  }

  axes() {
    const steps = this.start === this.end ? [this.start] : linearTicks(this.start, this.end, 4.5);
    const anchor = (x) => (x > RIGHT - 12 ? "end" : "middle");
    return [
      ...this.ticks().map((v) => svg("text", { x: LEFT - 6, y: this.y(v) + 4, "text-anchor": "end" }, format(v))),
      ...this.ticks().map((v) => svg("line", { class: "grid", x1: LEFT, x2: RIGHT, y1: this.y(v), y2: this.y(v) })),
      ...steps.map((s) => svg("text", { x: this.x(s), y: BOTTOM + 18, "text-anchor": anchor(this.x(s)) }, short(s))),
      svg("line", { class: "base", x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM }),
    ];
  }

  // The points of a line, without the steps at which it has no value.
  points(values) {
    return values.map((v, k) => [k, v ?? null]).filter(([, v]) => v !== null && !(this.logarithmic && v <= 0))
      .map(([k, v]) => [this.x(this.grid[k]).toFixed(1), this.y(v).toFixed(1)]);
  }

  path(points, kind) {
    return svg("path", { class: kind, d: points.length ? `M${points.map((p) => p.join(" ")).join("L")}` : "" });
  }

  recipe({ index, color, dash, mark, runs, means }) {
    const symbol = (name, [x, y]) => svg("use", { href: `#${name}`, class: color, x, y });
    const band = this.comparison.band.value, several = means.filter((s) => s && s.n > 1 && band in s).length > 1;
    const floor = this.logarithmic ? 1e-300 : -Infinity;
    const edge = (end) => this.points(means.map((s) => (s && s.n > 1 ? Math.max(s[band][end], floor) : null)));
    const out = several ? [this.path([...edge(1), ...edge(0).reverse()], `band ${color}`)] : [];
    for (const run of runs.filter((r) => r.failed || this.comparison.seeds.checked)) {
      const line = this.points(run.line);
      out.push(this.path(line, `seed ${color} ${run.failed ? "lost" : ""}`));
      const inside = (y) => Math.min(Math.max(y, TOP + 3), BOTTOM - 3);
      if (run.failed) out.push(...line.slice(-1).map(([x, y]) => symbol("cross", [x, inside(y)])));
    }
    const line = this.points(means.map((s) => s && s.mean)), every = Math.max(1, Math.floor(line.length / 5));
    const marked = line.filter((_, k) => k % every === (index * 2) % every);
    return [...out, this.path(line, `mean ${color} ${dash}`), ...marked.map((point) => symbol(mark, point))];
  }

  // A line for each recipe, or one line with its name where it is the same for all.
  bound({ label, groups }) {
    if (groups.length > 1 || this.comparison.data.recipes.length === 1) {
      return this.recipes.map((r) => this.path(this.points(groups[r.index]), `bound ${r.color}`));
    }
    const [[, y]] = this.points(groups[0]);
    const name = svg("text", { x: RIGHT, y: y - 4, "text-anchor": "end" }, label);
    return [this.path([[LEFT, y], [RIGHT, y]], "bound"), name];
  }

  events({ label, color, events }) {
    const title = (step, text) => svg("title", {}, `${label}, step ${whole(step)}: ${text}`);
    return events.filter(([step]) => step >= this.start && step <= this.end).map(([step, text]) => (
      svg("path", { class: `event ${color}`, d: `M${this.x(step)} ${BOTTOM - 9}l5 9h-10z` }, title(step, text))));
  }

  describe() {
    const ends = this.recipes.map(({ label, means }) => {
      const k = means.findLastIndex((s) => s !== null);
      return k < 0 ? `${label}: no values` : `${label} ends at ${format(means[k].mean)} at step ${whole(this.grid[k])}`;
    });
    return `Lines over steps ${whole(this.start)} to ${whole(this.end)}. ${ends.join("; ")}.`;
  }

  point(event) {
    const box = event.currentTarget.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * WIDTH;
    const distances = this.grid.map((step) => Math.abs(this.x(step) - x));
    this.show(distances.indexOf(Math.min(...distances)));
  }

  key(event) {
    const end = this.grid.length - 1, now = this.cursor ?? (event.key === "ArrowLeft" ? end + 1 : -1);
    const moves = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: end, PageUp: now - 10, PageDown: now + 10 };
    if (event.key === "Escape") this.hide();
    if (!(event.key in moves)) return;
    event.preventDefault();
    const rows = this.show(Math.min(Math.max(moves[event.key], 0), end));
    const told = rows.map((r) => `${r.label} ${format(r.at.mean)}`).join(", ") || "no values";
    this.find("[aria-live]").textContent = `Step ${whole(this.grid[this.cursor])}: ${told}`;
  }

  // Shows the values at the k-th step beside the pointer; returns them.
  show(k) {
    this.cursor = k;
    const rows = this.recipes.map((r) => ({ ...r, at: r.means[k] })).filter((r) => r.at);
    rows.sort((a, b) => b.at.mean - a.at.mean);
    const spread = ({ n, range }) => (n > 1 ? `${range.map(format).join(" to ")}, n = ${n}` : "n = 1");
    const lines = rows.slice(0, 12).map((r) => html("div", {}, this.comparison.swatch(r.index),
      html("span", {}, r.label), html("b", {}, format(r.at.mean)), html("small", {}, spread(r.at))));
    if (rows.length > 12) lines.push(html("small", {}, `and ${rows.length - 12} more`));
    this.tip.replaceChildren(html("b", {}, `Step ${whole(this.grid[k])}`), ...lines);
    const x = this.x(this.grid[k]), [side, from] = x < WIDTH / 2 ? ["left", x] : ["right", WIDTH - x];
    this.tip.style.cssText = `${side}: calc(${from / WIDTH * 100}% + 12px)`;
    this.tip.hidden = false;
    add(this.hair, { x1: x, x2: x, visibility: "visible" }, []);
    return rows;
  }

  hide() {
    this.cursor = null;
    this.tip.hidden = true;
    this.hair.setAttribute("visibility", "hidden");
  }

  // The chart as a table of means, at up to 60 of its steps.
  tabulate() {
    if (!this.find("details").open) return;
    const every = Math.ceil(this.grid.length / 60), last = this.grid.length - 1;
    const steps = this.grid.map((_, k) => k).filter((k) => k % every === 0 || k === last);
    const range = (s) => (s.n > 1 ? ` (${s.range.map(format).join(" to ")})` : "");
    const cell = (s) => html("td", { class: "n" }, s ? format(s.mean) + range(s) : "–");
    const head = (scope, text) => html("th", { class: "n", scope }, text);
    const row = (k) => html("tr", {}, head("row", whole(this.grid[k])), ...this.recipes.map((r) => cell(r.means[k])));
    const heads = html("tr", {}, head("col", "Step"), ...this.recipes.map((r) => head("col", r.label)));
    const caption = html("caption", { class: "caption" }, `${this.name}: mean over seeds, and range`);
    const table = html("table", {}, caption, html("thead", {}, heads), html("tbody", {}, ...steps.map(row)));
    this.find("details .scroll").replaceChildren(table);
  }
}

class Comparison {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script.data").textContent);
    this.boxes = [...root.querySelectorAll(".recipe input")];
    [this.seeds, this.band] = ["seeds", "band"].map((name) => root.querySelector(`[name=${name}]`));
    this.charts = [...root.querySelectorAll(".chart")].map((figure) => new Chart(figure, this));
    root.addEventListener("change", (event) => {
      const only = event.target.closest(".chart");
      this.charts.filter((chart) => !only || chart.figure === only).forEach((chart) => chart.draw());
    });
    for (const button of root.querySelectorAll(".options button")) button.addEventListener("click", () => {
      this.boxes.forEach((box) => { box.checked = button.value === "all"; });
      this.charts.forEach((chart) => chart.draw());
    });
    this.charts.forEach((chart) => chart.draw());
  }

  shown() { return this.boxes.flatMap((box, i) => (box.checked ? [i] : [])); }

  swatch(i) { return this.boxes[i].parentNode.querySelector("svg").cloneNode(true); }
}

// Sorts a table by a column: numbers before words, and what has no value last either way.
function sort(head) {
  const table = head.closest("table"), column = head.cellIndex;
  const opposite = { ascending: "descending", descending: "ascending" };
  const order = opposite[head.getAttribute("aria-sort")] ?? head.dataset.sort, sign = order === "ascending" ? 1 : -1;
  table.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const compare = (a, b) => {
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    const difference = Number(a) - Number(b);
    return sign * (Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference);
  };
  const value = (row) => row.cells[column].dataset.v;
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => compare(value(a), value(b))));
}

document.querySelectorAll("section.comparison").forEach((root) => new Comparison(root));
for (const button of document.querySelectorAll("th[data-sort] button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details.protocol:not([open])")];
  folded.forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => folded.forEach((details) => { details.open = false; }));
