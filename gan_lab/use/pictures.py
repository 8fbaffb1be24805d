"""Write pictures: the format is the suffix, and what cannot be written is told in one sentence."""

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gan_lab.data import to_pixels
from gan_lab.errors import UserError
from gan_lab.files import reason, write_atomically
from gan_lab.runs.image_grid import grid, to_pillow

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SAVE_SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}


def check_suffix(out: Path, allowed: Collection[str], folder: bool = False) -> str:
    """Return the suffix of `out` in lower case, "" for a folder. UserError for one that is not allowed."""
    suffix = out.suffix.lower()
    if folder and (not suffix or out.is_dir()):
        return ""
    if suffix in allowed and not out.is_dir():
        return suffix
    what = f"a file that ends in {', '.join(allowed)}"
    raise UserError(f"out={out}: must be {what}{', or a folder, whose name has no ending' if folder else ''}")


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Raise UserError if a file in or at `out` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {out}: {reason(error)}") from error


def write_file(out: Path, data: bytes | memoryview) -> None:
    """Write a file, making its folder. UserError if it cannot be written."""
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, data)


def write_arrays(out: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write tensors as a .npz file. UserError if it cannot be written."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.cpu().numpy() for name, tensor in arrays.items()})  # type: ignore[arg-type]
    write_file(out, buffer.getbuffer())


def encoded(image: Image.Image, suffix: str) -> bytes:
    """Encode an image in the format of a suffix. JPEG has quality 95; WebP is lossless.

    UserError for an image that is too large for the format.
    """
    kind, buffer = FORMATS[suffix], io.BytesIO()
    try:
        image.save(buffer, kind, **SAVE_SETTINGS[kind])
    except (OSError, ValueError) as error:
        raise UserError(
            f"a picture of {image.width} x {image.height} pixels cannot be written as {kind}; choose another format, "
            "or fewer images"
        ) from error
    return buffer.getvalue()


def write_picture(out: Path, images: Tensor, columns: int, scale: int = 1) -> None:
    """Write images (n c h w; uint8, or in [-1, 1]) as a grid, or a single one without a frame.

    scale: the side in pixels of each pixel. UserError if it cannot be written.
    """
    pixels = magnified(to_pixels(images), scale)
    picture = pixels[0] if len(pixels) == 1 else grid(pixels, columns)
    write_file(out, encoded(to_pillow(picture), out.suffix.lower()))


def magnified(pixels: Tensor, scale: int) -> Tensor:
    """Repeat every pixel `scale` times in both directions (n c h w)."""
    return pixels if scale == 1 else torch.repeat_interleave(pixels, scale, 2).repeat_interleave(scale, 3)
