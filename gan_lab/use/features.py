"""What a use of a run needs besides G: its data, and a backbone in whose features images are compared."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_lab.builder import build_evaluator
from gan_lab.data import to_float
from gan_lab.errors import UserError
from gan_lab.metrics.settings import Extractor
from gan_lab.nets import Generator
from gan_lab.norms import bake
from gan_lab.runs.checkpoint import load_checkpoint
from gan_lab.use.evaluate import dataset_of, preset
from gan_lab.use.load import find_checkpoint, generator_of

PIXELS = "pixels"


@dataclass(frozen=True)
class Trained:
    """A generator, the dataset that it was trained on, and its checkpoint: the file and what it holds."""

    G: Generator
    dataset: Any
    file: Path
    content: Mapping[str, Any]


def load_trained(
    path: str | Path,
    device: torch.device,
    *,
    checkpoint: str | int | None = None,
    ema: bool = True,
    data_dir: str | Path | None = None,
    dataset_path: str | Path | None = None,
    extensions: Sequence[str] = (),
) -> Trained:
    """Load a run's generator to a device, and open its data. UserError if one of them cannot be used."""
    file = find_checkpoint(Path(path).expanduser(), checkpoint)
    content = load_checkpoint(file)
    dataset = dataset_of(content["config"], content["dataset"], data_dir, dataset_path, extensions)
    for key in ("resolution", "channels"):
        if content["dataset"][key] != getattr(dataset, key):
            raise UserError(f"{path} was trained on images of other {key} than {dataset.name} has now")
    G = bake(generator_of(content, file, ema=ema, extensions=extensions)).to(device)
    return Trained(G, dataset, file, content)


class Features:
    """The features (n d, float32) of images. Two images that look alike have features that lie near one another."""

    def __init__(self, name: str, extractor: Extractor | None, device: torch.device) -> None:
        self.name, self.extractor, self.device = name, extractor, device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of uint8 images (n c h w)."""
        images = images.to(self.device)
        return to_float(images).flatten(1) if self.extractor is None else self.extractor(images)["features"]

    def differentiable(self, images: Tensor) -> Tensor:
        """Return the features of images in [-1, 1] (n c h w), through which gradients flow."""
        return images.flatten(1) if self.extractor is None else self.extractor.differentiable(images)


def features_for(
    trained: Trained,
    metrics: str | None,
    settings: Mapping[str, Any],
    device: torch.device,
    extensions: Sequence[str] = (),
) -> Features:
    """Return the features of a preset of conf/metrics, or "pixels". metrics None: those of the run, else pixels.

    settings: changes to the preset, such as `weights`. UserError for a preset that cannot be used.
    """
    own = trained.content["config"].get("metrics")
    node = own if metrics is None else None if metrics == PIXELS else preset(metrics)
    if not node:
        return Features(PIXELS, None, device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about figures that are not computed here
        evaluator = build_evaluator({**node, **settings}, extensions, dataset=trained.dataset, device=device,
                                    cache_dir=Path(), conditional=bool(trained.G.num_classes))  # fmt: skip
    return Features(f"{evaluator.extractor.protocol['backbone']}, {evaluator.extractor.protocol['tap']}",
                    evaluator.extractor, device)  # fmt: skip
