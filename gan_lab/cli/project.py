"""`gan-lab project`: find the latents of given images."""

import json
from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import option
from gan_lab.config.ranges import NOT_NEGATIVE, SEED, one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options(common.OfData):
    """Search for the latents whose images are nearest to given ones; draw them and print the errors as JSON.

    The picture has a row for each image: the image, the start of the search, the result. For the figure of WN-GAN, use
    gan-lab reconstruct.
    """

    examples = (
        "run=runs/mine out=projected.png",
        "run=runs/mine images=photos n=4 steps=1000 latents=photos.npz",
    )
    run: Path = common.run()
    images: Path | None = option("an image, or a folder or a ZIP of images", None, shown="images of the run's dataset")
    out: Path = option("a picture (.png, .jpg or .webp)", Path("projected.png"))
    n: int = option("how many images at most", 8, whole(1, 10_000))
    split: str = option("which images of the dataset", "test", one_of("test", "train"))
    space: str | None = option(
        "z; or w, or w+ (a w for each layer) of a generator with styles, with its noise",
        None,
        one_of("z", "w", "w+"),
        shown="w+ where there are styles, else z",
    )
    steps: int = option("of the search", 300, whole(1, 1_000_000))
    feature_weight: float = option("of the distance in features; 0: pixels alone", 0.1, NOT_NEGATIVE)
    classes: tuple[int | str, ...] | None = option(
        "one for all images, or one each", None, shown="the dataset's labels"
    )
    seed: int = option("of the starts and the noise", 0, SEED)
    latents: Path | None = option("a file for what was found (.npz)", None)
    scale: int = common.scale()


def run(options: Options) -> None:
    """Write the picture and print the errors."""
    from gan_lab.use.project import project

    found = project(**common.arguments(options))
    shown = ("error", "start_error", "psnr", "feature_distance", "features")
    print(json.dumps({"picture": str(options.out), **{key: getattr(found, key) for key in shown}}, indent=2))
