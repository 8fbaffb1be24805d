"""Convert images of a generator or a file to what a backbone reads: uint8, three channels."""

import torch
from torch import Tensor

from gan_lab.data import to_pixels as quantize
from gan_lab.errors import UserError

__all__ = ["QUANTIZER", "count_non_finite", "quantize", "to_rgb"]

QUANTIZER = "clamp, round, uint8"


def count_non_finite(images: Tensor) -> Tensor:
    """Count the images (b c h w) that hold a NaN or infinite value. Returns a scalar on their device."""
    if not images.is_floating_point():
        return torch.zeros((), dtype=torch.int64, device=images.device)
    return (~torch.isfinite(images).flatten(1).all(dim=1)).sum()


def to_rgb(images: Tensor) -> Tensor:
    """Repeat a gray channel three times (n 1 h w -> n 3 h w); return images of three channels as they are."""
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] != 3:
        raise UserError(f"the metrics read images of 1 or 3 channels, these have {images.shape[1]}")
    return images
