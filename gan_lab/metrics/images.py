"""From what a generator or a file gives to what a backbone reads: uint8, and the right number of channels."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.errors import DivergedError, UserError

QUANTIZER = "clamp, round, uint8"


def quantize(images: Tensor) -> Tensor:
    """Images in [-1, 1] (b c h w) to uint8: ((x + 1) * 127.5) clamped to [0, 255], rounded, cast.

    uint8 passes through. Raises DivergedError where a value is NaN or infinite: casting would make a colour
    of it.
    """
    if images.dtype == torch.uint8:
        return images
    images = images.float()
    finite = torch.isfinite(images)
    if not finite.all():
        bad = int((~finite.flatten(1).all(dim=1)).sum())
        raise DivergedError(
            f"{bad} of {len(images)} images given to the metrics hold NaN or infinite values: the generator diverged"
        )
    return ((images + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)


def to_rgb(images: Tensor) -> Tensor:
    """Repeats a single gray channel three times (n 1 h w -> n 3 h w); leaves three channels as they are."""
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    if images.shape[1] != 3:
        raise UserError(f"the metrics read images of 1 or 3 channels, these have {images.shape[1]}")
    return images
