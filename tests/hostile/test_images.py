"""Hostile images, folders and ZIPs, as far as tests/data does not have them by name already."""

from __future__ import annotations

import io
import logging
import os
import random
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan_lab.data import Dataset, load
from gan_lab.data import decode as decoding
from gan_lab.data import folder as module
from gan_lab.data.decode import Unreadable, decode
from gan_lab.data.image_set import open_images
from gan_lab.data.listing import MAX_DEPTH, Entry
from gan_lab.errors import UserError
from tests.hostile import hostile_images
from tests.hostile.hostile_images import deep, encoded, png, scans
from tests.hostile.hostile_sandbox import Case, Make, Sandbox
from tests.hostile.seeds import seeds

Refused = Callable[[Callable[[], object]], str]


@pytest.mark.parametrize("seed", seeds(0, 25, few=10))
def test_folders(keeps_the_contract: Callable[[Make, int], None], seed: int) -> None:
    keeps_the_contract(hostile_images.make_images, seed)


@pytest.mark.parametrize("seed", seeds(100, 15, few=6))
@pytest.mark.parametrize("make", [hostile_images.make_images, hostile_images.make_zips])
def test_sets_that_are_compared(sandbox: Sandbox, make: Make, seed: int) -> None:
    """The same files and paths, read in their stored sizes."""
    case = make(random.Random(f"set/{seed}"), sandbox.root)
    inside = sandbox.root / "input"
    path = inside / "set" if (inside / "set").exists() else inside / "set.zip"

    def read() -> int:
        with open_images(path, "path_a", max_unreadable=seed % 3) as images:
            batches = images.batches(torch.arange(min(images.num_train, 20)), 4)
            assert all(batch.dtype == torch.uint8 and batch.ndim == 4 for batch in batches)
            return images.num_train

    verdict = sandbox.judge(Case(case.said, read, lambda n: None if n > 0 else "gave nothing"))
    assert not verdict.faults, f"{verdict.faults} on {case.said}"


@pytest.mark.parametrize("seed", seeds(0, 20, few=8))
def test_zips(keeps_the_contract: Callable[[Make, int], None], seed: int) -> None:
    keeps_the_contract(hostile_images.make_zips, seed)


def flat(level: int, side: int = 8) -> bytes:
    return encoded(Image.new("L", (side, side), level), "PNG")


def opened(box: Sandbox, path: Path, **settings: int) -> Dataset:
    return load("folder", box.root / "data", path=path, **({"resolution": 8} | settings))  # type: ignore[arg-type]


def levels(data: Dataset) -> list[int]:
    return data.images("train", range(data.num_train))[:, 0, 0, 0].tolist()


def test_30_000_pixels_wide_and_high() -> None:
    x = np.zeros((12, 30_000, 3), np.uint8)
    x[:, :14_994] = (255, 0, 0)
    x[:, 14_994:15_006] = (0, 0, 255)  # the centred square of 12
    x[:, 15_006:] = (0, 255, 0)
    assert (decode(encoded(Image.fromarray(x), "PNG"), 12) == (0, 0, 255)).all()
    high = np.ascontiguousarray(x.transpose(1, 0, 2))
    assert (decode(encoded(Image.fromarray(high), "PNG"), 4) == (0, 0, 255)).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_exif_orientation_in_other_formats_than_png(kind: str) -> None:
    """A quarter turn clockwise: what is stored as the upper left corner is seen at the upper right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    x = np.zeros((64, 64, 3), np.uint8)
    x[:32, :32] = 255
    image = decode(encoded(Image.fromarray(x), kind, exif=exif), 64)
    assert image[8:24, 40:56].min() > 240 and image[:, :24].max() < 15 and image[40:].max() < 15


def test_jpeg_cmyk_of_both_polarities() -> None:
    """Adobe's programs store CMYK inverted and say so; either way full cyan is what it is."""
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    assert np.abs(decode(data, 8).astype(int) - (0, 255, 255)).max() <= 6


def test_16_bit_rows_beyond_one_block_are_exact() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (700, 700), dtype=np.uint16)
    image = decode(encoded(Image.fromarray(values), "PNG"), 700)
    assert np.array_equal(image[..., 0], (values.astype(int) + 128) // 257)  # 257 is odd: there are no halves
    floats = np.linspace(0, 1, 700 * 700, dtype=np.float32).reshape(700, 700)
    image = decode(encoded(Image.fromarray(floats), "TIFF"), 700)
    assert np.array_equal(image[..., 1], np.rint(floats.astype(np.float64) * 255).astype(int))


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    """A thousand passes over the pixels in a few kilobytes; an honest progressive file has about ten."""
    with pytest.raises(Unreadable, match="too many times"):
        decode(scans(2048, 2000), 8)
    honest = encoded(Image.new("RGB", (2048, 2048), (10, 200, 30)), "JPEG", progressive=True)
    assert np.abs(decode(honest, 8).astype(int) - (10, 200, 30)).max() <= 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_text_that_unpacks_to_256_mib_inside_a_png(sandbox: Sandbox, kind: bytes) -> None:
    packer = zlib.compressobj(9)
    body = kind + b"k\0\0" + (b"\0\0\0" if kind == b"iTXt" else b"")
    body += b"".join(packer.compress(bytes(2**24)) for _ in range(16)) + packer.flush()
    data = png(8, 8, extra=struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))

    def action() -> None:
        with suppress(Unreadable):
            assert decode(data, 8).max() == 0  # the pixels are true

    verdict = sandbox.judge(Case("", action))
    assert not verdict.faults and verdict.peak < 2**27


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, guard, true = 0, 0, threading.Lock(), decoding.to_rgb

    def counted(image: Image.Image) -> Image.Image:
        nonlocal at_once, most
        with guard:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with guard:
            at_once -= 1
        return true(image)

    def decode_four() -> int:
        nonlocal most
        most = 0
        threads = [threading.Thread(target=decode, args=(flat(1, 16), 8)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    monkeypatch.setattr(decoding, "to_rgb", counted)
    assert decode_four() > 1
    monkeypatch.setattr(decoding, "_LARGE_PIXELS", 255)
    assert decode_four() == 1


def test_names_with_control_characters_are_logged_as_text(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    root = sandbox.root / "input" / "set"
    root.mkdir()
    (root / "good.png").write_bytes(flat(7))
    (root / "a\nb\x1b[2J.png").write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        assert levels(opened(sandbox, root)) == [7]
    assert [r.getMessage() for r in caplog.records] == [
        rf"skipped a\nb\x1b[2J.png: it is not an image of a format that is read ({', '.join(decoding.FORMATS)})"
    ]


def test_links_that_would_take_in_the_whole_system(sandbox: Sandbox) -> None:
    root = sandbox.root / "input" / "set"
    (root / "cats").mkdir(parents=True)
    (root / "cats" / "1.png").write_bytes(flat(1))
    (root.parent / "beside.png").write_bytes(flat(9))
    for name, target in (("root", "/"), ("up", ".."), ("proc", "/proc/self"), ("sys", "/sys")):
        (root / name).symlink_to(target)
    verdict = sandbox.judge(
        Case("", lambda: levels(opened(sandbox, root)), lambda result: None if result == [1] else f"{result}")
    )
    assert verdict.accepted and not verdict.faults


def test_folders_inside_folders_without_end(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    root = sandbox.root / "input" / "set"
    deep(root, 1200)
    for depth, level in ((0, 1), (MAX_DEPTH, 2), (MAX_DEPTH + 1, 3)):
        (root / ("d/" * depth) / "x.png").write_bytes(flat(level))
    with caplog.at_level(logging.WARNING):
        assert sorted(levels(opened(sandbox, root, labels=False))) == [1, 2]
    assert "more than 64 folders deep" in caplog.text


def test_links_and_devices_inside_a_zip_are_only_names(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    path, outside = sandbox.root / "input" / "set.zip", sandbox.root / "input" / "outside.png"
    outside.write_bytes(flat(9))
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode, data in (
            ("link.png", 0o120777, str(outside).encode()),
            ("pipe.png", 0o010644, b""),
            ("device.png", 0o020644, b""),
            ("good.png", 0o120777, flat(5)),
        ):
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, data)
    with caplog.at_level(logging.WARNING):
        assert levels(opened(sandbox, path)) == [5]
    assert "skipped link.png: it is not an image" in caplog.text


def test_a_member_that_unpacks_to_a_hundred_times_its_size(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    bitmap = encoded(Image.new("L", (64, 64), 3), "BMP")  # 5 kB that pack to less than a hundredth
    path = sandbox.root / "input" / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bitmap.bmp", bitmap + bytes(400_000))
        archive.writestr("small.png", flat(4))
    assert levels(opened(sandbox, path)) == [3, 4]  # small: whatever it does costs little
    monkeypatch.setattr(module, "_SMALL_BYTES", 1000)
    assert levels(opened(sandbox, path, max_unreadable=1)) == [4]


def test_after_too_many_unreadable_files_no_other_is_begun(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, true = [], module.ImageSource._bytes

    def slow(self: module.ImageSource, entry: Entry) -> bytes:
        begun.append(entry.name)
        time.sleep(0.02)
        return true(self, entry)

    monkeypatch.setattr(module.ImageSource, "_bytes", slow)
    path = sandbox.root / "input" / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(200):
            archive.writestr(f"{i:03}.png", b"x" * 100)
    with pytest.raises(UserError, match="more than 10 of 200"):
        opened(sandbox, path)
    assert 11 <= len(begun) < 60


@pytest.mark.parametrize("name", ["folder", "packed"])
def test_paths_that_are_no_place(sandbox: Sandbox, refused: Refused, name: str) -> None:
    os.mkfifo(sandbox.root / "input" / "pipe")
    (sandbox.root / "input" / "loop").symlink_to("loop")
    inside = sandbox.root / "input"
    for path in (
        "\0",
        "~nobody-here/x",
        "a" * 300,
        "a/" * 3000,
        "\ud800",
        "/dev/zero",
        "/dev/null",
        inside / "pipe",
        inside / "loop",
    ):
        assert refused(lambda path=path: load(name, sandbox.root / "data", path=path))  # type: ignore[misc]
        assert refused(lambda path=path: open_images(path).__enter__())  # type: ignore[misc]
    assert "data_dir" in refused(lambda: load("shapes", "a" * 300))


def test_a_resolution_beyond_any_memory(sandbox: Sandbox, refused: Refused) -> None:
    (sandbox.root / "input" / "x.png").write_bytes(flat(1))
    assert "over the limit of 8192" in refused(lambda: opened(sandbox, sandbox.root / "input", resolution=2**20))


def test_blocks_shrink_as_images_grow(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(5):
        (sandbox.root / "input" / f"{i}.png").write_bytes(flat(i))
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 2 * 8 * 8)
    source = module.ImageSource(sandbox.root / "input", 8, None)
    assert [len(images) for images, _ in source.blocks()] == [2, 2, 1]


def test_an_animation_inside_a_zip_and_a_wrong_suffix(sandbox: Sandbox) -> None:
    frames = [Image.new("L", (8, 8), level) for level in (10, 20)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    path = sandbox.root / "input" / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", file.getvalue())
    assert levels(opened(sandbox, path)) == [10]
