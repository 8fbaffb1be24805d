"""`gan-lab nearest`: compare samples with the training images nearest to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gan_lab.cli.options import option, prefixed
from gan_lab.config.ranges import DEVICE, SEED, TRUNCATION, one_of, whole


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw samples beside the training images nearest to them, and print a figure of memorization as JSON.

    copies is the share of samples that are nearer to a training image than that image is to every other one,
    copies_heldout the same share of held-out images: only a higher share of the samples is a sign of memorization.
    """

    examples: ClassVar[tuple[str, ...]] = ("run=runs/mine out=nearest.png", "run=runs/mine n=5000 metrics=pixels")
    run: Path = option("a run directory or a checkpoint file")
    out: Path = option("a picture (.png, .jpg or .webp)", Path("nearest.png"))
    n: int = option("how many samples", 1000, whole(1, 1_000_000))
    seed: int = option("of the first sample", 0, SEED)
    classes: tuple[int, ...] | None = option("one for all samples", None, shown="drawn from the seeds")
    truncation: float = option("distance to the mean latent, in w (StyleGAN2) or z", 1.0, TRUNCATION)
    rows: int = option("samples in the picture", 8, whole(1, 1000))
    k: int = option("training images beside each", 5, whole(1, 100))
    first: str = option(
        "which samples are shown: those with the nearest training images, or the first seeds",
        "nearest",
        one_of("nearest", "seeds"),
    )
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
    """Write the picture and print the figures."""
    from gan_lab.use.nearest import nearest

    found = nearest(
        options.run,
        options.out,
        options.n,
        seed=options.seed,
        classes=options.classes,
        truncation=options.truncation,
        rows=options.rows,
        k=options.k,
        first=options.first,
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
    print(json.dumps({"picture": str(options.out), **found}, indent=2))
