"""Which files of a folder or a ZIP are images: by name, else by content; the others are named."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from gan_lab.data import load
from gan_lab.data.decode import SUFFIXES, is_image
from gan_lab.data.image_set import open_images
from gan_lab.data.listing import list_folder, list_zip
from gan_lab.errors import UserError


def encoded(kind: str, level: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (level, level, level)).save(file, kind)
    return file.getvalue()


FILES = {
    "0a3f": encoded("PNG"), "photo.JPG_large": encoded("JPEG"), "scan.1": encoded("BMP"), "old.bak": encoded("PPM"),
    "a.J2K": encoded("JPEG2000"), "b.PNG": encoded("PNG"), "c.jpe": encoded("JPEG"), "broken.webp": b"RIFF",
    "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0", "inner/no_suffix": encoded("GIF"),
}  # fmt: skip
OTHERS = {
    "Python": b"Python begins like a PPM", "BMW.txt": b"BMW begins like a BMP" * 9, "x.eps": encoded("EPS"),
    "drawing": b"%!PS-Adobe-3.0\n", "raw.nef": encoded("TIFF"), "empty": b"", "inner/labels.json": b"{}",
}  # fmt: skip


def test_names_and_else_content_decide(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, data in (FILES | OTHERS | {".hidden": encoded("PNG"), "__MACOSX/a.png": b"x"}).items():
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name).write_bytes(data)
            archive.writestr(name, data)
    for entries, others in (list_folder(tmp_path / "set"), list_zip(zipfile.ZipFile(tmp_path / "set.zip"))):
        assert [entry.name for entry in entries] == sorted(FILES)
        assert others == sorted(OTHERS)


def test_every_suffix_of_pillow_for_the_accepted_formats_is_seen() -> None:
    for suffix in (".jfif", ".jpe", ".apng", ".jp2", ".j2k", ".jpx", ".avif", ".tif", ".dib", ".pnm", ".gif", ".webp"):
        assert suffix in SUFFIXES
    assert not SUFFIXES & {".eps", ".ps", ".pdf", ".svg", ".txt", ""}


def test_pipes_and_links_to_nothing_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "endless").symlink_to("/proc/kmsg")  # reading it would block
    (tmp_path / "endless.png").symlink_to("/proc/kmsg")
    entries, others = list_folder(tmp_path)
    assert [entry.name for entry in entries] == ["endless.png"] and others == ["endless", "gone", "pipe"]
    with pytest.raises(UserError, match=r"endless\.png; the last one: it is empty"):
        list(load("folder", tmp_path / "data", path=tmp_path, max_unreadable=0, resolution=8))  # type: ignore[call-overload]


@pytest.mark.parametrize("head", [b"", b"P", b"P6", b"BM", b"\xff\xd8", b"GIF", b"II*\0" + bytes(20)])
def test_too_short_or_too_common_a_beginning_is_no_image(head: bytes) -> None:
    assert not is_image(io.BytesIO(head))


def test_what_is_left_out_is_said_with_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encoded("PNG", i))
        (tmp_path / f"{i}.txt").write_text("caption")
    (tmp_path / "1.png").write_bytes(b"damaged file, no image")
    (tmp_path / "twice").symlink_to(tmp_path)
    with caplog.at_level(logging.INFO), open_images(tmp_path, max_unreadable=1) as images:
        assert (images.num_train, images.skipped) == (2, 1)
    assert "left out what is no image: 3 (0.txt, 1.txt, 2.txt)" in caplog.text
    assert "skipped 1.png: it is not an image of a format that is read" in caplog.text
    assert "read 2 of 3 images, skipped 1 (1.png)" in caplog.text
    assert f"left out the folder {tmp_path}/twice: a link to {tmp_path}" in caplog.text
