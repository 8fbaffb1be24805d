"""Image grids and PNG files without torchvision, whose import takes as long as torch's."""

from __future__ import annotations

import io
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor

GAP = 2


def grid(images: Tensor, columns: int) -> Tensor:
    """Arrange images (n c h w, in [0, 1]) in rows of `columns`, with black gaps of two pixels: 3 H W on the CPU."""
    images = images.detach().float().cpu()
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    n, c, h, w = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    picture = torch.zeros(c, rows * (h + GAP) + GAP, columns * (w + GAP) + GAP)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (h + GAP), GAP + i % columns * (w + GAP)
        picture[:, top : top + h, left : left + w] = image
    return picture


def save_png(picture: Tensor, file: str | BinaryIO | io.BytesIO) -> None:
    """Write one image (3 h w, in [0, 1]), rounded to 8 bits."""
    pixels = (picture * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(file, format="PNG")
