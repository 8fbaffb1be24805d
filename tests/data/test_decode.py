"""One image file to one square array: every mode, and every file that must not be taken for an image."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from gan_lab.data import decode as module
from gan_lab.data.decode import Unreadable, decode


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def flat(mode: str, colour: Any, kind: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.new(mode, (8, 8), colour), kind, **options)


def flat_array(values: np.ndarray, kind: str) -> bytes:
    return encoded(Image.fromarray(values), kind)


def palette(transparent: int | None) -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, 200, 100, 50])
    return encoded(image, "PNG", **({} if transparent is None else {"transparency": transparent}))


WHITE = (255, 255, 255)
before_13 = pytest.mark.xfail(
    int(PIL.__version__.split(".")[0]) < 13, raises=Unreadable, strict=True,
    reason="Pillow before 13.0 looks for four bytes a pixel in a YCbCr TIFF without compression",
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "expected", "tolerance"),
    [
        pytest.param(flat("1", 1), WHITE, 0, id="1 bit"),
        pytest.param(flat("L", 77), (77, 77, 77), 0, id="gray"),
        pytest.param(flat("LA", (100, 51)), (224, 224, 224), 1, id="gray, alpha: 100/5 + 255*4/5"),
        pytest.param(flat("RGB", (1, 2, 3)), (1, 2, 3), 0, id="RGB"),
        pytest.param(flat("RGBA", (10, 20, 30, 0)), WHITE, 0, id="transparent"),
        pytest.param(flat("RGBA", (200, 0, 100, 51)), (244, 204, 224), 1, id="a fifth of a colour over white"),
        pytest.param(palette(None), (200, 100, 50), 0, id="palette"),
        pytest.param(palette(1), WHITE, 0, id="palette with a transparent entry"),
        pytest.param(flat("RGB", (7, 8, 9), transparency=(7, 8, 9)), WHITE, 0, id="RGB with a transparent colour"),
        pytest.param(flat("L", 7, transparency=7), WHITE, 0, id="gray with a transparent level"),
        pytest.param(flat("CMYK", (0, 255, 255, 0), "TIFF"), (255, 0, 0), 0, id="CMYK"),
        pytest.param(flat("YCbCr", (128, 128, 128), "TIFF"), (128, 128, 128), 1, id="YCbCr", marks=before_13),
        pytest.param(flat("YCbCr", (76, 85, 255), "TIFF", compression="jpeg"), (254, 0, 0), 1, id="YCbCr as JPEG"),
        pytest.param(flat("LAB", (255, 128, 128), "TIFF"), WHITE, 3, id="LAB white"),
        pytest.param(flat("LAB", (138, 209, 198), "TIFF"), (255, 0, 0), 6, id="LAB red (54, 81, 70)"),
        pytest.param(flat_array(np.full((8, 8), 65535, np.uint16), "PNG"), WHITE, 0, id="16 bit white"),
        pytest.param(flat_array(np.full((8, 8), 257 * 200, np.uint16), "PNG"), (200, 200, 200), 0, id="16 bit"),
        pytest.param(flat_array(np.full((8, 8), 257 * 40, np.int32), "TIFF"), (40, 40, 40), 0, id="32 bit"),
        pytest.param(flat_array(np.full((8, 8), 0.2, np.float32), "TIFF"), (51, 51, 51), 0, id="float, 0..1"),
        pytest.param(flat_array(np.full((8, 8), 51.2, np.float32), "TIFF"), (51, 51, 51), 0, id="float, 0..255"),
        pytest.param(flat("RGB", (0, 0, 255), "BMP"), (0, 0, 255), 0, id="BMP"),
        pytest.param(flat("RGB", (0, 0, 255), "WEBP", lossless=True), (0, 0, 255), 0, id="WebP"),
        pytest.param(flat("L", 5, "PPM"), (5, 5, 5), 0, id="PGM"),
        pytest.param(flat("RGB", (90, 90, 90), "JPEG"), (90, 90, 90), 1, id="JPEG"),
    ],
)
def test_every_mode_becomes_rgb(data: bytes, expected: tuple[int, int, int], tolerance: int) -> None:
    image = decode(data, 4)
    assert image.dtype == np.uint8 and image.shape == (4, 4, 3)
    assert np.abs(image.astype(int) - expected).max() <= tolerance


def quadrants(width: int = 8, height: int = 8) -> np.ndarray:
    """Red, green above blue, white: every turn and mirror of it is different."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 255
    return image


TURNED = {  # what EXIF says a viewer must do to the stored pixels
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(quadrants()), exif=exif)
    assert np.array_equal(decode(data, 8), TURNED[orientation](quadrants()))


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_impossible_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(encoded(Image.fromarray(quadrants()), exif=exif), 8), quadrants())


def test_crop_is_the_centre_of_the_longer_side() -> None:
    x = np.arange(20 * 11 * 3).reshape(11, 20, 3).astype(np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(x)), 11), x[:, 4:15])  # 9 too many: 4 left, 5 right
    y = np.ascontiguousarray(x.transpose(1, 0, 2))
    assert np.array_equal(decode(encoded(Image.fromarray(y)), 11), y[4:15])


def test_reduction_is_antialiased_and_enlargement_works() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(encoded(Image.fromarray(stripes)), 8)[:, 1:-1].astype(int) - 127).max() <= 4
    assert (decode(flat("RGB", (3, 4, 5)), 32) == (3, 4, 5)).all()
    assert decode(encoded(Image.new("RGB", (1, 1), "red")), 8).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **options)
    assert (decode(data, 8) == (255, 0, 0)).all()


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


GOOD = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "."),
        (GOOD[: len(GOOD) // 2], "."),
        (GOOD[:30] + bytes(20) + GOOD[50:], "."),
        (encoded(Image.fromarray(quadrants()), "JPEG")[:300], "."),
        (png_header(30_000, 30_000), "30000 x 30000|exceeds limit"),
        (png_header(9_000, 8_000), "9000 x 8000 is over the limit"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not an image"),
        (flat_array(np.full((8, 8), np.nan, np.float32), "TIFF"), "not finite"),
    ],
)
def test_unreadable(data: bytes, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        decode(data, 8)


def test_pixel_limit_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 64)
    assert decode(flat("L", 1), 8).shape == (8, 8, 3)
    with pytest.raises(Unreadable, match="8 x 9"):
        decode(encoded(Image.new("L", (8, 9))), 8)


@pytest.mark.parametrize("orientation", [1, 6])
def test_without_a_resolution_an_image_keeps_its_size_and_is_turned(orientation: int) -> None:
    pixels = np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    expected = pixels if orientation == 1 else np.rot90(pixels, -1)  # 6: a quarter turn clockwise
    assert np.array_equal(decode(file.getvalue(), None), expected)


def test_without_a_resolution_limits_and_colours_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (6, 4), (255, 0, 0, 0)).save(file, "PNG")
    assert (decode(file.getvalue(), None) == 255).all() and decode(file.getvalue(), None).shape == (4, 6, 3)
    monkeypatch.setattr("gan_lab.data.decode.MAX_PIXELS", 23)
    with pytest.raises(Unreadable, match="6 x 4 is over the limit of 23"):
        decode(file.getvalue(), None)
