"""`gan-lab report`: compare runs in an HTML page, Markdown, LaTeX and CSV."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli.options import is_path, option, positional
from gan_lab.config.ranges import Range, is_number, one_of, whole

_SHARE = Range(lambda share: is_number(share) and 0 < share < 100, "a number above 0 and below 100")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Compare runs: write report.html, report.md, report.tex and report.csv."""

    examples = ("runs/norms", "runs/a runs/b out=table.tex metric=fid power=0.05")
    runs: tuple[Path, ...] = positional(
        "RUNS...",
        "directories of sweeps or of single runs, in any mix; runs that differ only in the seed are one recipe",
        is_path,
    )
    out: Path | None = option(
        "a directory for all four files, or one file: .html, .md, .tex or .csv",
        None,
        shown="in RUNS if that is one directory, else here",
    )
    metric: str | None = option(
        "the figure to order and test by, for example fid", None, shown="the one that chose the best checkpoints"
    )
    step: int | None = option(
        "the step to compare at", None, whole(0), shown="the last at which all runs were evaluated"
    )
    protocols: str = option(
        "separate: a section for each protocol, instead of refusing runs that were measured differently",
        "one",
        one_of("one", "separate"),
    )
    power: float | None = option(
        "also say how many seeds would settle a difference of this share of the best mean, for example 0.05",
        None,
        _SHARE,
    )


def run(options: Options) -> None:
    """Write the report and print where it is."""
    from gan_lab.reporting.write import write_report

    separate = options.protocols == "separate"
    print(write_report(options.runs, options.out, options.metric, options.step, separate, options.power))
