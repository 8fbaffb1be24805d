"""The explorer in a real browser, on a desk and on a phone. Needs chromium on the PATH."""

import json
import shutil
import subprocess

import pytest

flask = pytest.importorskip("flask")
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=60000",
)  # fmt: skip

WATCH = """
window.problems = [];
window.addEventListener("error", (e) => problems.push(String(e.message)));
window.addEventListener("unhandledrejection", (e) => problems.push(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => problems.push("refused " + e.blockedURI));
for (const level of ["error", "warn"]) console[level] = (...words) => problems.push(words.join(" "));
"""

DRIVE = """
(async () => {
  const out = {}, pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const until = async (what, holds) => {
    for (let i = 0; i < 400; i++) { if (holds()) return; await pause(25); }
    throw new Error("waited in vain for " + what + "; the page says: " + $("error").textContent);
  };
  const set = (id, value) => {
    $(id).value = value;
    $(id).dispatchEvent(new Event("input", { bubbles: true }));
  };
  const image = (id) => $(id).querySelector("img");
  const pixels = async (id) => {
    await until("a picture", () => !busy[id] && !wishes[id] && image(id).complete && image(id).naturalWidth);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = image(id).naturalWidth;
    canvas.getContext("2d").drawImage(image(id), 0, 0);
    return canvas.toDataURL();
  };
  const after = async (act, id = "first") => { act(); await pause(80); return pixels(id); };
  try {
    out.width = innerWidth;
    const start = await pixels("first");
    out.side = image("first").naturalWidth;
    const same = async (act) => (await after(act)) === start;
    out.next = await same(() => $("next").click());
    out.previous = await same(() => $("previous").click());
    out.sliders = sliders().length;
    const move = (value) => () => {
      sliders()[0].value = value;
      sliders()[0].dispatchEvent(new Event("input", { bubbles: true }));
    };
    out.moved = await same(move(6));
    out.hash = location.hash;
    out.reset = await same(() => $("reset").click());
    out.truncation = [await same(() => set("truncation", 0)), await same(() => set("truncation", 1))];
    out.between = [await same(() => set("t", 0.5)), await same(() => set("t", 0))];
    out.play = [$("play").textContent];
    $("play").click();
    await until("the film", () => Number($("t").value) > 0.1);
    out.play.push($("play").textContent, $("play").getAttribute("aria-pressed"));
    $("play").click();
    out.played = await same(() => set("t", 0));

    out.second = [$("second").hidden];
    const other = await after(() => set("other-run", "plain"), "second");
    out.second.push($("second").hidden, $("other-checkpoint").disabled, $("other-checkpoint").options.length);
    await after(() => set("run", "plain"));
    out.sameZ = (await pixels("first")) === (await pixels("second"));
    set("checkpoint", [...$("checkpoint").options].at(-1).value);
    await pause(80);
    out.otherStep = (await pixels("first")) === (await pixels("second"));
    out.caption = $("first").querySelector("figcaption").textContent;
    out.alt = image("first").alt;
    const link = $("first").querySelector("a");
    out.download = [link.href.startsWith("blob:"), link.download];

    out.classHidden = !$("class-label").checkVisibility();
    await after(() => set("run", "classes"));
    out.classes = [...$("class").options].map((option) => option.text);
    const one = await after(() => set("class", "1"));
    out.classCaption = $("first").querySelector("figcaption").textContent;
    out.classChanged = one !== (await after(() => set("class", "2")));

    await pixels("second");  // of an unconditional run: without the class
    out.quiet = $("error").hidden;
    set("seed", "-3");
    await until("a refusal", () => !$("error").hidden);
    out.refused = $("error").textContent;
    await after(() => set("seed", "4"));
    await until("silence", () => $("error").hidden);

    set("run", "plain");
    await until("curves", () => document.querySelectorAll("#curves svg").length > 3);
    await until("the grid", () => image("grid").naturalWidth > 0);
    out.curves = [...document.querySelectorAll("#curves title")].map((t) => t.textContent);
    out.status = [$("status").textContent];
    await fetch("advance");
    await until("news", () => $("status").textContent !== out.status[0]);
    out.status.push($("status").textContent);
    await until("the new grid", () => image("grid").alt.includes("step 9"));

    const fields = [...document.querySelectorAll("select, input")];
    out.named = fields.every((f) => f.closest("label") && f.closest("label").textContent.trim());
    out.focusable = [...document.querySelectorAll("select, input, button, a")].every((f) => f.tabIndex === 0);
    out.scroll = document.documentElement.scrollWidth;
  } catch (error) { out.failed = String(error.stack); }
  out.problems = problems;
  await fetch("outcome", { method: "POST", body: JSON.stringify(out) });
  parent.postMessage("done", "*");
})();
"""


def open_page(server, width, tmp_path, drive, shot=None):
    """What the script `drive` posts, run in the page in a frame of this width."""
    app, found = server.app, []

    def answer(text, kind="text/javascript"):
        return lambda: flask.Response(text, mimetype=kind)

    def advance():
        run = server.folder / "plain"
        with (run / "train.jsonl").open("a") as file:
            file.write(json.dumps({"step": 9, "loss/d": 0.5, "loss/g": 1.5}) + "\n")
        shutil.copy(next((run / "samples").glob("samples-*.png")), run / "samples" / "samples-00000009.png")
        return flask.Response("{}")

    def outcome():
        found.append(json.loads(flask.request.get_data()))
        return flask.Response("{}")

    frame = f'<!doctype html><body style="margin:0"><iframe src="/" style="border:0;width:{width}px;height:1900px">'
    for path, function in {
        "watch.js": answer(WATCH), "drive.js": answer(drive), "frame": answer(frame, "text/html"), "advance": advance,
    }.items():  # fmt: skip
        app.add_url_rule(f"/{path}", path, function)
    app.add_url_rule("/outcome", "outcome", outcome, methods=["POST"])

    @app.after_request
    def injected(response):
        if flask.request.path == "/":
            response.direct_passthrough = False
            text = response.get_data(as_text=True).replace("<head>", '<head><script src="watch.js"></script>', 1)
            response.set_data(text.replace("</body>", '<script src="drive.js"></script></body>'))
        return response

    ending = ["--dump-dom"] if shot is None else [f"--screenshot={shot}"]
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={max(width, 500)},1900", *ending,
         f"http://127.0.0.1:{server.port}/frame"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert found, done.stderr[-2000:]
    return found[0]


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_at_work(server, tmp_path, width):
    out = open_page(server, width, tmp_path, DRIVE)
    assert "failed" not in out, out["failed"]
    assert out["problems"] == [] and out["quiet"]
    assert out["width"] == width and out["scroll"] <= width
    assert out["side"] == 32 and out["sliders"] == 5
    assert (out["next"], out["previous"]) == (False, True)  # whether the picture is the first one
    assert (out["moved"], out["reset"]) == (False, True) and "d=6%2C0%2C0%2C0%2C0" in out["hash"]
    assert out["truncation"] == [False, True] and out["between"] == [False, True]
    assert out["play"] == ["Play", "Stop", "true"] and out["played"]
    steps = sorted(int(file.stem[5:]) for file in (server.folder / "plain" / "checkpoints").glob("*.pt"))
    assert out["second"] == [True, False, False, 1 + len(steps)] and len(steps) > 1
    assert out["sameZ"] and not out["otherStep"]
    assert out["caption"] == out["alt"] == f"plain, checkpoint {steps[0]}, seed 0"
    assert out["download"] == [True, "plain-seed0.png"]
    assert out["classHidden"] and out["classChanged"]
    assert len(out["classes"]) == 17 and out["classes"][:3] == ["drawn from the seed", "red circle", "green circle"]
    assert "class green circle" in out["classCaption"]
    assert out["refused"] == "seed=-3: must be a whole number from 0 to 2^63-1"
    assert any(title.startswith("fid_shapes, step 0 to 7") for title in out["curves"])
    assert any(title.startswith("loss/d, step 2 to ") for title in out["curves"])
    assert out["status"] == ["finished: step 7 of 7", "finished: step 9 of 7"]
    assert out["named"] and out["focusable"]


SLOW = """
(async () => {
  const pause = (ms) => new Promise((done) => setTimeout(done, ms)), others = window.fetch;
  const asked = [], counts = [];
  window.fetch = (path, ...how) =>
    path.startsWith("progress") ? new Promise((done) => asked.push(done)) : others(path, ...how);
  const until = async (n) => { for (let i = 0; i < 400 && asked.length < n; i++) await pause(50); };
  await until(1);
  await pause(5 * LIVE_MS);
  counts.push(asked.length);
  asked[0](new Response("{}", { status: 400 }));
  await until(2);
  counts.push(asked.length);
  await others("outcome", { method: "POST", body: JSON.stringify(counts) });
})();
"""


def test_no_second_request_is_made_while_the_first_is_not_answered(server, tmp_path):
    assert open_page(server, 600, tmp_path, SLOW) == [1, 2]


def test_what_goes_wrong_would_be_noticed(server, tmp_path):
    drive = """setTimeout(() => undefinedName(), 10); document.body.append(Object.assign(new Image(),
    { src: "http://127.0.0.1:9/x.png" })); setTimeout(() => fetch("outcome", { method: "POST",
    body: JSON.stringify(problems) }), 1500);"""
    problems = " ".join(open_page(server, 600, tmp_path, drive))
    assert "undefinedName is not defined" in problems and "refused http://127.0.0.1:9" in problems
