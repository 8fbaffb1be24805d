"""`python -m scripts.studies.advice`: failing runs once more, each with what the advice of its events changes.

The runs are some of those that the detection study made to fail: docs/stability.json says which events they raised. For
each kind of event, its first advice is followed, and if that run is not healthy, the second in its place. Half of the
runs chose the order of the advice in gan_lab/diagnostics/advice.py, and the others are to check it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import data_dir, option
from gan_lab.config.ranges import ABOVE_ZERO
from gan_lab.diagnostics.advice import ADVICE, REMEDIES
from gan_lab.files import read_json_object, write_json
from scripts import markdown
from scripts.studies.detection_cases import Case
from scripts.studies.detection_study import ENDED, run_case, status_of, truth

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS, PAGE = DOCS / "results" / "advice.json", DOCS / "guides" / "unstable.md"
BEGIN, END = "<!-- advice: begin -->", "<!-- advice: end -->"
FAILING = {  # those of docs/stability.json on which the order was chosen, and those that check it
    "choose": (
        ("minimax_r1r2", "mode collapse", 13), ("ns_r1", "D frozen", 13), ("minimax_r1r2", "lr x 100, half-way", 13),
        ("ns_r1", "dead D", 13), ("ns_r1", "penalty x 1e6", 13), ("ns_r1", "lr x 100", 13),
        ("relativistic", "D frozen, half-way", 0), ("relativistic", "NaN, half-way", 0),
    ),
    "check": (
        ("wn_r1r2", "mode collapse", 23), ("minimax_r1r2", "D frozen", 23), ("wn_r1r2", "lr x 100, half-way", 23),
        ("bssn_r1r2", "dead D", 23), ("wn_r1r2", "penalty x 1e6", 23), ("relativistic", "lr x 100", 23),
        ("bssn_r1r2", "D frozen, half-way", 23),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Advised(Case):
    """A failing run to which a remedy, a name in REMEDIES, is applied."""

    remedy: str = ""

    @property
    def name(self) -> str:
        """Also the run's folder."""
        return super().name + (f"+{self.remedy}" if self.remedy else "")

    def overrides(self) -> list[str]:
        """The command of the failing run, in which the words of the remedy replace those of the same keys."""
        left_out = {"penalty": "penalty", "term": "+penalty.nan"}.get(self.remedy, "none")
        words = [word for word in super().overrides() if not word.startswith(left_out)]
        changes = REMEDIES[self.remedy].words if self.remedy else ()
        return list({word.split("=", 1)[0]: word for word in [*words, *changes]}.values())


def failing() -> list[Advised]:
    """Return the runs without remedies: first those that chose, then those that check."""
    return [Advised(part, base, fault, seed) for part, runs in FAILING.items() for base, fault, seed in runs]


def outcomes(case: Advised, kinds: Iterable[str], run: Callable[[Advised], str | None]) -> dict[str, str]:
    """Follow the advice of each kind of event until a run comes out healthy. Returns remedy -> images.

    run: trains and returns what the images say, None if there is no such run. A remedy that changes no word of the
    command is not run: the run would be the failing one.
    """
    found: dict[str, str] = {}
    for kind in kinds:
        for remedy in ADVICE[kind]:
            if remedy not in found:
                advised = replace(case, remedy=remedy)
                same = sorted(advised.overrides()) == sorted(case.overrides())
                images = "failed" if same else run(advised)
                if images is None:
                    break
                found[remedy] = images
            if found[remedy] == "healthy":
                break
    return found


def gather(run: Callable[[Advised], str | None]) -> list[dict[str, Any]]:
    """Return a row for each failing run: its events as recorded, and what its images are with each remedy."""
    recorded = {r["name"]: r for r in read_json_object(DOCS / "stability.json")["runs"]}
    rows = []
    for case in failing():
        kinds = list(dict.fromkeys(e["kind"] for e in recorded[case.name]["events"]))
        assert recorded[case.name]["images"] == "failed", case.name
        rows.append({"name": case.name, "set": case.purpose, "events": kinds, "with": outcomes(case, kinds, run)})
    return rows


def shares(rows: Iterable[dict[str, Any]], kind: str, part: str) -> tuple[int, int, int]:
    """Return how many failing runs of a set raised this kind of event, and how many of them came out healthy.

    Healthy with the first advice; with the first or, in its place, the second. Runs that have not been tried to the end
    are left out.
    """
    counts = [0, 0, 0]
    for row in rows:
        found = [row["with"].get(remedy) for remedy in ADVICE[kind]]
        tried = found[: found.index("healthy") + 1] if "healthy" in found else found
        if row["set"] == part and kind in row["events"] and None not in tried:
            counts = [n + (i == 0 or "healthy" in found[:i]) for i, n in enumerate(counts)]
    return counts[0], counts[1], counts[2]


def table(rows: list[dict[str, Any]]) -> str:
    """The measured part of docs/guides/unstable.md."""
    chose = "runs that chose: healthy with the first, with at least one of the two"
    columns = ["event", "first", "in its place", chose, "runs that check: the same"]
    lines = []
    for kind, advice in ADVICE.items():
        cells = []
        for part in FAILING:
            n, first, both = shares(rows, kind, part)
            raised = any(row["set"] == part and kind in row["events"] for row in rows)
            missing = "not tried yet" if raised else "none raised it"
            cells.append(f"{first} of {n}, {both} of {n}" if n else missing)
        lines.append([f"`{kind}`", *(REMEDIES[name].title for name in advice), *cells])
    return markdown.table(columns, lines).rstrip()


@dataclass(frozen=True, kw_only=True)
class Options:
    """Apply the advice of events to failing runs, and write advice.json and the table of guides/unstable.md."""

    examples: ClassVar[tuple[str, ...]] = ("minutes=9", "page=true")
    runs: Path = option("where the runs are kept: those that have ended are not run again", Path("runs/advice"))
    data_dir: Path = data_dir()
    minutes: float | None = option("start no further run after so many minutes", None, ABOVE_ZERO, shown="never")
    page: bool = option("only write the table, from the small file", False)


def run(options: Options) -> int:
    """Train what is missing, judge, write. Returns 0 if all runs are done, else 1."""
    began, late = time.monotonic(), False

    def train(case: Advised) -> str | None:
        nonlocal late
        folder = options.runs / case.name
        if status_of(folder) not in ENDED:
            late = late or bool(options.minutes) and time.monotonic() - began > 60 * (options.minutes or 0)
            if late:
                return None
            print(run_case(case, str(options.runs), str(options.data_dir)), flush=True)
        return truth(folder)[0]

    if not options.page:
        write_json(RESULTS, {"runs": gather(train)})
    markdown.write_between_marks(PAGE, BEGIN, END, table(read_json_object(RESULTS)["runs"]))
    return int(late)


if __name__ == "__main__":
    sys.exit(script("python -m scripts.studies.advice", Options, run))
