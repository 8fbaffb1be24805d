"""`scripts/train_feature_net.py`: makes the classifier that `metrics=classifier` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gan_lab.cli.options import parse_words, whole_number
from gan_lab.errors import UserError
from gan_lab.metrics.backbones.classifier import save_classifier
from gan_lab.metrics.backbones.classifier_training import train_classifier

USAGE = """Trains a small classifier of a labelled dataset, to be used as a metric's backbone.

    python scripts/train_feature_net.py dataset=NAME [out=FILE] [KEY=VALUE ...]
    python train.py dataset=NAME metrics=classifier metrics.weights=FILE

dataset     a dataset's name, as in train.py; path and resolution as its dataset.path and dataset.resolution
out         the file to write: feature-nets/NAME.safetensors
name        what the figures are called: fid_NAME, is_NAME (the dataset's name)
epochs      passes over the training images (10); minutes: stop the schedule there (15)
            (cifar10 on two cores: 83.4 % held out after 10 epochs in 3 minutes, 87.6 % with epochs=100 in the 15)
width       channels of the first stage (16; 64 for natural images given a GPU)
batch_size  (128)   lr  (0.1)   seed  (0)   device  auto, cpu or cuda
data_dir    where packed datasets live: $GAN_LAB_DATA, else ./data"""

_DEFAULTS: dict[str, str | None] = {
    "dataset": None, "path": None, "resolution": None, "data_dir": None, "out": None, "name": None,
    "epochs": "10", "minutes": "15", "width": "16", "batch_size": "128", "lr": "0.1", "seed": "0",
    "device": "auto",
}  # fmt: skip


def _positive(key: str, text: str | None) -> float:
    try:
        number = float(str(text))
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UserError(f"{key}={text}: must be a number above 0")
    return number


def train_feature_net(arguments: Sequence[str]) -> int:
    """Trains, reports the held-out accuracy, and writes the file; raises UserError for what does not fit."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if arguments else 2
    from gan_lab.data import load

    settings = parse_words(arguments, _DEFAULTS)
    if not settings["dataset"]:
        raise UserError("dataset=NAME is missing: name a labelled dataset, for example dataset=cifar10")
    how: dict[str, Any] = {
        "epochs": _positive("epochs", settings["epochs"]),
        "max_minutes": _positive("minutes", settings["minutes"]),
        "lr": _positive("lr", settings["lr"]),
        "width": whole_number("width", settings["width"], 1, 512),
        "batch_size": whole_number("batch_size", settings["batch_size"], 2, 65_536),
        "seed": whole_number("seed", settings["seed"], 0),
    }
    where = settings["data_dir"] or os.environ.get("GAN_LAB_DATA", "./data")
    more = {"path": settings["path"]} if settings["path"] else {}
    if settings["resolution"]:
        more["resolution"] = whole_number("resolution", settings["resolution"], 4, 4096)  # type: ignore[assignment]
    name = settings["device"]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    dataset = load(settings["dataset"], where, **more)  # type: ignore[arg-type]
    net, facts = train_classifier(dataset, device=torch.device(str(name)), **how)
    facts["name"] = settings["name"] or facts["name"]
    out = Path(settings["out"] or f"feature-nets/{facts['name']}.safetensors").expanduser()
    try:
        save_classifier(net, out, facts)
    except OSError as error:
        raise UserError(f"out={out} cannot be written ({error})") from error
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, held-out accuracy {facts['accuracy']:.4f}")
    print(f"use it by metrics=classifier metrics.weights={out}")
    return 0
