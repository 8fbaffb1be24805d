// Wires the page: the recipes' buttons, the charts' options, sortable tables, and printing.

class Comparison {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script.data").textContent);
    this.visible = this.data.recipes.map((recipe) => recipe.on);
    this.options = { band: "range", seeds: false };
    for (const slot of root.querySelectorAll("[data-key]")) slot.append(key(Number(slot.dataset.key)));
    this.charts = [...root.querySelectorAll(".chart")].map(
      (figure) => new Chart(figure, this.data.charts[Number(figure.dataset.chart)], this));
    const legend = root.querySelector(".legend");
    if (legend) this.fill(legend);
  }

  shown() { return this.visible.flatMap((on, i) => (on ? [i] : [])); }

  fill(legend) {
    this.buttons = this.data.recipes.map((recipe, i) => make("button", { type: "button", class: "recipe",
      "aria-pressed": String(recipe.on), title: recipe.label, onclick: () => this.toggle({ [i]: !this.visible[i] }) },
      key(i), make("span", {}, recipe.label)));
    const all = (on) => Object.fromEntries(this.visible.map((_, i) => [i, on]));
    const seeds = make("button", { type: "button", "aria-pressed": "false", onclick: () => {
      this.options.seeds = !this.options.seeds;
      seeds.setAttribute("aria-pressed", String(this.options.seeds));
      this.draw();
    } }, "single seeds");
    const band = make("select", { "aria-label": "Band around the mean", onchange: () => {
      this.options.band = band.value; this.draw();
    } }, make("option", { value: "range" }, "lowest to highest seed"), make("option", { value: "t" }, "95% t interval"),
      make("option", { value: "none" }, "none"));
    legend.append(
      make("div", { class: "recipes", role: "group", "aria-label": "Recipes shown in the curves" }, ...this.buttons),
      make("div", { class: "options" }, ...(this.buttons.length > 2 ? [
        make("button", { type: "button", onclick: () => this.toggle(all(true)) }, "all"),
        make("button", { type: "button", onclick: () => this.toggle(all(false)) }, "none")] : []),
        seeds, make("label", {}, make("span", {}, "Band: "), band)));
  }

  toggle(changes) {
    for (const [i, on] of Object.entries(changes)) {
      this.visible[i] = on;
      this.buttons[i].setAttribute("aria-pressed", String(on));
    }
    this.draw();
  }

  draw(width) {
    for (const chart of this.charts) {
      chart.draw(width);
      if (chart.details.open) chart.tabulate();
    }
  }
}

function sortable(table) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    if (!head.hasAttribute("data-sort")) return;
    const button = make("button", { type: "button", onclick: () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.v;
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), up ? 1 : -1)));
    } }, ...head.childNodes);
    head.append(button);
  });
}

// Numbers before words; what has no value stays last either way.
function compare(a, b, sign) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  const [x, y] = [Number(a), Number(b)];
  if (a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  return sign * a.localeCompare(b, "en", { numeric: true });
}

const comparisons = [...document.querySelectorAll("section.comparison")].map((root) => new Comparison(root));
document.querySelectorAll("table:has(th[data-sort])").forEach(sortable);
const drawAll = (width) => comparisons.forEach((c) => c.draw(width));
drawAll();
let drawnAt = document.documentElement.clientWidth;
window.addEventListener("resize", () => {
  if (document.documentElement.clientWidth === drawnAt) return;
  drawnAt = document.documentElement.clientWidth;
  drawAll();
});
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details.protocol").forEach((d) => { d.dataset.was = d.open ? "open" : ""; d.open = true; });
  drawAll(400);
});
window.addEventListener("afterprint", () => {
  document.querySelectorAll("details.protocol").forEach((d) => { d.open = d.dataset.was === "open"; });
  drawAll();
});
