"""From the bytes of any image file to an RGB array, by one stated rule.

1. Refuse more than `MAX_PIXELS` pixels, by the header, before anything is decoded.
2. Take the first frame of an animation, and turn the image as its EXIF orientation says. Where a resolution is asked
   for, crop the centred square of the shorter side.
3. To 8-bit RGB: 16-bit gray divided by 257, float gray read as [0, 1] if it lies there and as [0, 255] if
   not, palettes and CMYK converted, and everything with transparency laid over white.
4. Where a resolution is asked for, resize the square to it with Pillow's antialiased Lanczos filter.

Formats are recognised by content, from a list: some that Pillow knows start other programs. Large images
are decoded one at a time, whatever the number of threads: one takes up to a gigabyte.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Image.init()  # registers all formats, of which older versions of Pillow have fewer
_TAKEN = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in _TAKEN if name in Image.OPEN)
MAX_PIXELS = 2**26  # 67 million, 8192 x 8192
MAX_SCANS = 16  # of a progressive JPEG with the most pixels allowed, in proportion more of a smaller one
_LARGE_PIXELS = 2**24
_LARGE = threading.Lock()
_ROWS = 256
_ORIENTATION = 0x0112
_UNKNOWN = "it is not an image that Pillow knows"
PREFIX_BYTES = 16
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unreadable(Exception):
    """This one file is of no use, and why; the others may be."""


def _turned(image: Image.Image) -> Image.Image:
    image.load()  # Pillow itself turns a TIFF here, and then says so no longer
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _gray_from_numbers(image: Image.Image) -> Image.Image:
    """The gray modes with more than 8 bits: 16-bit integers (also inside 32-bit ones) and floats."""
    values = np.asarray(image)
    factor = 1 / 257
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise Unreadable("it holds values that are not finite")
        factor = 255.0 if values.min() >= 0 and values.max() <= 1 else 1.0
    gray = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS):  # in blocks, as double precision takes eight bytes for one
        exact = values[row : row + _ROWS].astype(np.float64) * factor
        gray[row : row + _ROWS] = np.rint(exact.clip(0, 255))
    return Image.fromarray(gray, "L")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # it is None only for a conversion in place
    return converted


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to RGB, transparency over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _gray_from_numbers(image).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def centre_square(image: Image.Image) -> Image.Image:
    """The centred square of the shorter side; an odd pixel too many is lost on the right or at the bottom."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resized(image: Image.Image, resolution: int) -> Image.Image:
    """Resized by Pillow's Lanczos filter, whose support grows with the reduction: antialiased."""
    if image.size == (resolution, resolution):
        return image
    return image.resize((resolution, resolution), Image.Resampling.LANCZOS)


def check_prefix(prefix: bytes) -> None:
    """Unreadable if no image of the formats taken begins with these `PREFIX_BYTES`; fewer are left to `decode`."""
    accepts = [Image.OPEN[name][1] for name in FORMATS]
    if len(prefix) == PREFIX_BYTES and not any(accept is None or accept(prefix) is True for accept in accepts):
        raise Unreadable(_UNKNOWN)


def decode(data: bytes, resolution: int | None) -> NDArray[np.uint8]:
    """An image file to uint8 h w c, RGB: `resolution` pixels square, or all of it in its stored size if None.

    Raises:
        Unreadable: it is no image, damaged, truncated or too large; the message says which.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise Unreadable(f"{image.width} x {image.height} is over the limit of {MAX_PIXELS:,} pixels")
            if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") * pixels > MAX_SCANS * MAX_PIXELS:
                raise Unreadable("it makes the decoder pass over its pixels too many times")
            with _LARGE if pixels > _LARGE_PIXELS else nullcontext():
                image.seek(0)
                upright = _turned(image)
                if resolution is None:
                    return np.asarray(to_rgb(upright))
                return np.asarray(resized(to_rgb(centre_square(upright)), resolution))
    except Unreadable:
        raise
    except Image.UnidentifiedImageError:
        raise Unreadable(_UNKNOWN) from None
    except Exception as error:  # decoders meet damaged files with nearly any exception
        raise Unreadable(str(error).strip() or type(error).__name__) from None
