"""The page in a real browser: what its buttons do, on a desk and on a phone. Needs chromium on the PATH."""

import base64
import json
import math
import re
import shutil
import subprocess
from urllib.parse import unquote

import pytest

from gan_lab.reporting import write_report
from gan_lab.reporting.statistics import bounded_interval

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=15000",
)  # fmt: skip

WATCH = """<script>
window.problems = [];
window.addEventListener("error", (e) => problems.push(String(e.message)));
window.addEventListener("unhandledrejection", (e) => problems.push(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => problems.push("refused " + e.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
</script>"""

DRIVE = """<script>
(async () => {
  const out = {};
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const pause = () => new Promise((done) => setTimeout(done, 100));
  const chart = document.querySelector(".chart");
  const lines = (root = chart) => all("path.mean", root).length;
  try {
    out.width = innerWidth;
    out.scroll = document.documentElement.scrollWidth;
    out.charts = all(".chart").length;
    out.drawn = all(".chart svg[role=img]").length;
    out.named = all(".chart svg[role=img]").every((s) => s.getAttribute("aria-labelledby").split(" ")
      .every((id) => document.getElementById(id).textContent.trim()));
    out.focusable = all(".chart svg[role=img]").every((s) => s.tabIndex === 0);

    const recipe = document.querySelector(".recipe"), box = recipe.querySelector("input");
    out.legend = [box.checked, lines()];
    recipe.click();
    out.legend.push(box.checked, lines());
    out.hidden = !chart.querySelector("desc").textContent.includes(recipe.textContent.trim());
    recipe.click();
    out.legend.push(box.checked, lines());
    const losses = all(".chart").find((c) => c.textContent.includes("Gradient norms"));
    const ends = () => all("svg[role=img] text[text-anchor=end]", losses).map((t) => t.textContent).join(" ");
    out.rescaled = [ends()];
    all(".recipe input").slice(0, 4).forEach((other) => other.click());
    out.rescaled.push(ends());
    all(".recipe input").slice(0, 4).forEach((other) => other.click());
    out.rescaled.push(ends());
    const options = Object.fromEntries(all(".options button").map((b) => [b.textContent, b]));
    options.none.click();
    out.none = [lines(), chart.textContent.includes("No values of the chosen recipes")];
    options.all.click();
    out.all = lines();
    const seeds = () => all("path.seed", chart).length;
    out.seeds = [seeds()];
    document.querySelector(".options [name=seeds]").click();
    out.seeds.push(seeds());
    const band = document.querySelector(".options select");
    out.bands = [];
    for (const kind of ["range", "t", "none"]) {
      band.value = kind;
      band.dispatchEvent(new Event("change", { bubbles: true }));
      out.bands.push(all("path.band", chart).length, chart.querySelector("path.band")?.getAttribute("d").length > 50);
    }
    out.intervals = INTERVALS.map(([mean, reach, limits]) => interval(mean, reach, limits));

    const table = document.querySelector("table.results");
    const column = (k) => all("tbody tr", table).map((row) => row.cells[k].textContent);
    const head = all("thead tr:last-child th", table)[1];
    out.mean = all("tbody tr", table).map((row) => row.cells[1].getBoundingClientRect().right);
    out.growing = all("table.at_step thead tr:last-child th").map((th) => th.dataset.sort);
    out.sorted = [column(0)];
    head.querySelector("button").click();
    out.sorted.push(column(0));
    out.ariaSort = [head.getAttribute("aria-sort")];
    head.querySelector("button").click();
    out.sorted.push(column(0));
    out.ariaSort.push(head.getAttribute("aria-sort"));
    all("thead tr:last-child th button", table)[0].click();
    out.sortedHeads = all("th[aria-sort]", table).length;

    const pairs = document.querySelector("table.tests");
    const p = all("thead th", pairs).find((th) => th.textContent === "p");
    out.missing = [];
    for (let i = 0; i < 2; i++) {
      p.querySelector("button").click();
      out.missing.push(all("tbody tr", pairs).map((row) => row.cells[p.cellIndex].textContent));
    }

    const protocol = document.querySelector("details.protocol");
    const entries = protocol.querySelector("dl");
    out.protocol = [protocol.open, entries.checkVisibility()];
    protocol.querySelector("summary").click();
    await pause();
    out.protocol.push(protocol.open, entries.checkVisibility(), entries.innerText);
    out.print = [];
    for (const open of [true, false]) {
      protocol.open = open;
      for (const name of ["beforeprint", "afterprint"]) {
        window.dispatchEvent(new Event(name));
        out.print.push(protocol.open);
      }
    }

    const svg = () => chart.querySelector("svg[role=img]");
    const tip = () => chart.querySelector(".tip");
    const frame = svg().getBoundingClientRect();
    const at = { clientX: frame.right - 14, clientY: frame.top + 50, bubbles: true };
    svg().dispatchEvent(new PointerEvent("pointermove", at));
    out.hover = [tip().hidden, tip().innerText, tip().getBoundingClientRect().right <= innerWidth];
    svg().dispatchEvent(new PointerEvent("pointerleave"));
    out.left = tip().hidden;
    svg().focus();
    const press = (key) => svg().dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    press("ArrowRight"); press("ArrowRight");
    out.keys = [chart.querySelector("[aria-live]").textContent];
    press("End");
    out.keys.push(chart.querySelector("[aria-live]").textContent);
    press("Escape");
    out.keys.push(tip().hidden);

    const log = chart.querySelector(".tools .log");
    const ticks = () => all("svg[role=img] text", chart).map((t) => t.textContent).join(" ");
    out.log = [log.checked, ticks()];
    log.click();
    out.log.push(log.checked, ticks());

    const sigma = all(".chart").find((c) => c.textContent.includes("Spectral norm, running"));
    const select = sigma.querySelector("select");
    const title = () => sigma.querySelector("svg[role=img] title").textContent;
    out.layer = [title()];
    select.value = "2";
    select.dispatchEvent(new Event("change", { bubbles: true }));
    out.layer.push(title());

    const data = chart.querySelector(".data-table");
    data.querySelector("summary").click();
    await pause();
    const last = data.querySelector("tbody tr:last-child").innerText;
    out.data = [all("tbody tr", data).length, all("thead th", data).length, last];

    out.pictures = all(".grids img").map((i) => i.naturalWidth > 0);
    out.requests = performance.getEntriesByType("resource").map((r) => r.name).filter((n) => !n.startsWith("data:"));
  } catch (error) { out.failed = String(error.stack); }
  out.problems = problems;
  parent.postMessage(JSON.stringify(out), "*");
})();
</script>"""


INTERVALS = [
    (mean, reach, limits)
    for limits in ([None, None], [0, None], [1, None], [0, 1])
    for mean, reach in [(0.5, 0.2), (0.9, 3.0), (1.0, 0.5), (3.0, 2.0), (0.01, 40.0)]
    if limits != [0, 1] or mean <= 1
]

# The page lies in a frame, because a window of the browser cannot be as narrow as a phone.
FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener("message", (e) => document.body.append(
  Object.assign(document.createElement("pre"), { id: "outcome", textContent: btoa(encodeURIComponent(e.data)) })));
</script><iframe src="driven.html" style="border: 0; width: WIDTHpx; height: 1900px"></iframe></body>"""


def run_in_frame(folder, width):
    """What driven.html in this folder posts to the frame around it."""
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,2000", "--dump-dom",
         (folder / "frame.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<pre id="outcome">([^<]*)</pre>', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(unquote(base64.b64decode(found[1]).decode()))


@pytest.fixture(scope="module", params=[1280, 390], ids=["desk", "phone"])
def outcome(request, sweep, tmp_path_factory):
    """What a script found that used the page at this width."""
    folder = tmp_path_factory.mktemp("browser")
    page = write_report([sweep], folder).read_text()
    drive = DRIVE.replace("INTERVALS", json.dumps(INTERVALS))
    page = page.replace("<head>", "<head>" + WATCH, 1).replace("</body>", drive + "</body>")
    (folder / "driven.html").write_text(page)
    result = run_in_frame(folder, request.param)
    assert result["width"] == request.param
    return result


@pytest.mark.slow
def test_nothing_goes_wrong_and_nothing_is_fetched(outcome):
    assert "failed" not in outcome, outcome["failed"]
    assert outcome["problems"] == [] and outcome["requests"] == []


@pytest.mark.slow
def test_an_error_and_an_address_outside_would_be_noticed(sweep, tmp_path):
    page = write_report([sweep], tmp_path).read_text().replace("<head>", "<head>" + WATCH, 1)
    wrong = """<img src="http://127.0.0.1:9/x.png"><script>setTimeout(() => undefinedName(), 10);
    setTimeout(() => parent.postMessage(JSON.stringify(problems), "*"), 500);</script></body>"""
    (tmp_path / "driven.html").write_text(page.replace("</body>", wrong))
    problems = " ".join(run_in_frame(tmp_path, 600))
    assert "refused http://127.0.0.1:9" in problems and "undefinedName is not defined" in problems


@pytest.mark.slow
def test_every_chart_is_drawn_named_and_reached_by_keyboard(outcome):
    assert outcome["drawn"] == outcome["charts"] > 15 and outcome["named"] and outcome["focusable"]
    assert outcome["pictures"] == [True] * 6


def test_the_page_does_not_scroll_sideways(outcome):
    assert outcome["scroll"] <= outcome["width"]


def test_the_legend_switches_recipes_off_and_on(outcome):
    assert outcome["legend"] == [True, 5, False, 4, True, 5] and outcome["hidden"]
    assert outcome["none"] == [0, True] and outcome["all"] == 5


def test_the_axis_fits_the_recipes_that_are_shown(outcome):
    all_of_them, one, again = outcome["rescaled"]
    assert all_of_them != one and again == all_of_them


def test_single_seeds_and_bands_can_be_switched(outcome):
    assert outcome["seeds"] == [1, 15]  # the run that diverged is always there
    assert outcome["bands"] == [5, True, 5, True, 0, False]


def test_the_band_of_the_95_percent_interval_is_that_of_the_tables(outcome):
    assert len(outcome["intervals"]) == len(INTERVALS) > 15
    for (mean, reach, limits), ours in zip(INTERVALS, outcome["intervals"], strict=True):
        low, high = (sign * math.inf if x is None else x for sign, x in zip((-1, 1), limits, strict=True))
        theirs = bounded_interval(mean, reach, (low, high))
        assert [math.inf if x is None else x for x in ours] == pytest.approx(list(theirs), rel=1e-9), (
            mean,
            reach,
            limits,
        )


def test_the_mean_is_in_view(outcome):
    assert len(outcome["mean"]) == 5 and max(outcome["mean"]) <= outcome["width"]


def test_a_table_is_sorted_by_its_heading_and_back(outcome):
    best_first = ["norm=bssn", "norm=ssn", "norm=bsn", "norm=sn", "norm=none"]
    assert outcome["sorted"] == [best_first, best_first, best_first[::-1]]
    assert outcome["ariaSort"] == ["ascending", "descending"] and outcome["sortedHeads"] == 1
    assert outcome["growing"][:3] == ["ascending", "ascending", "descending"]  # recipe, fid, is: the best first


def test_what_has_no_value_is_last_in_either_order(outcome):
    for column, reverse in zip(outcome["missing"], (False, True), strict=True):
        values = [float(text) for text in column[:6]]
        assert column[6:] == ["–"] * 4 and values == sorted(values, reverse=reverse) and len(set(values)) > 3


def test_the_protocol_unfolds(outcome):
    was_open, was_visible, is_open, is_visible, text = outcome["protocol"]
    assert (was_open, was_visible, is_open, is_visible) == (False, False, True, True)
    assert "num_fake_fid" in text and "3000" in text


def test_the_protocol_is_printed_and_is_as_it_was_afterwards(outcome):
    assert outcome["print"] == [True, True, True, False]


def test_values_can_be_read_by_pointer_and_by_keyboard(outcome):
    hidden, text, fits = outcome["hover"]
    assert not hidden and "Step 3,000" in text and "norm=bssn" in text and "n = 3" in text and fits and outcome["left"]
    second, last, hidden = outcome["keys"]
    assert second.startswith("Step 250: ") and last.startswith("Step 3,000: ") and "norm=none 9." in last and hidden


def test_the_scale_turns_from_logarithmic_to_linear(outcome):
    on, ticks, off, other = outcome["log"]
    assert (on, off) == (True, False) and ticks.startswith("3 5 7 10 20 30") and other.startswith("20 40")


def test_a_layer_can_be_chosen(outcome):
    assert outcome["layer"] == ["Spectral norm, running: conv1", "Spectral norm, running: conv3"]


def test_a_chart_has_a_table_of_its_values(outcome):
    rows, columns, last = outcome["data"]
    assert (rows, columns) == (13, 6) and last.startswith("3,000")
