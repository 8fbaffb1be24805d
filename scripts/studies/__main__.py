"""`python -m scripts.studies NAME ...`: run a declared study, resumably, and write its page."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from gan_lab.cli.main import guarded, run_command
from gan_lab.cli.options import has_no_key, option, positional
from gan_lab.config.messages import nearest
from gan_lab.config.ranges import ABOVE_ZERO
from gan_lab.errors import UserError
from scripts.studies.study import RESULTS, Study

NAMES = (
    "norms", "stabilizers", "bssn_scale", "wn_gan", "stylegan2_factors", "shapes_norms", "shapes_conditions",
    "cifar10_conditional", "gpu", "quarter_width", "quarter_width_stabilizers", "quarter_width_scale",
    "shapes_default", "h200_first",
)  # fmt: skip


def load_study(name: str) -> Study:
    """Return the study that the module of this name declares."""
    if name not in NAMES:
        raise UserError(f"{name}: no such study{nearest(name, NAMES)}; there are: {', '.join(NAMES)}")
    study: Study = import_module(f"scripts.studies.{name}").STUDY
    return study


@dataclass(frozen=True, kw_only=True)
class Options:
    """Run a study: train what is missing, measure it, keep the small files in docs/results/NAME and write its page.

    Each study is a module of scripts/studies that says what it asks and costs; an unknown NAME lists them. The same
    command goes on where it was stopped; started several times in one folder, it shares the runs between its processes.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "norms data_dir=data weights=inception.pt",
        "quarter_width minutes=13",
        "norms page=true",
    )
    name: str = positional("NAME", "the study", has_no_key)
    out: Path | None = option("where the run directories lie", None, shown="runs/studies/NAME")
    results: Path = option("where small files and page go", RESULTS, shown="docs/results")
    data_dir: Path | None = option("where packed datasets live", None, shown="$GAN_LAB_DATA, else ./data")
    weights: Path | None = option("Inception's weights", None, shown="$GAN_LAB_INCEPTION, else the download")
    minutes: float | None = option("stop after so many minutes, with a checkpoint", None, ABOVE_ZERO, shown="never")
    page: bool = option("only write the page, from the small files there are", False)
    dry: bool = option("go through all of it with tiny nets on shapes, in a temporary folder; keeps nothing", False)


def run(options: Options) -> int:
    """Run or redraw. Returns 0 if all runs are done, else 1."""
    from scripts.studies.page import write_page
    from scripts.studies.runner import begun, run_study

    study = load_study(options.name)
    if options.dry:
        with tempfile.TemporaryDirectory(prefix="gan_lab-study-") as folder:
            here = Path(folder)
            done = run_study(study.tiny(), here / "runs", here / study.name, here / "data", None, options.minutes)
            if begun(here / study.name):
                print(write_page(study.tiny(), here).read_text("utf-8"))
        return 0 if done else 1
    done, kept = True, options.results / study.name
    if not options.page:
        out = options.out or Path("runs/studies") / study.name
        done = run_study(study, out, kept, options.data_dir, options.weights, options.minutes)
    if options.page or begun(kept):
        print(write_page(study, options.results))
    return 0 if done else 1


def main(words: Sequence[str]) -> int:
    """Run the command with these words. Returns the exit status."""
    return guarded(lambda: run_command("python -m scripts.studies", Options, run, words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
