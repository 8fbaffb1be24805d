"""`gan-lab project`: find the latents of given images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gan_lab.cli.options import option, prefixed
from gan_lab.config.ranges import DEVICE, NOT_NEGATIVE, SEED, one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """Search for the latents whose images are nearest to given ones; draw them and print the errors as JSON.

    The picture has a row for each image: the image, the start of the search, the result. For the figure of WN-GAN, use
    gan-lab reconstruct.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "run=runs/mine out=projected.png",
        "run=runs/mine images=photos n=4 steps=1000 latents=photos.npz",
    )
    run: Path = option("a run directory or a checkpoint file")
    images: Path | None = option("a folder or a ZIP of images", None, shown="images of the run's dataset")
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
    classes: tuple[int, ...] | None = option("one for all images, or one each", None, shown="the dataset's labels")
    seed: int = option("of the starts and the noise", 0, SEED)
    latents: Path | None = option("a file for what was found (.npz)", None)
    scale: int = option("the side in pixels of each pixel", 1, whole(1, 64))
    metrics: str | None = option(
        "whose features: a preset of train, or pixels", None, shown="the run's, or pixels if it has none"
    )
    settings: dict[str, Any] = prefixed("metrics.", "a setting of the preset, as in train")
    data_dir: Path | None = option("where packed datasets live", None, shown="where they were when the run was trained")
    dataset_path: Path | None = option(
        "where the run's images lie now, if they were moved", None, also="dataset.path", shown="where they were"
    )
    checkpoint: str | None = option("best, latest or a step of the run", None, shown="the best, else the latest")
    raw: bool = option("use the raw weights instead of their moving average", False)
    device: str = option("where to compute", "auto", DEVICE)
    extensions: tuple[str, ...] = option("your own modules that the run uses; their code is executed", ())


def run(options: Options) -> None:
    """Write the picture and print the errors."""
    from gan_lab.use.project import project

    found = project(
        options.run,
        options.images,
        options.out,
        options.n,
        split=options.split,
        space=options.space,
        steps=options.steps,
        feature_weight=options.feature_weight,
        classes=options.classes,
        seed=options.seed,
        latents=options.latents,
        scale=options.scale,
        metrics=options.metrics,
        settings=options.settings,
        data_dir=options.data_dir,
        dataset_path=options.dataset_path,
        checkpoint=options.checkpoint,
        ema=not options.raw,
        device=options.device,
        extensions=options.extensions,
    )
    shown = ("error", "start_error", "psnr", "feature_distance", "features")
    print(json.dumps({"picture": str(options.out), **{key: getattr(found, key) for key in shown}}, indent=2))
