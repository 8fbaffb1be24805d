"""`dataset=folder`: what is found, labelled and skipped, and when the packed copy is used again."""

from __future__ import annotations

import io
import logging
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_lab.data import folder as module
from gan_lab.data import load
from gan_lab.data.dataset import Dataset
from gan_lab.errors import UserError


def png(level: int = 0, size: tuple[int, int] = (8, 8)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, level).save(file, "PNG")
    return file.getvalue()


def as_folder(root: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    for name, data in files:
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / name).write_bytes(data)
    return root / "set"


def as_zip(root: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return root / "set.zip"


Make = Callable[[Path, Iterable[tuple[str, bytes]]], Path]
both = pytest.mark.parametrize("make", [as_folder, as_zip])


def opened(tmp_path: Path, path: Path, **settings: int) -> Dataset:
    return load("folder", tmp_path / "data", path=path, **({"resolution": 8} | settings))  # type: ignore[arg-type]


def levels(data: Dataset) -> list[int]:
    return data.images("train", range(data.num_train))[:, 0, 0, 0].tolist()


@both
def test_flat(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path, [("b.png", png(2)), ("a.PNG", png(1)), ("c.webp", png(3, (30, 9))), ("notes.txt", b"x")])
    data = opened(tmp_path, path)
    assert levels(data) == [1, 2, 3] and data.class_names == ("image",) and data.num_test == 0
    assert (data.name, data.resolution, data.channels, data.hflip) == ("set", 8, 3, False)


@both
@pytest.mark.parametrize("prefix", ["", "wrapped/", "deeply/wrapped/"])
def test_class_folders(tmp_path: Path, make: Make, prefix: str) -> None:
    files = [("dogs/1.png", png(3)), ("cats/2.png", png(2)), ("cats/deep/1.png", png(1)), ("owls/x.md", b"")]
    data = opened(tmp_path, make(tmp_path, [(prefix + name, image) for name, image in files]))
    assert data.class_names == ("cats", "dogs")
    assert sorted(zip(levels(data), data.labels("train").tolist(), strict=True)) == [(1, 0), (2, 0), (3, 1)]


@both
@pytest.mark.parametrize("prefix", ["", "wrapped/"])
def test_images_beside_class_folders_are_named(tmp_path: Path, make: Make, prefix: str) -> None:
    files = [("a/1.png", png()), ("b/1.png", png()), ("2.png", png()), ("3.png", png())]
    path = make(tmp_path, [(prefix + name, image) for name, image in files])
    with pytest.raises(
        UserError, match=rf"{prefix}2.png and 1 more images lie beside the class folders a, b; .*=false"
    ):
        opened(tmp_path, path)
    data = opened(tmp_path, path, labels=False)
    assert data.class_names == ("image",) and data.labels("train").tolist() == [0, 0, 0, 0]


@both
def test_what_computers_leave_behind_is_ignored(tmp_path: Path, make: Make) -> None:
    files = [
        ("1.png", png(1)),
        (".hidden.png", b""),
        ("__MACOSX/._1.png", b"x"),
        ("._1.png", b"x"),
        (".t/1.png", b""),
    ]
    data = opened(tmp_path, make(tmp_path, files), max_unreadable=0)
    assert levels(data) == [1]


@both
def test_no_images_and_no_readable_images(tmp_path: Path, make: Make) -> None:
    with pytest.raises(UserError, match="holds no images"):
        opened(tmp_path, make(tmp_path / "1", [("a.txt", b"x")]))
    with pytest.raises(UserError, match="not one of its 2 images can be read"):
        opened(tmp_path, make(tmp_path / "2", [("a.png", b"x"), ("b.png", b"")]))
    assert not [p for p in (tmp_path / "data").iterdir() if not p.name.endswith(".lock")]


def test_empty_zip_folder_and_wrong_paths(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        opened(tmp_path, tmp_path / "empty")
    with pytest.raises(UserError, match="holds no images"):
        opened(tmp_path, as_zip(tmp_path, []))
    with pytest.raises(UserError, match="does not exist"):
        opened(tmp_path, tmp_path / "nowhere")
    (tmp_path / "one.png").write_bytes(png())
    with pytest.raises(UserError, match="neither a folder nor a readable ZIP"):
        opened(tmp_path, tmp_path / "one.png")


def test_truncated_zip(tmp_path: Path) -> None:
    path = as_zip(tmp_path, [("a.png", png())])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="neither a folder nor a readable ZIP"):
        opened(tmp_path, path)


def test_a_packed_directory_is_opened_as_it_is(tmp_path: Path, packed: Callable[..., np.ndarray]) -> None:
    images = packed(tmp_path / "p")
    side = images.shape[1]
    found = opened(tmp_path, tmp_path / "p", resolution=side)
    assert found.store.folder == tmp_path / "p" and np.array_equal(found.store.images, images)
    with pytest.raises(UserError, match=f"is packed at {side} pixels, not at {2 * side}"):
        opened(tmp_path, tmp_path / "p", resolution=2 * side)


@both
def test_unreadable_files_are_named_and_skipped(tmp_path: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    files = [("a/1.png", png(1)), ("a/bad.png", b"x"), ("b/2.png", png(2)), ("b/cut.png", png(9)[:45])]
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path, make(tmp_path, files))
    assert levels(data) == [1, 2] and data.labels("train").tolist() == [0, 1]
    assert "skipped a/bad.png: it is not an image" in caplog.text and "skipped b/cut.png" in caplog.text


@both
def test_too_many_unreadable_files_are_an_error(tmp_path: Path, make: Make) -> None:
    files = [("good.png", png())] + [(f"bad{i:02}.png", b"x") for i in range(11)]
    path = make(tmp_path, files)
    with pytest.raises(UserError, match=r"more than 10 of 12 images cannot be read \(bad00.png, .* not an image"):
        opened(tmp_path, path)
    with pytest.raises(UserError, match="more than 0 of 12"):
        opened(tmp_path, path, max_unreadable=0)
    assert levels(opened(tmp_path, path, max_unreadable=11)) == [0]
    assert levels(opened(tmp_path, make(tmp_path / "2", files[:-1]))) == [0]  # ten are within the default


def test_the_default_limit_grows_to_one_percent(tmp_path: Path) -> None:
    path = as_folder(tmp_path, [(f"{i}.png", b"") for i in range(1250)])
    assert module.ImageSource(path, 8, None).max_unreadable == 12


def test_pipes_links_and_missing_targets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = as_folder(tmp_path, [("a/1.png", png(1))])
    other = as_folder(tmp_path / "other", [("2.png", png(2))])
    (path / "b").symlink_to(other)  # a linked class folder counts
    (path / "a/loop").symlink_to(path)  # a loop ends
    (path / "a/gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(path / "a/pipe.png")
    with caplog.at_level(logging.WARNING):
        data = opened(tmp_path, path)
    assert levels(data) == [1, 2] and data.class_names == ("a", "b")
    assert "skipped a/gone.png" in caplog.text and "skipped a/pipe.png: it is not a regular file" in caplog.text


def test_names_that_are_not_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = as_folder(tmp_path, [("good.png", png(5))])
    try:
        Path(os.fsdecode(os.fsencode(path) + b"/b\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes only names that are valid UTF-8")
    with caplog.at_level(logging.WARNING):
        assert levels(opened(tmp_path, path)) == [5]
    assert r"skipped b\udcff.png" in caplog.text
    caplog.text.encode()


def test_zip_names_cannot_reach_the_disk(tmp_path: Path) -> None:
    names = ["../../up.png", "/abs.png", "x/../../y.png", "C:\\win\\z.png"]
    before = sorted(tmp_path.rglob("*.png"))
    data = opened(tmp_path, as_zip(tmp_path, [(name, png(i)) for i, name in enumerate(names)]), labels=False)
    assert sorted(levels(data)) == [0, 1, 2, 3] and sorted(tmp_path.rglob("*.png")) == before == []


def test_zip_with_windows_separators_and_folder_entries(tmp_path: Path) -> None:
    path = as_zip(tmp_path, [("s/cats/", b""), ("s\\cats\\1.png", png(1)), ("s\\dogs\\1.png", png(2)), ("s.png/", b"")])
    data = opened(tmp_path, path)
    assert data.class_names == ("cats", "dogs") and data.labels("train").tolist() == [0, 1]


def test_zip_bombs_by_declared_and_by_actual_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 10_000)
    path = as_zip(tmp_path, [("good.png", png(7)), ("bomb.png", png() + bytes(20_000)), ("liar.png", bytes(20_000))])
    raw = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        liar = archive.getinfo("liar.png")
    true, false = (20_000).to_bytes(4, "little"), (500).to_bytes(4, "little")
    entry = raw.rindex(b"liar.png") - 46  # its entry in the directory: the unpacked size lies at 24
    assert raw[entry + 24 : entry + 28] == true and liar.file_size == 20_000
    path.write_bytes(raw[: entry + 24] + false + raw[entry + 28 :])
    with caplog.at_level(logging.WARNING):
        assert levels(opened(tmp_path, path)) == [7]
    assert "skipped bomb.png: it is over the limit of 10,000 bytes" in caplog.text
    assert "skipped liar.png" in caplog.text


def test_file_that_grew_after_it_was_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_folder(tmp_path, [("a.png", png(1)), ("b.png", png(2))])
    source = module.ImageSource(path, 8, None)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 1000)
    (path / "b.png").write_bytes(png(2) + bytes(2000))
    ((images, labels),) = source.blocks()
    assert images[:, 0, 0, 0].tolist() == [1] and labels == [0] and source.unreadable == ["b.png"]


def test_zip_with_a_password_or_wrong_checksum(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = as_zip(tmp_path, [("a.png", png(1)), ("crc.png", png(2)), ("locked.png", png(3))])
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"crc.png") - 46 + 16] ^= 1  # the CRC in the directory
    for at in (raw.index(b"locked.png") - 30 + 6, raw.rindex(b"locked.png") - 46 + 8):
        raw[at] |= 1  # the "encrypted" flag, in the file's own header and in the directory
    path.write_bytes(raw)
    with caplog.at_level(logging.WARNING):
        assert levels(opened(tmp_path, path)) == [1]
    assert "skipped crc.png: Bad CRC" in caplog.text and "password" in caplog.text


def packed_copies(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "data").iterdir() if p.is_dir())


def test_packed_copy_is_used_again_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_folder(tmp_path, [("a.png", png(1)), ("b.png", png(2))])
    opened(tmp_path, path)
    (only,) = packed_copies(tmp_path)
    assert only.startswith("folder-8-")
    with monkeypatch.context() as patch:
        patch.setattr(module.ImageSource, "blocks", lambda self: pytest.fail("read again"))
        assert levels(opened(tmp_path, path)) == [1, 2]
        assert levels(opened(tmp_path, path / ".." / "set")) == [1, 2]
    (path / "b.png").write_bytes(png(3))
    os.utime(path / "b.png", ns=(0, 12345))
    assert levels(opened(tmp_path, path)) == [1, 3]
    (path / "c.png").write_bytes(png(4))
    assert levels(opened(tmp_path, path)) == [1, 3, 4]
    (path / "c.png").rename(path / "0.png")
    assert levels(opened(tmp_path, path)) == [4, 1, 3]
    assert opened(tmp_path, path, resolution=12).resolution == 12
    assert len(packed_copies(tmp_path)) == 5


def test_changed_zip_is_packed_again(tmp_path: Path) -> None:
    path = as_zip(tmp_path, [("a.png", png(1))])
    assert levels(opened(tmp_path, path)) == [1]
    as_zip(tmp_path, [("a.png", png(2))])
    assert levels(opened(tmp_path, path)) == [2] and len(packed_copies(tmp_path)) == 2


def test_more_images_than_a_block_keep_their_order_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 7)
    files = [(f"{'ab'[i % 2]}/{i:03}.png", b"x" if i == 20 else png(i)) for i in range(50)]
    data = opened(tmp_path, as_folder(tmp_path, files))
    assert levels(data) == [i for i in range(0, 50, 2) if i != 20] + list(range(1, 50, 2))
    assert data.labels("train").tolist() == [0] * 24 + [1] * 25


@both
def test_images_that_are_held_out_are_the_test_split_and_spread_over_the_classes(tmp_path: Path, make: Make) -> None:
    path = make(tmp_path, [(f"{c}/{i}.png", png(10 * n + i)) for n, c in enumerate("ab") for i in range(6)])
    data = opened(tmp_path, path, held_out=4)
    assert (data.num_train, data.num_test) == (8, 4)
    assert data.images("test", range(4))[:, 0, 0, 0].tolist() == [1, 4, 11, 14]  # the middle of each quarter
    assert data.labels("test").tolist() == [0, 0, 1, 1]
    assert levels(data) == [0, 2, 3, 5, 10, 12, 13, 15] and data.labels("train").tolist() == [0] * 4 + [1] * 4
    assert opened(tmp_path, path).num_train == 12  # a copy of its own
    assert opened(tmp_path, path, held_out=4).sha256 == data.sha256
    with pytest.raises(UserError, match=r"dataset.held_out=12: .* holds 12 images; hold out fewer of them"):
        opened(tmp_path, path, held_out=12)


def test_unreadable_images_do_not_count_among_those_held_out(tmp_path: Path) -> None:
    path = as_folder(tmp_path, [(f"{i}.png", b"no image" if i == 1 else png(i)) for i in range(4)])
    data = opened(tmp_path, path, held_out=2)  # 1 and 3 were to be
    assert levels(data) == [0] and data.images("test", range(2))[:, 0, 0, 0].tolist() == [2, 3]
    with pytest.raises(UserError, match="3 images could be read, and 3 of them are for testing: none is left"):
        opened(tmp_path, path, held_out=3)
