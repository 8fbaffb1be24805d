"""`python -m scripts.studies.detection_study`: runs made to fail and healthy ones, judged by the detection of collapse
and by their images.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import data_dir, option
from gan_lab.config.compose import compose
from gan_lab.config.ranges import one_of, whole
from gan_lab.diagnostics.collapse import Detector, Event
from gan_lab.errors import GanLabError
from gan_lab.files import write_atomically, write_json
from gan_lab.runs.files import read_rows
from scripts.markdown import write_between_marks
from scripts.studies.detection_cases import DETECTION, Case, cases

FIGURE = "fid_shapes"  # what the detection sees of an evaluation
ENDED = ("finished", "collapsed", "diverged")
BEGIN, END = "<!-- detection study: begin -->", "<!-- detection study: end -->"


def run_case(case: Case, runs: str, data_dir: str) -> str:
    """Train one case unless it has ended already; returns what to tell. For a process of its own."""
    folder = Path(runs) / case.name
    if status_of(folder) in ENDED:
        return f"{case.name}: already {status_of(folder)}"
    logging.basicConfig(level=logging.ERROR, force=True)
    import torch

    import gan_lab

    torch.set_num_threads(1)
    began = time.perf_counter()
    try:
        gan_lab.train(compose(*case.overrides(), f"data_dir={data_dir}", f"run_dir={folder}"))
    except GanLabError as error:
        return f"{case.name}: {error}"
    return f"{case.name}: finished in {time.perf_counter() - began:.0f} s"


def status_of(folder: Path) -> str | None:
    """How a run ended; None before that."""
    file = folder / "summary.json"
    return json.loads(file.read_text("utf-8"))["status"] if file.is_file() else None


def replay(folder: Path, settings: dict[str, Any]) -> list[Event]:
    """The events that the detector, as it is now, raises over the files of a run."""
    detector, events = Detector(settings), []
    rows: dict[int, dict[str, Any]] = {r["step"]: r for r in read_rows(folder / "train.jsonl")}
    evaluations = {r["step"]: r for r in read_rows(folder / "metrics.jsonl")}
    for step in sorted(rows.keys() | evaluations.keys()):
        if step in rows:
            events += detector.observe(step, {k: v for k, v in rows[step].items() if k != "step"})
        if step in evaluations:
            events += detector.observe_evaluation(step, evaluations[step][FIGURE], True, FIGURE)
    return events


def truth(folder: Path) -> tuple[str, dict[str, Any]]:
    """What the images say, without what the detection looks at: failed, healthy, or between; and the evidence.

    Of the last two evaluations' means: KID, and how many of the 16 modes the samples amount to, 16 exp(-KL to the
    data's modes). An untrained G of the small CNN has KID 0.60 and 1.0 modes.
    """
    rows = read_rows(folder / "metrics.jsonl")
    last = rows[-2:]
    kid = sum(r["kid_shapes"] for r in last) / len(last)
    modes = 16 * math.exp(-sum(r["modes_kl_shapes"] for r in last) / len(last))
    status = status_of(folder)
    evidence = {"status": status, "kid": kid, "modes": modes, "fid": [r[FIGURE] for r in rows]}
    if status == "diverged" or kid >= 1.0 or modes <= 2.5:
        return "failed", evidence
    return ("healthy" if kid <= 0.7 and modes >= 4.0 else "between"), evidence


def _short(event: dict[str, Any]) -> tuple[int, str, str]:
    return event["step"], event["kind"], event["severity"]


def judge(case: Case, runs: Path) -> dict[str, Any]:
    """A run's labels and the detection's verdict, for the tables."""
    folder = runs / case.name
    images, evidence = truth(folder)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    events = replay(folder, DETECTION)
    collapses = [e for e in events if e.severity == "collapse"]
    return {
        "name": case.name, "purpose": case.purpose, "made_to": "fail" if case.fault else "learn",
        "fault": case.fault, "base": case.base, "seed": case.seed, "images": images, **evidence,
        "collapse": bool(collapses) or evidence["status"] == "diverged",
        "first": collapses[0].step if collapses else None,
        "events": [e.as_dict() for e in events],
        "as_logged": [_short(e) for e in summary["events"]] == [_short(e.as_dict()) for e in events],
    }  # fmt: skip


def _confusion(results: list[dict[str, Any]]) -> list[str]:
    """The confusion table of runs whose images agree with what they were made to do."""
    lines = ["| | collapse reported | none reported |", "| --- | --- | --- |"]
    for made_to, images, label in (("fail", "failed", "made to fail, and failed"),
                                   ("learn", "healthy", "made to learn, and learned")):  # fmt: skip
        rows = [r for r in results if r["made_to"] == made_to and r["images"] == images]
        caught = sum(r["collapse"] for r in rows)
        lines.append(f"| {label}: {len(rows)} | {caught} | {len(rows) - caught} |")
    return lines


def _verdicts(results: list[dict[str, Any]]) -> list[str]:
    lines = ["| run | set | images | KID | modes | fid_shapes: untrained, best, last | collapse at | events |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for r in results:
        fid = [r["fid"][0], min(r["fid"][1:], default=math.nan), r["fid"][-1]]
        shown = [f"{e['kind']}{'!' if e['severity'] == 'collapse' else ''} {e['step']}" for e in r["events"]]
        shown += ["*diverged*"] if r["status"] == "diverged" else []
        name = f"{r['base']}, {r['fault'] or 'healthy'}, seed {r['seed']}"
        lines.append(
            f"| {name} | {r['purpose']} | {r['images']} | {r['kid']:.2f} | {r['modes']:.1f} | "
            f"{', '.join(f'{f:.0f}' for f in fid)} | {r['first'] or ''} | {', '.join(shown)} |"
        )
    return lines


def tables(results: list[dict[str, Any]]) -> str:
    """The measured part of docs/stability.md."""
    parts = []
    titles = {"test": "The third set: only `not_moving` was added after it was seen", "tuning": "Runs for tuning"}
    for purpose, title in titles.items():
        chosen = [r for r in results if r["purpose"] == purpose]
        if not chosen:
            continue
        odd = [r for r in chosen if {"fail": "failed", "learn": "healthy"}[r["made_to"]] != r["images"]]
        reported = sum(r["collapse"] for r in odd)
        note = f"{len(odd)} more did not come out as they were made to; a collapse was reported in {reported} of these."
        parts += [f"### {title}", "", *_confusion(chosen), "", note, ""]
    logged = [r["as_logged"] for r in results if r["purpose"] == "test"]
    parts += [f"In {sum(logged)} of {len(logged)} test runs these are the events that the run itself had logged.", ""]
    parts += ["### Every run", "", "`!` marks a collapse, the number is the step.", "", *_verdicts(results)]
    return "\n".join(parts)


def write(results: list[dict[str, Any]], out: Path) -> None:
    """stability.json, and the tables between their marks in stability.md."""
    write_json(out / "stability.json", {"detection": DETECTION, "runs": results})
    page = out / "stability.md"
    if not page.is_file():
        write_atomically(page, f"{BEGIN}\n{END}\n".encode())
    write_between_marks(page, BEGIN, END, tables(results))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the detection of collapse, and write stability.json and the tables of stability.md."""

    examples: ClassVar[tuple[str, ...]] = ("jobs=2", "set=none")
    runs: Path = option("where the runs are kept: those that have ended are not run again", Path("runs/detection"))
    data_dir: Path = data_dir()
    set: str = option(
        "tuning (the thresholds were chosen on these), test (not looked at before), all, or none",
        "all",
        one_of("tuning", "test", "all", "none"),
    )
    jobs: int = option("processes at once, each on one thread", 1, whole(1, 256))
    out: Path = option("where stability.json and stability.md are written", Path("docs"))


def run(options: Options) -> None:
    """Train what has not ended yet, judge all that has, and write the tables."""
    wanted = [c for c in cases() if options.set in (c.purpose, "all")]
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        waiting = [pool.submit(run_case, case, str(options.runs), str(options.data_dir)) for case in wanted]
        for future in waiting:
            print(future.result(), flush=True)
    results = [judge(case, options.runs) for case in cases() if status_of(options.runs / case.name) in ENDED]
    write(results, options.out)
    print("\n".join(_confusion([r for r in results if r["purpose"] == "test"])))


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.detection_study", Options, run))
