"""Write the files of a report: HTML, Markdown, LaTeX and CSV."""

import os
from collections.abc import Sequence
from pathlib import Path

from gan_lab.errors import UserError
from gan_lab.files import reason, write_atomically
from gan_lab.reporting.comparison import compare_runs
from gan_lab.reporting.page import FORMATS, render
from gan_lab.reporting.runs import find_runs, read_run


def write_report(
    paths: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    metric: str | None = None,
    step: int | None = None,
    separate_protocols: bool = False,
    power: float | None = None,
) -> Path:
    """Compare runs: write report.html, .md, .tex and .csv, or one of them. No run is changed.

    Args:
        paths: one or several directories, of single runs or of sweeps.
        out: a directory for all four files, or one file with such a suffix. None: `paths` if that is one directory,
            else the current directory.
        metric: the figure to sort and test by. None: the one that chose the best checkpoints.
        step: the step to compare at. None: the last one at which all runs were evaluated.
        separate_protocols: make a section for each protocol. Otherwise, runs of different protocols are refused.
        power: also compute how many seeds a test needs to find a difference of this share of the best mean.

    Returns:
        The path of the page, or of the one file.

    Raises:
        UserError: a path without runs, runs of several protocols, an unknown metric, a step without evaluations, or an
            `out` that cannot be written to.
    """
    named = [Path(path).expanduser() for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    directories = find_runs(named)
    base = Path(os.path.commonpath([d.resolve() for d in directories]))
    base = base.parent if len(directories) == 1 else base
    runs = [read_run(d, d.resolve().relative_to(base).as_posix()) for d in directories]
    comparisons = compare_runs(runs, metric, step, separate_protocols, power)
    place = Path(out).expanduser() if out is not None else named[0] if len(named) == 1 else Path(".")
    suffix = "" if place.is_dir() else place.suffix.removeprefix(".")
    if suffix.isalpha() and suffix not in FORMATS:
        endings = ", ".join(f".{name}" for name in FORMATS)
        raise UserError(
            f"out={place}: cannot write a .{suffix} file; give a directory, or a file that ends in {endings}"
        )
    places = {suffix: place} if suffix in FORMATS else {name: place / f"report.{name}" for name in FORMATS}
    contents = render(comparisons, tuple(places))
    try:
        for name, path in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, contents[name].encode(errors="replace"))
    except OSError as error:
        raise UserError(f"cannot write the report to {place}: {reason(error)}; choose another out=") from error
    return next(iter(places.values()))
