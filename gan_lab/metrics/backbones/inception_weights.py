"""Find, check and read the weights of the FID Inception-v3."""

import hashlib
import logging
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from gan_lab.distributed.device import exact_fp32
from gan_lab.errors import UserError, useful_line
from gan_lab.files import expand_path
from gan_lab.metrics.backbones.inception import NUM_FEATURES, TAPS, InceptionFID, keys_of, layers_of
from gan_lab.metrics.images import to_rgb
from gan_lab.progress import shows_bars

log = logging.getLogger(__name__)

FILE_NAME = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE_NAME}"
ENVIRONMENT = "GAN_LAB_INCEPTION"
TIMEOUT_SECONDS = 20.0  # of each wait for the network
CPU_CHUNK = 16  # images at a time: larger batches fall out of the caches


def _downloaded() -> Path:
    """Return the path of torch-fidelity's file in torch.hub's cache; download it if it is missing."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME
    if path.is_file():
        return path
    prefix = FILE_NAME.removesuffix(".pth").rsplit("-", 1)[-1]
    log.info("downloading the Inception weights (95 MB) to %s", path)
    before = socket.getdefaulttimeout()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(TIMEOUT_SECONDS)  # torch.hub would wait for minutes where packets are dropped
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=prefix, progress=shows_bars())
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"the Inception weights could not be downloaded ({error}): without internet, train without figures "
            "(metrics=none) or by a classifier of your classes (gan-lab train-classifier, then metrics=classifier "
            f"metrics.weights=FILE), or put {FILE_NAME} (sha256 begins {prefix}) from torch-fidelity's release v0.2.0 "
            f"at {path} (TORCH_HOME moves that folder), or name it by metrics.weights=PATH or {ENVIRONMENT}=PATH"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def is_named(weights: str | None) -> bool:
    """Whether the user names the weights file, so that nothing is downloaded."""
    return bool(weights or os.environ.get(ENVIRONMENT))


def find_weights(weights: str | None) -> Path:
    """Return the weights file: `weights`, else $GAN_LAB_INCEPTION, else torch.hub's cache, else a download."""
    named = weights or os.environ.get(ENVIRONMENT)
    if not named:
        return _downloaded()
    path = Path(expand_path(named))
    if not path.is_file():
        raise UserError(f"{'metrics.weights' if weights else ENVIRONMENT}={named}: no such file")
    return path


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return tensors and sha256 of a weights file. A hash in its name (-0123abcd.pth) must match."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stated = re.search(r"-([0-9a-f]{8,64})\.pth$", path.name)
    if stated and not digest.startswith(stated[1]):
        raise UserError(
            f"{path} is damaged or another file: its sha256 begins {digest[:8]}, not {stated[1][:8]}; "
            "delete it and fetch it again"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that holds no tensors makes torch raise nearly anything
        raise UserError(f"{path} cannot be read as tensors ({type(error).__name__})") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path} holds no state dict of tensors")
    return dict(state), digest


def check_weights(state: Mapping[str, Tensor], tap: str, path: Path) -> None:
    """Raise UserError unless every layer up to `tap` is present and finite; it names the deepest usable tap."""
    usable: list[str] = []
    for reached in TAPS:
        for layer in layers_of(reached):
            missing = [key for key in keys_of(layer) if key not in state]
            values = [state[key] for key in keys_of(layer) if key in state]
            if missing:
                _refuse(path, tap, usable, f"lacks {missing[0]}")
            if not all(bool(torch.isfinite(v).all()) for v in values):
                _refuse(path, tap, usable, f"is not finite from {layer} on")
        usable.append(reached)
        if reached == tap:
            return


def _refuse(path: Path, tap: str, usable: list[str], reason: str) -> None:
    if usable:
        advice = f"metrics.feature={usable[-1]} would work with it, the full weights ({FILE_NAME}) with all"
    else:
        advice = f"it is not the FID Inception-v3 in torch-fidelity's key format; {FILE_NAME} is"
    raise UserError(f"{path} {reason}, so feature={tap} cannot be computed: {advice}")


class InceptionExtractor:
    """uint8 images (n 1|3 h w) -> {"features": n d, "logits": n 1008 from tap 2048 on}, float32."""

    logit_suffix = ""
    cpu_chunk = CPU_CHUNK
    counts_modes = knows_classes = False

    def __init__(self, weights: str | None, tap: str, device: torch.device) -> None:
        path = find_weights(weights)
        state, sha256 = read_weights(path)
        check_weights(state, tap, path)
        self._describe(tap, sha256)
        try:
            self.net = InceptionFID(state, tap).eval().requires_grad_(False)
            probe = torch.tensor([0, 255], dtype=torch.uint8)  # black and white
            taps = self.net(probe[:, None, None, None].expand(2, 3, 8, 8))
        except RuntimeError as error:
            raise UserError(f"{path}: its tensors do not fit the FID Inception-v3 ({useful_line(error)})") from error
        if not all(torch.isfinite(v).all() for v in taps.values()):
            raise UserError(f"{path} gives non-finite features at feature={tap}; choose a tap before, or other weights")
        self.net.to(device)  # only now, as a GPU searches its kernels anew for each number of images
        self.device = device

    def _describe(self, tap: str, sha256: str) -> None:
        """Set what evaluators read, except the network."""
        self.protocol = {
            "backbone": "inception-2015-12-05",
            "tap": tap,
            "weights_sha256": sha256,
            "resize": "TensorFlow 1 bilinear to 299, no antialias",
        }
        self.feature_suffix = {"2048": "", "logits": "_logits"}.get(tap, tap)
        self.num_features = NUM_FEATURES[tap]
        self.num_logits = NUM_FEATURES["logits"] if tap in ("2048", "logits") else 0

    def differentiable(self, images: Tensor) -> Tensor:
        """Return the features (n d) of images in [-1, 1] (n 1|3 h w), through which gradients flow."""
        with exact_fp32(self.device):
            return self.net.taps(to_rgb(images) * 127.5 + 127.5)["features"]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        images = to_rgb(images.to(self.device))
        parts = images.split(CPU_CHUNK) if self.device.type == "cpu" else (images,)
        with exact_fp32(self.device):
            taps = [self.net(part) for part in parts]
        return {name: torch.cat([tap[name] for tap in taps]) for name in taps[0]}
