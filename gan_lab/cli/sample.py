"""`gan-lab sample`: draw images from a trained generator."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import SEED, one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw images from a trained generator: a grid, an array, or a folder of files.

    Seed s gives the same image whatever the other seeds and the batch.
    """

    examples = (
        "run=runs/mine out=samples.png seeds=0-63",
        "run=runs/mine out=samples n=1000",
        "run=runs/mine out=classes.png seeds=0-7 classes=0-9 truncation=0.7",
    )
    run: Path = common.run()
    out: Path = option(
        "a grid (.png, .jpg or .webp), an array (.npz), or a folder for one file an image", Path("samples.png")
    )
    seeds: tuple[int, ...] | None = option("an image each: numbers and ranges", None, shown="n seeds from seed on")
    n: int | None = option("how many images", None, whole(1, 1_000_000), shown="64")
    seed: int = option("the first seed", 0, SEED)
    classes: tuple[int | str, ...] | None = option("draw each seed in each of these", None, shown="drawn from the seed")
    truncation: float = common.truncation()
    standing_statistics: int = common.standing_statistics()
    format: str = option("of the files in a folder", "png", one_of("png", "jpg", "webp"))
    overwrite: bool = option("allow a folder that holds other images; earlier samples in it are removed", False)
    checkpoint: str | None = common.checkpoint()
    raw: bool = common.raw()
    device: str = common.device()
    batch_size: int | None = option(
        "images at once", None, whole(1, 65_536), shown="8 on a CPU, 64 on a GPU, fewer if the memory is small"
    )
    extensions: tuple[str, ...] = common.extensions()


def run(options: Options) -> None:
    """Write the images and print where they are."""
    from gan_lab.use.sample import sample

    out = sample(**common.arguments(options))
    count = len(options.seeds or range(options.n or 64)) * len(options.classes or [None])
    print(f"{count} image{'s' * (count > 1)} in {out}")
