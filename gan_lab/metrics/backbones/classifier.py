"""A small convolutional classifier as a backbone: network, file format, and feature extractor."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gan_lab.data.dataset import to_float
from gan_lab.distributed.device import exact_fp32
from gan_lab.errors import UserError, useful_line
from gan_lab.metrics.images import to_rgb

CPU_CHUNK = 50  # images at a time: larger batches fall out of the caches

FORMAT = "gan_lab.classifier.1"
SHIPPED = Path(__file__).parents[1] / "weights"  # weights=shapes means shapes.safetensors here


@dataclass(frozen=True)
class Architecture:
    """The sizes that define the network; stored in its file."""

    resolution: int
    channels: int
    num_classes: int
    width: int = 16

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"a classifier needs at least two classes, not {self.num_classes}")
        if min(self.resolution, self.channels, self.width) < 1:
            raise ValueError(f"resolution, channels and width must be positive: {self}")


class Classifier(nn.Module):
    """Stages of two 3x3 convolutions with BatchNorm and ReLU; the resolution is halved until it is below 12.

    Stage widths are w, 2w, 4w, 4w, ... Features are the spatial mean of the last stage (4w of them from 24 px on).
    forward(x in [-1, 1], b c h w) -> (features b d, logits b k).
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        layers: list[nn.Module] = []
        c_in, side, stage = architecture.channels, architecture.resolution, 0
        while True:
            c_out = architecture.width * 2 ** min(stage, 2)
            for c in (c_in, c_out):
                layers += [nn.Conv2d(c, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
            c_in, stage = c_out, stage + 1
            if side < 12:
                break
            layers.append(nn.MaxPool2d(2))
            side //= 2
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(c_in, architecture.num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x).mean(dim=(2, 3))  # b d
        return features, self.head(features)


def save_classifier(net: Classifier, path: Path, info: Mapping[str, Any]) -> None:
    """Write weights and `info` (name, classes, accuracy, dataset_sha256, ...) to one safetensors file."""
    meta = {
        "format": FORMAT,
        "architecture": json.dumps(asdict(net.architecture)),
        "facts": json.dumps(dict(info)),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.cpu().contiguous() for k, v in net.state_dict().items()}, path, metadata=meta)
    path.chmod(0o644)


def load_classifier(path: Path) -> tuple[Classifier, dict[str, Any]]:
    """Return the network in eval mode and its `info`. UserError for a file that is no classifier of gan_lab."""
    if not path.is_file():
        raise UserError(f"metrics.weights={path}: no such file; gan-lab train-classifier dataset=NAME writes one")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
        if meta.get("format") != FORMAT:
            raise UserError(f"metrics.weights={path}: not a classifier written by gan-lab train-classifier")
        net = Classifier(Architecture(**json.loads(meta["architecture"])))
        net.load_state_dict(load_file(path))
        info = json.loads(meta["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"metrics.weights={path}: cannot be read as a classifier ({useful_line(error)}); train it again"
        ) from error
    if not all(torch.isfinite(v).all() for v in net.state_dict().values()):
        raise UserError(f"metrics.weights={path}: the weights are not finite; train the classifier again")
    return net.eval().requires_grad_(False), info


class ClassifierExtractor:
    """uint8 images (n c h w) -> {"features": n d, "logits": n k}, both float32.

    Gray images are repeated for a three-channel net. A one-channel net may be used for three-channel images of its
    number of classes cubed (Stacked-MNIST, arXiv:1611.02163). It then classifies each channel: features are
    concatenated, and log-probabilities are summed for every combination of classes, with the first channel as the most
    significant digit.
    """

    cpu_chunk = CPU_CHUNK
    counts_modes = True
    knows_classes = False  # set by the evaluator, which knows the dataset

    def __init__(self, path: Path, *, resolution: int, channels: int, num_classes: int, device: torch.device) -> None:
        self.net, self.info = load_classifier(path)
        architecture = self.net.architecture
        self.stacked = architecture.channels == 1 and channels == 3
        name = str(self.info.get("name", path.stem))
        self.name = f"stacked_{name}" if self.stacked else name
        if self.stacked and num_classes != architecture.num_classes**3:
            raise UserError(
                f"metrics.weights={path}: a classifier of gray images cannot judge three-channel ones "
                f"(except with its {architecture.num_classes} classes cubed, as in stacked_mnist); "
                "train one on the dataset"
            )
        if architecture.resolution != resolution:
            raise UserError(
                f"metrics.weights={path}: the classifier reads {architecture.resolution} px, the dataset has "
                f"{resolution} px; train one with gan-lab train-classifier"
            )
        self.channels, self.resolution = architecture.channels, architecture.resolution
        self.num_logits = architecture.num_classes ** (3 if self.stacked else 1)
        self.num_features = self.net.head.in_features * (3 if self.stacked else 1)
        self.feature_suffix = self.logit_suffix = f"_{self.name}"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        backbone = f"classifier {self.name}"
        self.protocol = {"backbone": backbone, "tap": "penultimate", "weights_sha256": sha256, "resize": "none"}
        self.net = self.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device

    def differentiable(self, images: Tensor) -> Tensor:
        """Return the features (n d) of images in [-1, 1] (n c h w), through which gradients flow."""
        with exact_fp32(self.device):
            return self.net(self._prepared(images))[0].view(len(images), -1)  # type: ignore[no-any-return]

    def _prepared(self, images: Tensor) -> Tensor:
        """Check the size of images (n c h w) and give them the channels of the net."""
        if images.shape[2:] != (self.resolution, self.resolution):
            raise UserError(
                f"the classifier '{self.name}' reads {self.resolution} x {self.resolution} px, not "
                f"{images.shape[2]} x {images.shape[3]}"
            )
        if self.stacked:
            return images.flatten(0, 1)[:, None]  # n*3 1 h w
        if self.channels == 3:
            return to_rgb(images)
        if images.shape[1] != self.channels:
            raise UserError(f"the classifier reads {self.channels} channels, these images have {images.shape[1]}")
        return images

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        n = len(images)
        images = self._prepared(images.to(self.device))
        x = to_float(images).contiguous(memory_format=torch.channels_last)
        with exact_fp32(self.device):
            parts = [self.net(part) for part in (x.split(CPU_CHUNK) if self.device.type == "cpu" else (x,))]
        features, logits = (torch.cat(tap) for tap in zip(*parts, strict=True))
        if self.stacked:
            features = features.view(n, -1)
            a, b, c = F.log_softmax(logits, dim=1).view(n, 3, -1).unbind(dim=1)
            logits = (a[:, :, None, None] + b[:, None, :, None] + c[:, None, None, :]).flatten(1)
        return {"features": features, "logits": logits}
