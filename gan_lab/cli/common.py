"""Options that several commands have, each declared once, and their way into the function that does the work."""

from dataclasses import fields
from typing import Any

from gan_lab.cli.options import option, prefixed
from gan_lab.config.ranges import DEVICE, TRUNCATION, whole


def run() -> Any:
    """Declare `run` for a command that loads a generator."""
    return option("a run directory or a checkpoint file")


def checkpoint() -> Any:
    """Declare `checkpoint`, None for the best or else the latest."""
    return option("best, latest or a step of the run", None, shown="the best, else the latest")


def raw() -> Any:
    """Declare `raw`, which `arguments` turns into `ema`."""
    return option("use the raw weights instead of their moving average", False)


def device() -> Any:
    """Declare `device`."""
    return option("where to compute", "auto", DEVICE)


def extensions() -> Any:
    """Declare `extensions` for a command that takes a run."""
    return option("your own modules that the run uses; their code is executed", ())


def truncation() -> Any:
    """Declare `truncation` for a command that draws images."""
    return option("distance to the mean latent, in w (StyleGAN2) or z", 1.0, TRUNCATION)


def standing_statistics() -> Any:
    """Declare `standing_statistics` for a command that takes a generator."""
    return option(
        "batches of 100 images over which batch norms take their statistics, 0: the running ones", 0, whole(0, 100_000)
    )


def scale() -> Any:
    """Declare `scale` for a command that writes a picture."""
    return option("the side in pixels of each pixel", 1, whole(1, 64))


def data_dir() -> Any:
    """Declare `data_dir` for a command that opens the data of a run."""
    return option("where packed datasets live", None, shown="where they were when the run was trained")


def dataset_path() -> Any:
    """Declare `dataset_path` for a command that opens the data of a run."""
    return option(
        "where the run's images lie now, if they were moved", None, also="dataset.path", shown="where they were"
    )


def features() -> Any:
    """Declare `metrics` for a command that compares images by their features."""
    return option("whose features: a preset of train, or pixels", None, shown="the run's, or pixels if it has none")


def settings() -> Any:
    """Declare `settings`: changes to the preset of `metrics`."""
    return prefixed("metrics.", "a setting of the preset, as in train")


def arguments(options: Any) -> dict[str, Any]:
    """Return the options as arguments of the function that has the same names: `run` is its `path`, `raw` not `ema`."""
    found = {f.name: getattr(options, f.name) for f in fields(options)}
    found["path"] = found.pop("run")
    if "raw" in found:
        found["ema"] = not found.pop("raw")
    return found
