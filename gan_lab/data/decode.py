"""Decode the bytes of an image file to an RGB array.

1. Read the header; refuse an image of more than `MAX_PIXELS` pixels before decoding it.
2. Take the first frame of an animation. Apply the EXIF orientation. If a resolution is given, crop the centred square
   of the shorter side.
3. Convert to 8-bit RGB. Divide 16-bit gray by 257. Read float gray as [0, 1] if all values lie there, else as
   [0, 255]. Convert palettes and CMYK. Composite transparent images over white.
4. If a resolution is given, resize the square to it with Pillow's antialiased Lanczos filter.

Formats are recognised by content and must be on a list, because some of Pillow's formats start other programs. A file
whose name does not say that it is an image may be one by its content (`is_image`). Large images are decoded one at a
time, whatever the number of threads: one may take a gigabyte.
"""

import io
import threading
from contextlib import nullcontext
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

Image.init()  # registers all formats; older versions of Pillow have fewer
_ACCEPTED = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in _ACCEPTED if name in Image.OPEN)
SUFFIXES = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS) | {
    ".avif", ".heic", ".heif", ".jxl"  # photos that Pillow, or this version of it, lacks: reported, not ignored
}  # fmt: skip
"""Names that end so claim to be images. `registered_extensions` is Pillow's own list."""
_BY_CONTENT = tuple(name for name in FORMATS if name not in ("DIB", "TIFF"))  # raw photos of cameras begin like a TIFF
_COMMON = ("BMP", "PPM")  # their first two bytes also begin texts
MAX_PIXELS = 2**26  # 67 million, 8192 x 8192
MAX_SCANS = 16  # of a progressive JPEG of MAX_PIXELS; a smaller one may have proportionally more
_LARGE_PIXELS = 2**24
_LARGE_LOCK = threading.Lock()  # held while an image of more than _LARGE_PIXELS is decoded
_ROWS = 256
_UNKNOWN = f"it is not an image of a format that is read ({', '.join(FORMATS)})"
PREFIX_BYTES = 16


class Unreadable(Exception):
    """One file cannot be read as an image; the message says why."""


def _apply_orientation(image: Image.Image) -> None:
    image.load()  # for a TIFF, Pillow applies the orientation here and removes the tag
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # a damaged EXIF block does not make the pixels unusable
        pass


def _gray_from_numbers(image: Image.Image) -> Image.Image:
    """Convert gray of more than 8 bits, 16-bit integers (also stored in 32 bits) or floats, to 8 bits."""
    values = np.asarray(image)
    factor = 1 / 257
    if image.mode == "F":
        if not np.isfinite(values).all():
            raise Unreadable("it holds values that are not finite")
        factor = 255.0 if values.min() >= 0 and values.max() <= 1 else 1.0
    gray = np.empty(values.shape, np.uint8)
    for row in range(0, len(values), _ROWS):  # in blocks: float64 takes eight times the memory
        exact = values[row : row + _ROWS].astype(np.float64) * factor
        gray[row : row + _ROWS] = np.rint(exact.clip(0, 255))
    return Image.fromarray(gray, "L")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only a conversion in place returns None
    return converted


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to RGB; transparent images are composited over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _gray_from_numbers(image).convert("RGB")
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def centre_square(image: Image.Image) -> Image.Image:
    """Crop the centred square of the shorter side. An odd pixel is removed on the right or at the bottom."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def resize(image: Image.Image, resolution: int) -> Image.Image:
    """Resize with Pillow's Lanczos filter. Its support grows with the reduction, so it is antialiased."""
    if image.size == (resolution, resolution):
        return image
    return image.resize((resolution, resolution), Image.Resampling.LANCZOS)


def check_prefix(prefix: bytes) -> None:
    """Raise Unreadable if no accepted format begins with these `PREFIX_BYTES`. `decode` handles shorter files."""
    if len(prefix) == PREFIX_BYTES and not any(_accepts(name, prefix) for name in FORMATS):
        raise Unreadable(_UNKNOWN)


def is_image(file: IO[bytes]) -> bool:
    """Decide by content whether an open file, whose name does not say so, is an image."""
    head = file.read(4096)
    prefix = head[:PREFIX_BYTES].ljust(PREFIX_BYTES, b"\0")  # some of Pillow's tests read without a look at the length
    found = [name for name in _BY_CONTENT if _accepts(name, prefix)]
    if not found or found[0] not in _COMMON:
        return bool(found)
    try:
        with Image.open(io.BytesIO(head), formats=_COMMON):
            return True
    except Exception:  # a header can be damaged in any way
        return False


def _accepts(name: str, prefix: bytes) -> bool:
    accept = Image.OPEN[name][1]
    return accept is not None and accept(prefix) is True


def decode(data: bytes, resolution: int | None) -> NDArray[np.uint8]:
    """Decode an image file to RGB, uint8 h w c: `resolution` pixels square, or its stored size if None.

    Raises:
        Unreadable: the data is no image, damaged, truncated or too large; the message says which.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAX_PIXELS:
                raise Unreadable(f"{image.width} x {image.height} is over the limit of {MAX_PIXELS:,} pixels")
            if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") * pixels > MAX_SCANS * MAX_PIXELS:
                raise Unreadable("it makes the decoder pass over its pixels too many times")
            with _LARGE_LOCK if pixels > _LARGE_PIXELS else nullcontext():
                image.seek(0)
                _apply_orientation(image)
                if resolution is None:
                    return np.asarray(to_rgb(image))
                return np.asarray(resize(to_rgb(centre_square(image)), resolution))
    except Unreadable:
        raise
    except Image.UnidentifiedImageError:
        raise Unreadable(_UNKNOWN) from None
    except Exception as error:  # decoders raise nearly any exception for damaged files
        raise Unreadable(str(error).strip() or type(error).__name__) from None
