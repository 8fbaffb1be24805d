"""`gan-lab sample`: draw images from a trained generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gan_lab.cli.options import option
from gan_lab.config.ranges import whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw images from a trained generator, as one grid or as separate PNG files."""

    examples: ClassVar[tuple[str, ...]] = ("run=runs/mine out=samples.png n=64", "run=runs/mine out=samples n=1000")
    run: Path = option("a run directory or a checkpoint file")
    out: Path = option("a grid, if it ends in .png, else a folder of PNG files", Path("samples.png"))
    n: int = option("how many images", 64, whole(1, 1_000_000))
    seed: int = option("seed of the random numbers", 0, whole(0))
    checkpoint: str = option("best, latest or a step of the run", "best")
    raw: bool = option("use the raw weights instead of their moving average", False)
    extensions: tuple[str, ...] = option("your own modules that the run uses; their code is executed", ())


def run(options: Options) -> None:
    """Write the images and print where they are."""
    from gan_lab.use.sample import sample

    out = sample(
        options.run,
        options.out,
        options.n,
        seed=options.seed,
        checkpoint=options.checkpoint,
        ema=not options.raw,
        extensions=options.extensions,
    )
    print(f"{options.n} images in {out}")
