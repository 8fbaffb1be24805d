"""Options that several commands have, each declared once, and their way into the function that does the work."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gan_lab.cli.options import option, prefixed
from gan_lab.config.ranges import DEVICE, TRUNCATION, whole

run = partial(option, "a run directory or a checkpoint file")
checkpoint = partial(option, "best, latest or a step of the run", None, shown="the best, else the latest")
raw = partial(option, "use the raw weights instead of their moving average", False)  # see `arguments`
device = partial(option, "where to compute", "auto", DEVICE)
extensions = partial(option, "your own modules that the run uses; their code is executed", ())
truncation = partial(option, "distance to the mean latent, in w (StyleGAN2) or z", 1.0, TRUNCATION)
standing_statistics = partial(
    option,
    "batches of 100 images over which batch norms take their statistics, 0: the running ones",
    0,
    whole(0, 100_000),
)
scale = partial(option, "the side in pixels of each pixel", 1, whole(1, 64))
data_dir = partial(option, "where packed datasets live", None, shown="where they were when the run was trained")
dataset_path = partial(
    option, "where the run's images lie now, if they were moved", None, also="dataset.path", shown="where they were"
)
settings = partial(prefixed, "metrics.", "a setting of the preset, as in train")


@dataclass(frozen=True, kw_only=True)
class OfGenerator:
    """Options of a command that loads a generator; help lists them after the command's own."""

    checkpoint: str | None = checkpoint()
    raw: bool = raw()
    device: str = device()
    extensions: tuple[str, ...] = extensions()


@dataclass(frozen=True, kw_only=True)
class OfData(OfGenerator):
    """Options of a command that also opens the run's data and compares images by their features."""

    metrics: str | None = option(
        "whose features: a preset of train, or pixels", None, shown="the run's, or pixels if it has none"
    )
    settings: dict[str, Any] = settings()
    data_dir: Path | None = data_dir()
    dataset_path: Path | None = dataset_path()


def arguments(options: Any) -> dict[str, Any]:
    """Return the options as arguments of the function that has the same names: `run` is its `path`, `raw` not `ema`."""
    found = dict(vars(options))
    found["path"] = found.pop("run")
    if "raw" in found:
        found["ema"] = not found.pop("raw")
    return found
