"""`gan-lab train-classifier`: train the classifier that `metrics=classifier` uses."""

from dataclasses import dataclass
from pathlib import Path

from gan_lab.cli import common
from gan_lab.cli.options import data_dir, option
from gan_lab.config.ranges import ABOVE_ZERO, whole
from gan_lab.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a small classifier on a labelled dataset, as a backbone of metrics.

    Use it with metrics=classifier metrics.weights=FILE. It prints the share of held-out images that it gets right.
    """

    examples = ("dataset=cifar10", "dataset=folder path=~/photos resolution=64 name=photos")
    dataset: str = option("a labelled dataset, for example cifar10")
    path: Path | None = option("as dataset.path of train", None, also="dataset.path")
    resolution: int | None = option("as dataset.resolution of train", None, whole(4, 4096), also="dataset.resolution")
    data_dir: Path = data_dir()
    out: Path | None = option("the file to write", None, shown="feature-nets/NAME.safetensors")
    name: str | None = option("the suffix of the figures: fid_NAME, is_NAME", None, shown="the dataset's name")
    epochs: float = option("passes over the training images", 10.0, ABOVE_ZERO)
    minutes: float = option("end the schedule after so many minutes", 15.0, ABOVE_ZERO)
    width: int = option("channels of the first stage; 64 for natural images given a GPU", 16, whole(1, 512))
    batch_size: int = option("images per update", 128, whole(2, 65_536))
    lr: float = option("learning rate", 0.1, ABOVE_ZERO)
    seed: int = option("seed of weights, order and held-out images", 0, whole(0))
    device: str = common.device()


def run(options: Options) -> None:
    """Train, write the file, and print its size and the held-out accuracy."""
    from gan_lab.data import load
    from gan_lab.distributed.device import pick_device
    from gan_lab.metrics.backbones.classifier import save_classifier
    from gan_lab.metrics.backbones.classifier_training import train_classifier

    dataset = load(options.dataset, options.data_dir, path=options.path, resolution=options.resolution)
    net, info = train_classifier(
        dataset,
        device=pick_device(options.device, "device"),
        epochs=options.epochs,
        max_minutes=options.minutes,
        lr=options.lr,
        width=options.width,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    info["name"] = options.name or info["name"]
    out = options.out or Path(f"feature-nets/{info['name']}.safetensors")
    try:
        save_classifier(net, out, info)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error})") from error
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, held-out accuracy {info['accuracy']:.4f}")
    print(f"use it with metrics=classifier metrics.weights={out}")
