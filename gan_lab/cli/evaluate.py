"""`gan-lab evaluate`: measure a checkpoint of a run under any protocol, or compare two sets of images."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import whole
from gan_lab.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure a trained generator, or one set of images against another; prints the figures as JSON.

    Give either run=, or both path_a= and path_b=. Sets are folders, ZIP files or packed datasets. The preset says
    how many images of each are used at most; without metrics=, all are used. The figures of a run are appended to its
    metrics.jsonl, and their protocol is written beside it.
    """

    examples = (
        "run=runs/mine checkpoint=best metrics=fid50k",
        "path_a=samples path_b=photos metrics.num_samples=1000",
    )
    run: Path | None = option("a run directory", None)
    checkpoint: str | None = common.checkpoint()
    path_a: Path | None = option("the set of images to measure", None)
    path_b: Path | None = option("the set that it is compared with", None)
    metrics: str | None = option(
        "a preset: shapes, inception, fid50k, paper_10k_5k, quick or classifier",
        None,
        shown="what the run used, or inception",
    )
    settings: dict[str, Any] = common.settings()
    data_dir: Path | None = common.data_dir()
    dataset_path: Path | None = common.dataset_path()
    device: str = common.device()
    extensions: tuple[str, ...] = option(
        "your own modules that the run or metrics.extra uses; their code is executed", ()
    )
    max_unreadable: int | None = option(
        "how many broken images may be left out of path_a and of path_b", None, whole(0), shown="0"
    )

    def __post_init__(self) -> None:
        """Raise UserError unless the options are those of one run or of two sets."""
        of_run = self.run is not None and not (self.path_a or self.path_b or self.max_unreadable is not None)
        for_runs = self.run or self.checkpoint or self.data_dir or self.dataset_path
        of_sets = self.path_a and self.path_b and not for_runs
        if not of_run and not of_sets:
            raise UserError("give either run=DIR, or both path_a=PATH and path_b=PATH")


def run(options: Options) -> None:
    """Print the figures."""
    from gan_lab.use.evaluate import evaluate

    how = common.arguments(options)
    path_a, path_b, skipped = (how.pop(key) for key in ("path_a", "path_b", "max_unreadable"))
    if path_b is not None:
        how |= {"path": path_a, "against": path_b, "max_unreadable": skipped or 0}
    print(json.dumps(evaluate(**how), indent=2))
