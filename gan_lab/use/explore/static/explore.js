"use strict";
const $ = (id) => document.getElementById(id);
const LIVE_MS = 3000, FRAME_MS = 60, PLAY_STEP = 0.02, REACH = 8;
const problem = (text) => { $("error").textContent = text || ""; $("error").hidden = !text; };

async function ask(path, parameters = {}) {
  const words = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  let answer;
  try {
    answer = await fetch(`${path}?${words}`);
  } catch {
    throw new Error("the explorer does not answer; is gan-lab explore still running?");
  }
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
    throw new Error(told.error);
  }
  return answer;
}

// The page's address keeps its state: each tab has its own, and it can be sent to somebody else.
const saved = new URLSearchParams(location.hash.slice(1));
const FIELDS = ["run", "checkpoint", "other-run", "other-checkpoint", "seed", "class", "truncation", "to", "t"];
const sliders = () => [...$("sliders").querySelectorAll("input")];
const steps = () => sliders().map((slider) => slider.value);

function save() {
  const state = new URLSearchParams(FIELDS.map((id) => [id, $(id).value]).filter(([, value]) => value !== ""));
  if (steps().some(Number)) state.set("d", steps().join(","));
  history.replaceState(null, "", `#${state}`);
}

function fill(select, options, chosen) {
  const had = chosen ?? select.value;
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === had)) select.value = had;
}

let runs = [];
const about = (name) => runs.find((run) => run.name === name);

function listCheckpoints(select, name, chosen) {
  const run = about(name), steps = run ? run.checkpoints : [];
  const named = steps.map((step) => [String(step), `step ${step.toLocaleString("en")}${step === run.best ? " (best)" : ""}`]);
  fill(select, run ? [["latest", named.length ? "latest" : run.status], ...named] : [], chosen);
  select.disabled = !run;
}

async function listRuns(first = false) {
  runs = await (await ask("runs")).json();
  const names = runs.map((run) => [run.name, run.name]);
  fill($("run"), names, first ? saved.get("run") : undefined);
  fill($("other-run"), [["", "nothing"], ...names], first ? saved.get("other-run") : undefined);
  listCheckpoints($("checkpoint"), $("run").value, first ? saved.get("checkpoint") : undefined);
  listCheckpoints($("other-checkpoint"), $("other-run").value, first ? saved.get("other-checkpoint") : undefined);
}

// What a run's generator takes is the same at all its checkpoints.
const known = {};
async function properties(run) {
  known[run] ??= await (await ask("generator", { run })).json();
  return known[run];
}

let described = "";
async function describe() {
  const run = $("run").value, found = await properties(run), before = steps();
  if (run === described || run !== $("run").value) return;
  described = run;
  const classes = Array.from({ length: found.num_classes }, (_, i) => [String(i), found.class_names[i] ?? String(i)]);
  fill($("class"), [["", "drawn from the seed"], ...classes], saved.get("class") ?? $("class").value);
  $("class-label").hidden = !found.num_classes;
  $("space").textContent = `in ${found.space}`;
  $("directions").hidden = !found.directions.length;
  const old = (saved.get("d") || "").split(",");
  $("sliders").replaceChildren(...found.directions.map((value, i) => {
    const label = document.createElement("label"), shown = document.createElement("output");
    const slider = Object.assign(document.createElement("input"), { type: "range", min: -REACH, max: REACH, step: 0.1 });
    slider.value = before[i] ?? old[i] ?? 0;
    label.title = `|A n|² = ${value.toPrecision(3)}`;
    label.append(`Direction ${i + 1} `, shown, slider);
    return label;
  }));
  saved.delete("class");
  saved.delete("d");
}

// One request at a time for each picture; while it is under way, only the newest wish is kept.
const busy = {}, wishes = {};
async function draw(id, parameters) {
  if (busy[id]) { wishes[id] = parameters; return; }
  busy[id] = true;
  try {
    const blob = await (await ask("image", parameters)).blob();
    const figure = $(id), image = figure.querySelector("img"), link = figure.querySelector("a");
    URL.revokeObjectURL(image.src);
    image.src = link.href = URL.createObjectURL(blob);
    const at = parameters.to === undefined ? "" : `, ${Math.round(100 * parameters.t)} % of the way to seed ${parameters.to}`;
    const checkpoint = about(parameters.run)?.checkpoints.length ? `, checkpoint ${parameters.checkpoint}` : "";
    const kind = parameters.class ? `, class ${known[parameters.run].class_names[parameters.class] ?? parameters.class}` : "";
    image.alt = `${parameters.run}${checkpoint}, seed ${parameters.seed}${kind}${at}`;
    figure.querySelector("figcaption").textContent = image.alt;
    link.download = `${parameters.run.replace(/[^\w.=-]+/g, "_")}-seed${parameters.seed}.png`;
    problem("");
  } catch (error) { problem(error.message); }
  busy[id] = false;
  if (wishes[id]) { const next = wishes[id]; delete wishes[id]; await draw(id, next); }
}

async function refresh() {
  for (const output of document.querySelectorAll("output")) {
    output.textContent = Number(output.parentElement.querySelector("input").value).toFixed(2);
  }
  save();
  try { await describe(); } catch (error) { problem(error.message); return; }
  for (const output of $("sliders").querySelectorAll("output")) {
    output.textContent = Number(output.parentElement.querySelector("input").value).toFixed(1);
  }
  const view = { seed: $("seed").value, truncation: $("truncation").value };
  if (Number($("t").value)) Object.assign(view, { to: $("to").value, t: $("t").value });
  const other = $("other-run").value;
  $("second").hidden = !other;
  try {
    draw("first", await fitted(view, $("run").value, $("checkpoint").value));
    if (other) draw("second", await fitted(view, other, $("other-checkpoint").value));
  } catch (error) { problem(error.message); }
}

// The view with the class and the directions that this run's generator has.
async function fitted(view, run, checkpoint) {
  const has = await properties(run), own = { ...view, run, checkpoint };
  if (Number($("class").value) < has.num_classes) own.class = $("class").value;
  const moved = steps().slice(0, has.directions.length);
  if (moved.some(Number)) own.d = moved.join(",");
  return own;
}

function chart(name, points) {
  const figure = document.createElement("figure"), caption = document.createElement("figcaption");
  const values = points.map(([, value]) => value), low = Math.min(...values), high = Math.max(...values);
  const first = points[0][0], last = points[points.length - 1][0];
  const x = (step) => (last > first ? 200 * (step - first) / (last - first) : 100);
  const y = (value) => (high > low ? 68 - 64 * (value - low) / (high - low) : 36);
  const line = points.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const short = (value) => Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
  figure.innerHTML = `<svg viewBox="0 0 200 72" role="img"><title></title><line x1="0" x2="200" y1="71" y2="71"/><path/></svg>`;
  figure.querySelector("path").setAttribute("d", points.length > 1 ? line : `M98 ${y(values[0])}h4`);
  figure.querySelector("title").textContent =
    `${name}, step ${first} to ${last}: from ${short(low)} to ${short(high)}, now ${short(values[values.length - 1])}`;
  const now = document.createElement("span");
  now.textContent = short(values[values.length - 1]);
  caption.append(name, now);
  figure.append(caption);
  return figure;
}

let shown = "";
async function live() {
  if (document.hidden || !$("run").value) return;
  try {
    const run = $("run").value, found = await (await ask("progress", { run })).json();
    if (run !== $("run").value) return;
    const total = found.total ? ` of ${found.total.toLocaleString("en")}` : "";
    const text = found.step || total ? `${found.status}: step ${found.step.toLocaleString("en")}${total}` : found.status;
    if ($("status").textContent !== text) $("status").textContent = text;
    const state = JSON.stringify([run, found]);
    if (state !== shown) {
      $("curves").replaceChildren(...Object.entries(found.curves).map(([name, points]) => chart(name, points)));
      $("grid").hidden = found.grid === null;
      if (found.grid !== null) {
        $("grid").querySelector("img").src = `grid?${new URLSearchParams({ run, step: found.grid })}`;
        $("grid").querySelector("img").alt = `Sample grid of ${run} at step ${found.grid}`;
        $("grid").querySelector("figcaption").textContent = `newest sample grid, step ${found.grid.toLocaleString("en")}`;
      }
      shown = state;
    }
    const newest = $("checkpoint").options.length;
    await listRuns();
    if ($("checkpoint").value === "latest" && $("checkpoint").options.length !== newest) refresh();
  } catch (error) { problem(error.message); }
}

// The next request waits for the answer to the last one, however long a run's files are.
async function follow() {
  await live();
  setTimeout(follow, LIVE_MS);
}

let playing = 0;
function play() {
  if (playing) { clearInterval(playing); playing = 0; } else {
    playing = setInterval(() => {
      if (busy.first) return;
      const t = Number($("t").value) + PLAY_STEP;
      if (t > 1) {  // the next leg begins where this one ended
        $("seed").value = $("to").value;
        $("to").value = Math.floor(Math.random() * 1e6);
      }
      $("t").value = t > 1 ? 0 : t;
      refresh();
    }, FRAME_MS);
  }
  $("play").setAttribute("aria-pressed", String(Boolean(playing)));
  $("play").textContent = playing ? "Stop" : "Play";
}

const turn = (change) => () => { $("seed").value = Math.max(0, change(Number($("seed").value) || 0)); refresh(); };
$("previous").addEventListener("click", turn((seed) => seed - 1));
$("next").addEventListener("click", turn((seed) => seed + 1));
$("random").addEventListener("click", turn(() => Math.floor(Math.random() * 1e6)));
$("play").addEventListener("click", play);
$("reset").addEventListener("click", () => { for (const slider of sliders()) slider.value = 0; refresh(); });
$("run").addEventListener("input", () => { listCheckpoints($("checkpoint"), $("run").value); live(); });
$("other-run").addEventListener("input", () => listCheckpoints($("other-checkpoint"), $("other-run").value));
$("controls").addEventListener("input", refresh);
$("controls").addEventListener("submit", (event) => event.preventDefault());

(async () => {
  try {
    await listRuns(true);
    for (const id of ["seed", "truncation", "to", "t"]) if (saved.has(id)) $(id).value = saved.get(id);
    await refresh();
  } catch (error) { problem(error.message); }
  follow();
})();
