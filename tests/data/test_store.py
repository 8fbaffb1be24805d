"""The packed store: what it writes, and a sentence for everything wrong with what others wrote."""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gan_lab.data.store import open_packed, pack
from gan_lab.errors import UserError

Packed = Callable[..., np.ndarray]


def test_opens_what_another_program_wrote(tmp_path: Path, packed: Packed) -> None:
    images = packed(tmp_path / "p")
    store = open_packed(tmp_path / "p", verify=True)
    assert isinstance(store.images, np.memmap) and not store.images.flags.writeable
    assert np.array_equal(store.images, images) and np.array_equal(store.labels, np.arange(10) % 4)
    assert (store.name, store.train, store.test, store.resolution, store.channels) == ("tiny", 7, 3, 8, 3)
    assert store.class_names == ("class 0", "class 1", "class 2", "class 3") and store.num_classes == 4


def test_pack_writes_the_contract(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1030, 6, 6, 1), dtype=np.uint8)
    labels = np.arange(1030) % 2
    blocks = ((images[i : i + 100], labels[i : i + 100].tolist()) for i in range(0, 1030, 100))
    store = pack(tmp_path / "a" / "new", blocks, name="n", class_names=("x", "y"), test=30, note="odd")
    assert np.array_equal(np.load(tmp_path / "a/new/images.npy"), images)  # numpy's own reader
    assert np.array_equal(np.load(tmp_path / "a/new/labels.npy"), labels)
    assert np.load(tmp_path / "a/new/labels.npy").dtype == np.int64
    facts = json.loads((tmp_path / "a/new/dataset.json").read_text())
    assert facts == {
        "name": "n",
        "train": 1000,
        "test": 30,
        "resolution": 6,
        "channels": 1,
        "num_classes": 2,
        "class_names": ["x", "y"],
        "sha256": hashlib.sha256(images.tobytes()).hexdigest(),
        "note": "odd",
    }
    assert store.train == 1000 and sorted(p.name for p in (tmp_path / "a").iterdir()) == ["new"]


def _one(value: int) -> list[tuple[np.ndarray, list[int]]]:
    return [(np.full((2, 4, 4, 3), value, np.uint8), [0, 0])]


def test_first_to_finish_wins_and_nothing_is_left_over(tmp_path: Path) -> None:
    def write(value: int) -> int:
        return int(pack(tmp_path / "d", iter(_one(value)), name="n", class_names=["c"]).images[0, 0, 0, 0])

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(write, range(24)))
    assert len(seen) == 1 and [p.name for p in tmp_path.iterdir()] == ["d"]


def test_failure_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield _one(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "d", broken(), name="n", class_names=["c"])  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not a single image"):
        pack(tmp_path / "d", [], name="n", class_names=["c"])
    with pytest.raises(UserError, match="labels from 0 to 0|must lie in"):
        pack(tmp_path / "d", [(np.zeros((1, 4, 4, 3), np.uint8), [3])], name="n", class_names=["c"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        pack(tmp_path / "file" / "d", _one(1), name="n", class_names=["c"])


@pytest.mark.parametrize(
    "block",
    [
        (np.zeros((1, 4, 4, 3), np.float32), [0]),
        (np.zeros((1, 4, 5, 3), np.uint8), [0]),
        (np.zeros((4, 4, 3), np.uint8), [0]),
        (np.zeros((2, 4, 4, 3), np.uint8), [0]),
    ],
)
def test_pack_refuses_arrays_of_another_kind(tmp_path: Path, block: tuple[np.ndarray, list[int]]) -> None:
    with pytest.raises(ValueError, match="Images to pack"):
        pack(tmp_path / "d", [block], name="n", class_names=["c"])
    with pytest.raises(ValueError, match="all the same shape"):
        pack(tmp_path / "d", [_one(1)[0], (np.zeros((1, 8, 8, 3), np.uint8), [0])], name="n", class_names=["c"])


KEYS = ["name", "train", "test", "resolution", "channels", "num_classes", "class_names", "sha256"]


@pytest.mark.parametrize("key", KEYS)
def test_missing_key(tmp_path: Path, packed: Packed, key: str) -> None:
    packed(tmp_path / "p", json_changes={key: None})
    with pytest.raises(UserError, match=f"lacks the key '{key}'"):
        open_packed(tmp_path / "p")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("name", ""),
        ("train", -1),
        ("train", 7.0),
        ("train", True),
        ("test", "3"),
        ("resolution", 0),
        ("channels", 4),
        ("num_classes", 0),
        ("class_names", "abcd"),
        ("class_names", ["a", "b", "c"]),
        ("class_names", ["a", "b", "c", 4]),
        ("sha256", "0" * 63),
        ("sha256", "x" * 64),
    ],
)
def test_bad_value_names_its_key(tmp_path: Path, packed: Packed, key: str, value: object) -> None:
    packed(tmp_path / "p", json_changes={key: value})
    with pytest.raises(UserError, match=f"'{key}' is .* but must be"):
        open_packed(tmp_path / "p")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": 0, "test": 10}, "no training images"),
        ({"train": 8}, r"train \+ test is 11"),
        ({"resolution": 16}, r"\(n, 16, 16, 3\)"),
        ({"channels": 1}, r"\(n, 8, 8, 1\)"),
        ({"num_classes": 3, "class_names": list("abc")}, r"labels from 0 to 3; .* 0\.\.2"),
    ],
)
def test_contradictions(tmp_path: Path, packed: Packed, changes: dict[str, object], says: str) -> None:
    packed(tmp_path / "p", json_changes=changes)
    with pytest.raises(UserError, match=says):
        open_packed(tmp_path / "p")


def test_pixels_that_were_changed_are_found_on_request(tmp_path: Path, packed: Packed) -> None:
    images = packed(tmp_path / "p")
    images[4, 2, 2, 1] ^= 1
    np.save(tmp_path / "p/images.npy", images)
    open_packed(tmp_path / "p")
    with pytest.raises(UserError, match="changed or damaged"):
        open_packed(tmp_path / "p", verify=True)


TRACE = Path(tempfile.gettempdir()) / "gan_lab_unpickled_something"


class _Malicious:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (TRACE,)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _object_array(path: Path) -> None:
    np.save(path, np.array([_Malicious()], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("file", ["images.npy", "labels.npy"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, "lacks "),
        (_truncate, "damaged or not an .npy"),
        (_object_array, "damaged or not an .npy"),
        (lambda p: p.write_bytes(pickle.dumps(_Malicious())), "damaged or not an .npy"),
        (lambda p: p.write_bytes(b""), "damaged or not an .npy"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x76\x00{'descr': ((("), "damaged or not an .npy"),
        (lambda p: np.savez(p.open("wb"), a=np.zeros(3)), "damaged or not an .npy"),
        (lambda p: np.save(p, np.zeros((10, 8, 8, 3), np.float32)), "holds float32 but must hold"),
        (lambda p: np.save(p, np.zeros((10, 8, 8, 3), np.int32)), "holds int32 but must hold"),
        (lambda p: (p.unlink(), p.mkdir()), "cannot be read"),
    ],
)
def test_damaged_arrays(tmp_path: Path, packed: Packed, file: str, damage: Callable[[Path], object], says: str) -> None:
    packed(tmp_path / "p")
    damage(tmp_path / "p" / file)
    with pytest.raises(UserError, match=says) as caught:
        open_packed(tmp_path / "p")
    assert file in str(caught.value) and not TRACE.exists()


def test_wrong_number_of_labels_or_dimensions(tmp_path: Path, packed: Packed) -> None:
    packed(tmp_path / "p")
    for labels in (np.zeros(9, np.int64), np.zeros((10, 1), np.int64), np.zeros((), np.int64)):
        np.save(tmp_path / "p/labels.npy", labels)
        with pytest.raises(UserError, match="contradicts itself"):
            open_packed(tmp_path / "p")
    np.save(tmp_path / "p/labels.npy", np.full(10, -1))
    with pytest.raises(UserError, match="labels from -1"):
        open_packed(tmp_path / "p")
    np.save(tmp_path / "p/images.npy", np.zeros(10, np.uint8))
    with pytest.raises(UserError, match="has shape"):
        open_packed(tmp_path / "p")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff", "[" * 100_000])
def test_bad_json(tmp_path: Path, packed: Packed, text: str) -> None:
    packed(tmp_path / "p")
    (tmp_path / "p/dataset.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="dataset.json (cannot be read as JSON|must hold one JSON object)"):
        open_packed(tmp_path / "p")


def test_no_folder_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_packed(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no dataset.json"):
        open_packed(tmp_path)
