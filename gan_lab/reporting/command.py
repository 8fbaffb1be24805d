"""`scripts/report.py`: runs side by side, as a page, Markdown, LaTeX and CSV."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gan_lab.cli.options import parse_words, whole_number
from gan_lab.errors import UserError
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.page import FORMATS, render
from gan_lab.reporting.runs import find_runs, read_run
from gan_lab.runs.files import write_atomically

USAGE = """Puts runs side by side: report.html, report.md, report.tex and report.csv.

    python scripts/report.py RUNS... [out=DIR|FILE] [metric=NAME] [step=N] [protocols=one|separate] [power=SHARE]

RUNS        directories of sweeps or of single runs, in any mix; runs that differ in the seed alone are one recipe
out         a directory for all four files, or one file (.html, .md, .tex or .csv); default: in RUNS if it is one
            directory, else here
metric      the figure to order and test by, for example fid; default: the one that chose the best checkpoints
step        the step to compare at; default: the last at which all runs were evaluated
protocols   separate: a section for each protocol, instead of refusing runs that were measured differently
power       also say how many seeds would settle a difference of this share of the best mean, for example 0.05"""


def write_report(
    paths: Sequence[Path],
    out: Path | None = None,
    metric: str | None = None,
    step: int | None = None,
    separate_protocols: bool = False,
    power: float | None = None,
) -> Path:
    """Write report.html, .md, .tex and .csv into the directory `out`, or only the file `out` if it has such a suffix.

    power: also say how many seeds would settle a difference of this share of the best mean. Returns the path of the
    page, or of the one file. Reads files only; no run is touched. Raises UserError for a path without runs, runs of
    several protocols (unless `separate_protocols`), an unknown metric, a step without evaluations, and a place that
    cannot be written to.
    """
    paths = [Path(path).expanduser() for path in paths]
    directories = find_runs(paths)
    base = Path(os.path.commonpath([d.resolve() for d in directories]))
    base = base.parent if len(directories) == 1 else base
    runs = [read_run(d, d.resolve().relative_to(base).as_posix()) for d in directories]
    comparisons = compare_runs(runs, metric, step, separate_protocols, power)
    out = out if out is not None else paths[0] if len(paths) == 1 else Path(".")
    suffix = "" if out.is_dir() else out.suffix.removeprefix(".")
    if suffix.isalpha() and suffix not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise UserError(f"out={out}: cannot write a .{suffix} file; give a directory, or a file that ends in {endings}")
    places = {suffix: out} if suffix in FORMATS else {name: out / f"report.{name}" for name in FORMATS}
    contents = render(comparisons, tuple(places))
    try:
        for name, path in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, contents[name].encode(errors="replace"))
    except OSError as error:
        raise UserError(f"cannot write the report to {out}: {error.strerror}; choose another out=") from error
    return next(iter(places.values()))


def report_command(arguments: Sequence[str]) -> int:
    """Run the command; raises UserError for what does not fit."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    paths = [Path(word) for word in arguments if _is_path(word)]
    words = [word for word in arguments if not _is_path(word)]
    given = parse_words(words, {"out": None, "metric": None, "step": None, "protocols": "one", "power": None})
    if not paths:
        raise UserError("no runs are named; give the directory of a sweep, or several run directories")
    if given["protocols"] not in ("one", "separate"):
        raise UserError(f"protocols={given['protocols']}: must be one or separate")
    step = None if given["step"] is None else whole_number("step", given["step"], 0)
    out = None if given["out"] is None else Path(given["out"]).expanduser()
    separate = given["protocols"] == "separate"
    print(write_report(paths, out, given["metric"], step, separate, _share("power", given["power"])))
    return 0


def _share(key: str, text: str | None) -> float | None:
    """A value as a number above 0; UserError otherwise."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 100:
        raise UserError(f"{key}={text}: must be a number above 0, for example 0.05")
    return number


def _is_path(word: str) -> bool:
    """Whether a word names a directory: a sweep's folders have `=` in their names, as settings do."""
    return "=" not in word or Path(word).expanduser().is_dir() or "/" in word.partition("=")[0]
