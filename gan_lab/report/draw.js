// What charts are drawn with: elements, numbers, the looks of recipes, means over seeds, and ticks.

const SVG = "http://www.w3.org/2000/svg";
const DASHES = ["", "7 3", "2 3", "10 3 2 3", "4 2"];
const MARKS = ["circle", "square", "triangle", "diamond", "down", "plus", "ring"];
const QUANTILES = JSON.parse(document.getElementById("quantiles").textContent);

function make(name, attributes = {}, ...children) {
  const node = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function format(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e").replaceAll("-", "−");
  const text = String(Number(value.toPrecision(4)));
  return (size >= 1e4 ? Number(text).toLocaleString("en-US") : text).replace("-", "−");
}

function formatStep(step) {
  if (step >= 1e6) return `${Number((step / 1e6).toPrecision(3))}M`;
  return step >= 1e4 ? `${Number((step / 1e3).toPrecision(4))}k` : step.toLocaleString("en-US");
}

// A recipe's look: colour, dashes and mark together differ for 280 recipes, colour alone for 8.
const look = (i) => ({ color: `c${i % 8}`, dash: DASHES[(i + Math.floor(i / 40)) % 5], mark: MARKS[i % 7] });

function mark(kind, x, y, r, attributes) {
  const shapes = {
    square: `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    triangle: `M${x} ${y - 1.25 * r}L${x + 1.2 * r} ${y + r}H${x - 1.2 * r}z`,
    down: `M${x} ${y + 1.25 * r}L${x + 1.2 * r} ${y - r}H${x - 1.2 * r}z`,
    diamond: `M${x} ${y - 1.4 * r}L${x + 1.4 * r} ${y}L${x} ${y + 1.4 * r}L${x - 1.4 * r} ${y}z`,
    plus: `M${x - 1.3 * r} ${y}h${2.6 * r}M${x} ${y - 1.3 * r}v${2.6 * r}`,
    cross: `M${x - r} ${y - r}l${2 * r} ${2 * r}M${x - r} ${y + r}l${2 * r} ${-2 * r}`,
  };
  if (kind in shapes) return make("svg:path", { d: shapes[kind], ...attributes, class: `mark ${kind} ${attributes.class}` });
  return make("svg:circle", { cx: x, cy: y, r: 1.1 * r, ...attributes, class: `mark ${kind} ${attributes.class}` });
}

function key(i) {
  const style = look(i);
  return make("svg:svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true", class: "swatch" },
    make("svg:line", { x1: 1, x2: 29, y1: 6, y2: 6, class: `mean ${style.color}`, "stroke-dasharray": style.dash }),
    mark(style.mark, 15, 6, 3.2, { class: style.color }));
}

// Over the runs of a recipe that count, at each step: mean, n, lowest and highest, and the 95% t interval.
function summarize(runs, counts, length) {
  const out = [];
  for (let i = 0; i < length; i++) {
    const values = [];
    runs.forEach((run, j) => { if (counts[j] && i < run.length && run[i] !== null) values.push(run[i]); });
    const n = values.length;
    if (n === 0) { out.push(null); continue; }
    const mean = values.reduce((a, b) => a + b, 0) / n;
    const sd = n > 1 ? Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (n - 1)) : 0;
    const t = n > 1 ? QUANTILES[Math.min(n - 2, QUANTILES.length - 1)] : 0;
    const reach = (t * sd) / Math.sqrt(n);
    out.push({ n, mean, low: Math.min(...values), high: Math.max(...values), from: mean - reach, to: mean + reach });
  }
  return out;
}

function niceTicks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const out = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) out.push(Number(v.toPrecision(12)));
  return out;
}

function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const factors = decades > 4 ? [1] : decades > 1.6 ? [1, 3] : [1, 2, 3, 5, 7];
  const every = Math.max(1, Math.ceil(decades / 6));
  const out = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++) {
    if (e % every === 0) for (const f of factors) out.push(Number((f * 10 ** e).toPrecision(3)));
  }
  const inside = out.filter((v) => v >= low * 0.999 && v <= high * 1.001);
  return inside.length >= 2 ? inside : niceTicks(low, high, 4).filter((v) => v > 0);
}
