"""`gan-lab plot-stability`: draw the stability diagnostics of a run with monitor=full."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli.options import option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw a run's gradient norms, weight variances and singular values over training."""

    examples = ("run=runs/mine", "run=runs/mine out=stability.pdf")
    run: Path = option("the directory of a run with monitor=full, finished or not")
    out: Path | None = option("the picture, .png, .svg or .pdf", None, shown="stability.png in the run directory")


def run(options: Options) -> None:
    """Write the picture and print its path."""
    from gan_lab.reporting.stability import plot_stability

    print(plot_stability(options.run, options.out))
