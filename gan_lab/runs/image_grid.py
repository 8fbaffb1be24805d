"""Image grids and image files without torchvision, whose import takes as long as torch's."""

from typing import IO

import torch
from PIL import Image
from torch import Tensor

GAP = 2


def grid(images: Tensor, columns: int) -> Tensor:
    """Arrange images (n c h w) in rows of `columns`, with black gaps of two pixels: 3 H W on the CPU, of their dtype.

    A gray channel is repeated. Black is 0, as in uint8 pixels or floats in [0, 1].
    """
    images = images.detach().cpu()
    if images.shape[1] == 1:
        images = images.expand(-1, 3, -1, -1)
    n, c, h, w = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    picture = images.new_zeros(c, rows * (h + GAP) + GAP, columns * (w + GAP) + GAP)
    for i, image in enumerate(images):
        top, left = GAP + i // columns * (h + GAP), GAP + i % columns * (w + GAP)
        picture[:, top : top + h, left : left + w] = image
    return picture


def to_pillow(pixels: Tensor) -> Image.Image:
    """Convert one image (uint8, 1 or 3 h w) to Pillow's RGB or L."""
    array = pixels.detach().cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


def save_png(picture: Tensor, file: str | IO[bytes]) -> None:
    """Write one image (uint8, 1 or 3 h w)."""
    if picture.dtype != torch.uint8:
        raise TypeError(f"pixels are uint8, not {picture.dtype}")
    to_pillow(picture).save(file, format="PNG", compress_level=4)  # faster than Pillow's own level, hardly larger
