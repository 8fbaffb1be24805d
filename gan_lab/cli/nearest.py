"""`gan-lab nearest`: compare samples with the training images nearest to them."""

import json
from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import SEED, one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options(common.OfData):
    """Draw samples beside the training images nearest to them, and print a figure of memorization as JSON.

    copies is the share of samples that are nearer to a training image than that image is to every other one,
    copies_heldout the same share of held-out images: only a higher share of the samples is a sign of memorization.
    """

    examples = ("run=runs/mine out=nearest.png", "run=runs/mine n=5000 metrics=pixels")
    run: Path = common.run()
    out: Path = option("a picture (.png, .jpg or .webp)", Path("nearest.png"))
    n: int = option("how many samples", 1000, whole(1, 1_000_000))
    seed: int = option("of the first sample", 0, SEED)
    classes: tuple[int | str, ...] | None = option("one for all samples", None, shown="drawn from the seeds")
    truncation: float = common.truncation()
    rows: int = option("samples in the picture", 8, whole(1, 1000))
    k: int = option("training images beside each", 5, whole(1, 100))
    first: str = option(
        "which samples are shown: those with the nearest training images, or the first seeds",
        "nearest",
        one_of("nearest", "seeds"),
    )
    scale: int = common.scale()


def run(options: Options) -> None:
    """Write the picture and print the figures."""
    from gan_lab.use.nearest import nearest

    found = nearest(**common.arguments(options))
    print(json.dumps({"picture": str(options.out), **found}, indent=2))
