"""`scripts/report.py`: runs side by side, in report.html, report.md and report.csv."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from gan_lab.cli.options import parse_words, whole_number
from gan_lab.errors import UserError
from gan_lab.report.page import make_page
from gan_lab.report.runs import find_runs, read_run
from gan_lab.report.sections import make_sections
from gan_lab.report.texts import make_csv, make_markdown
from gan_lab.runs.files import write_atomically

USAGE = """Puts runs side by side: report.html, report.md and report.csv.

    python scripts/report.py RUNS... [out=DIR] [metric=NAME] [step=N] [protocols=one|separate]

RUNS        directories of sweeps or of single runs, in any mix; runs that differ in the seed alone are one recipe
out         where to write; default: in RUNS if it is one directory, else here
metric      the figure to order and test by, for example fid; default: the one that chose the best checkpoints
step        the step to compare at; default: the last at which all runs were evaluated
protocols   separate: a section for each protocol, instead of refusing runs that were measured differently"""


def write_report(
    paths: Sequence[Path],
    out: Path | None = None,
    metric: str | None = None,
    step: int | None = None,
    separate_protocols: bool = False,
) -> Path:
    """Write the three files and return the path of report.html. Reads files only; no run is touched.

    Raises UserError for a path without runs, runs of several protocols (unless `separate_protocols`), an unknown
    metric, a step without evaluations, and a folder that cannot be written to.
    """
    paths = [Path(path).expanduser() for path in paths]
    directories = find_runs(paths)
    base = Path(os.path.commonpath([d.resolve() for d in directories]))
    base = base.parent if len(directories) == 1 else base
    runs = [read_run(d, d.resolve().relative_to(base).as_posix()) for d in directories]
    sections = make_sections(runs, metric, step, separate_protocols)
    folder = out if out is not None else paths[0] if len(paths) == 1 else Path(".")
    contents = {"csv": make_csv(sections), "md": make_markdown(sections), "html": make_page(sections)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, content in contents.items():
            write_atomically(folder / f"report.{ending}", content.encode(errors="replace"))
    except OSError as error:
        raise UserError(f"cannot write the report to {folder}: {error.strerror}; choose another out=") from error
    return folder / "report.html"


def report_command(arguments: Sequence[str]) -> int:
    """Runs the command; raises UserError for what does not fit."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    paths = [Path(word) for word in arguments if _is_path(word)]
    words = [word for word in arguments if not _is_path(word)]
    given = parse_words(words, {"out": None, "metric": None, "step": None, "protocols": "one"})
    if not paths:
        raise UserError("no runs are named; give the directory of a sweep, or several run directories")
    if given["protocols"] not in ("one", "separate"):
        raise UserError(f"protocols={given['protocols']}: must be one or separate")
    step = None if given["step"] is None else whole_number("step", given["step"], 0)
    out = None if given["out"] is None else Path(given["out"]).expanduser()
    print(write_report(paths, out, given["metric"], step, given["protocols"] == "separate"))
    return 0


def _is_path(word: str) -> bool:
    """Whether a word names a directory: a sweep's folders have `=` in their names, as settings do."""
    return "=" not in word or Path(word).expanduser().is_dir() or "/" in word.partition("=")[0]
