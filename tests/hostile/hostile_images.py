"""Hostile images, folders, ZIPs and packed sets for `dataset=folder` and `dataset=packed`."""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.hostile.hostile_pickles import bomb, flipped
from tests.hostile.hostile_sandbox import Case

EXTENSIONS = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tiff", "ppm", "jp2", "avif", "apng", "PNG"]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def true_images() -> dict[str, bytes]:
    """One valid image of each format and mode that the decoder takes, small enough to bend a thousand times."""
    x = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    rgb = Image.fromarray(x)
    frames = [Image.new("RGB", (16, 16), c) for c in ("red", "lime", "blue")]
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20) * 137
    move: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 50}
    made = {
        "png": encoded(rgb, "PNG"), "png palette": encoded(rgb.quantize(7), "PNG", transparency=1),
        "png 16 bit": encoded(Image.fromarray(gray), "PNG"), "png 1 bit": encoded(rgb.convert("1"), "PNG"),
        "png gray and alpha": encoded(rgb.convert("LA"), "PNG"), "png exif": encoded(rgb, "PNG", exif=exif),
        "apng": encoded(frames[0], "PNG", **move), "jpeg": encoded(rgb, "JPEG", exif=exif),
        "jpeg progressive": encoded(rgb, "JPEG", progressive=True), "jpeg CMYK": encoded(rgb.convert("CMYK"), "JPEG"),
        "webp": encoded(rgb, "WEBP"), "webp animated": encoded(frames[0], "WEBP", **move), "bmp": encoded(rgb, "BMP"),
        "webp lossless": encoded(rgb.convert("RGBA"), "WEBP", lossless=True), "ppm": encoded(rgb, "PPM"),
        "gif": encoded(rgb, "GIF"), "gif animated": encoded(frames[0], "GIF", **move),
        "jp2": encoded(rgb, "JPEG2000"), "tiff": encoded(rgb, "TIFF"),
        "tiff lzw": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": encoded(rgb, "TIFF", compression="jpeg"), "tiff CMYK": encoded(rgb.convert("CMYK"), "TIFF"),
        "tiff LAB": encoded(Image.new("LAB", (9, 9)), "TIFF"),
        "tiff float": encoded(Image.fromarray(gray.astype(np.float32)), "TIFF"),
        "tiff 32 bit": encoded(Image.fromarray(gray.astype(np.int32)), "TIFF"),
    }  # fmt: skip
    return made | ({"avif": encoded(rgb, "AVIF")} if "AVIF" in Image.SAVE else {})


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 2, rows: int | None = None, extra: bytes = b""
) -> bytes:
    """A PNG written by hand: a header that may declare anything, above `rows` rows of zeros (all of them if None)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    row = 1 + (width * channels * depth + 7) // 8
    packer = zlib.compressobj(1)
    row = min(row, 2**20)
    data = b"".join(packer.compress(bytes(row)) for _ in range(height if rows is None else rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@cache
def scans(side: int, count: int) -> bytes:
    """A progressive JPEG that repeats its scans: each costs a pass over all pixels, and few bytes."""
    data = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def _declared(rng: random.Random) -> bytes:
    """Headers that say more than the file holds, or more than memory does."""
    size = rng.choice([
        (0, 0), (1, 0), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31 - 1), (8192, 8192),
        (100_000, 600), (1, 67_000_000), (2**32 - 1, 2**32 - 1),
    ])  # fmt: skip
    kind = rng.randrange(5)
    if kind == 0:
        return png(*size, depth=rng.choice([1, 8, 16, 3]), colour=rng.choice([0, 2, 3, 4, 6, 5]), rows=3)
    if kind == 1:
        return (
            b"GIF89a"
            + struct.pack("<HH", 65535, 1023)
            + b"\x80\0\0"
            + bytes(6)
            + b","
            + struct.pack("<HHHH", 0, 0, 65535, 1023)
            + b"\0\2\1\0"
        )
    if kind == 2:
        return (
            b"BM"
            + struct.pack(
                "<IHHIIiiHHIIIIII", 60, 0, 0, 54, 40, size[0] % 2**31, -(size[1] % 2**31), 1, 24, 0, 0, 0, 0, 0, 0
            )
            + bytes(9)
        )
    if kind == 3:
        return b"P6 %d %d 255\n" % size + bytes(30)
    return (
        b"\xff\xd8\xff\xc0\0\x11\x08"
        + struct.pack(">HH", 65535, 1023)
        + b"\3\1\x11\0\2\x11\1\3\x11\1\xff\xda\0\x0c\3\1\0\2\x11\3\x11\0\x3f\0"
    )


def image_bytes(rng: random.Random) -> tuple[str, bytes]:
    """One file that calls itself an image."""
    kind = rng.choice(
        ["bits"] * 10 + ["cut"] * 3 + ["declared"] * 3 + ["true"] * 2 + ["text", "random", "scans", "chunks"]
    )
    name, data = rng.choice(list(true_images().items()))
    if kind == "bits":
        data = flipped(rng, data)
    elif kind == "cut":
        data = data[: rng.randrange(len(data))]
    elif kind == "declared":
        data = _declared(rng)
    elif kind == "scans":
        data = scans(rng.choice([64, 1024]), rng.choice([20, 2000]))
    elif kind == "chunks":  # a text or profile that unpacks to 64 MiB inside a true image
        z = zlib.compress(bytes(2**26), 9)
        body = rng.choice(
            [b"zTXtk\0\0" + z, b"iCCPk\0\0" + z, b"iTXtk\0\1\0\0\0" + z, b"eXIf" + bytes(9), b"acTL" + b"\xff" * 8]
        )
        data = png(8, 8, extra=struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    elif kind in ("text", "random"):
        data = b"%!PS\n(x) run" if kind == "text" else rng.randbytes(rng.choice([0, 1, 50, 5000]))
    return f"{kind} {name}", data


ODD_NAMES = [
    "../../up",
    "/abs",
    "x/../../y",
    "C:\\win",
    "a" * 200,
    "\u00e9",
    "\u202ex",
    "a\nb",
    "\x1b[31m",
    "a/" * 20 + "b",
    ".x/y",
    "..",
    "CON",
    "%s",
]


def _name(rng: random.Random, i: int) -> str:
    stem = rng.choice(ODD_NAMES) if rng.random() < 0.2 else f"{rng.choice(['', 'cats/', 'dogs/', 'dogs/deep/'])}{i}"
    return f"{stem}.{rng.choice(EXTENSIONS)}"


def deep(root: Path, depth: int) -> None:
    """Folders inside folders, made without recursion."""
    root.mkdir(exist_ok=True)
    for level in range(1, depth + 1):
        (root / ("d/" * level)).mkdir()


def _strange(rng: random.Random, root: Path) -> None:
    """What else a folder may hold."""
    kind = rng.randrange(8)
    if kind == 0:
        os.mkfifo(root / "pipe.png")
    elif kind == 1:
        (root / "link.png").symlink_to(rng.choice(["/dev/zero", "/dev/full", "/nowhere", "link.png", "/etc/passwd"]))
    elif kind == 2:
        (root / "loop").symlink_to(rng.choice([".", "..", "../..", "/", "loop", "/proc", "/dev"]))
    elif kind == 3:
        (root / "folder.png").mkdir()
    elif kind == 4:
        (root / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    elif kind == 5:
        deep(root, rng.choice([50, 200, 1200]))
    elif kind == 6:
        (root / "closed").mkdir(mode=0)
    else:
        with open(root / "sparse.png", "wb") as file:
            file.truncate(rng.choice([2**20, 2**33, 2**42]))


def open_set(folder: Path, path: Any, name: str = "folder", **settings: Any) -> Any:
    from gan_lab.data import load

    data = load(name, folder / "data", path=path, **settings)
    first = data.images("train", range(min(2, data.num_train)))
    return data, first


def is_images(result: Any) -> str | None:
    data, first = result
    good = first.shape[1:] == (data.channels, data.resolution, data.resolution) and str(first.dtype) == "torch.uint8"
    return None if good else f"gave images of shape {tuple(first.shape)}"


def make_images(rng: random.Random, folder: Path) -> Case:
    """A folder of hostile and true files, or a path that is none."""
    root = folder / "input" / "set"
    if rng.random() < 0.08:
        root.mkdir()
        path = rng.choice(
            [
                "",
                "\0",
                "~nobody-here/x",
                "a" * 300,
                "a/" * 3000,
                "\ud800",
                "/dev/zero",
                "/dev/null",
                "a\nb",
                "/etc/passwd",
                5,
                ".",
            ]
        )
        os.mkfifo(root / "pipe")
        (root / "self").symlink_to(root / "self")
        path = rng.choice([path, path, str(root / "pipe"), str(root / "self"), str(root)])
        name = rng.choice(["folder", "packed"])
        return Case(f"{name} path={path!r}"[:200], lambda: open_set(folder, path, name), is_images)
    said = []
    for i in range(rng.choice([1, 1, 2, 3, 13])):
        kind, data = image_bytes(rng)
        place = root / _name(rng, i).replace("/abs", "abs").replace("..", "_").lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        said.append(kind)
    if rng.random() < 0.3:
        _strange(rng, root)
    if rng.random() < 0.3:
        (root / "good.png").write_bytes(true_images()["png"])
    side, most = rng.choice([4, 8, 8, 64, 5, 0, -8, 2**20]), rng.choice([None, 0, 3, 100])
    return Case(f"{said}", lambda: open_set(folder, root, resolution=side, max_unreadable=most), is_images)


def make_zips(rng: random.Random, folder: Path) -> Case:
    """A ZIP of hostile members, names and sizes, or the bytes of one bent."""
    path, kind = (
        folder / "input" / "set.zip",
        rng.choice(["members"] * 5 + ["bits"] * 5 + ["bomb", "many", "lying", "nested"]),
    )
    file = io.BytesIO()
    with zipfile.ZipFile(
        file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    ) as z:
        for i in range(rng.choice([0, 1, 3, 12]) if kind != "many" else 3000):
            info = zipfile.ZipInfo(_name(rng, i) if kind != "many" else f"{i}.png")
            info.compress_type = z.compression
            if rng.random() < 0.1:
                info.external_attr = (
                    rng.choice([0o120777, 0o010644, 0o020644, 0o060644]) << 16
                )  # a link, a pipe, devices
            z.writestr(info, image_bytes(rng)[1] if kind != "many" else b"x")
        if kind == "nested":
            z.writestr("inner.zip", b"PK\5\6" + bytes(18))
            z.writestr("inner.png", b"PK\5\6" + bytes(18))
    data = file.getvalue()
    if kind == "bits":
        tail = max(0, len(data) - rng.choice([22, 200, len(data)]))
        data = data[:tail] + flipped(rng, data[tail:])
    elif kind == "bomb":
        data = bomb(
            [f"{i}.png" for i in range(rng.choice([1, 12, 40]))], rng.choice([1, 2]), rng.choice([None, 2**27, 100])
        )
    elif kind == "lying":  # sizes in the directory, and the flag for a password
        out = bytearray(data)
        for at in [i for i in range(len(out) - 46) if out[i : i + 4] == b"PK\1\2"]:
            field = rng.choice([8, 10, 16, 20, 24, 28, 30, 42])
            out[at + field : at + field + 2] = rng.randbytes(2)
        data = bytes(out)
    path.write_bytes(data)
    return Case(kind, lambda: open_set(folder, path, resolution=8), is_images)
