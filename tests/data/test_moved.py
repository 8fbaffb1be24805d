"""Images are found by the sha256 of their pixels where they lie now."""

from types import SimpleNamespace

import numpy as np
import pytest

from gan_lab.data import Dataset
from gan_lab.data.moved import find_packed, is_same, is_there, labels_hash, located, with_known_name
from gan_lab.data.store import open_packed, pack


@pytest.fixture
def stores(tmp_path, packed):
    """A data_dir with two packed directories, a damaged one, a file and a lock."""
    for name, train in (("folder-8-aa", 7), ("mnist", 8)):
        packed(tmp_path / name, train=train)
    packed(tmp_path / "damaged", train=9)
    (tmp_path / "damaged" / "dataset.json").write_text("{")
    (tmp_path / "statistics").mkdir()
    (tmp_path / ".mnist.lock").touch()
    return tmp_path, {name: open_packed(tmp_path / name).sha256 for name in ("folder-8-aa", "mnist")}


def test_a_packed_directory_is_found_by_its_hash(stores):
    folder, hashes = stores
    assert {name: find_packed(folder, {"sha256": h}) for name, h in hashes.items()} == {n: folder / n for n in hashes}
    assert find_packed(folder, {"sha256": "0" * 64}) is None
    assert find_packed(folder / "absent", {"sha256": hashes["mnist"]}) is None


def test_of_copies_with_the_same_pixels_the_one_with_the_same_classes_is_found(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    labels = {"a": [0, 1, 0, 1, 2, 2], "b": [1, 0, 0, 1, 2, 2], "c": [0, 1, 0, 1, 2, 2]}
    labels["d"] = np.eye(3, dtype=int)[labels["a"]]
    for name, of in labels.items():
        pack(tmp_path / name, [(images, np.array(of))], name=name, class_names="xyz" if name != "c" else "wxyz")
    stores = {name: Dataset(open_packed(tmp_path / name)) for name in labels}
    known = {name: {"sha256": store.sha256, "labels_sha256": labels_hash(store)} for name, store in stores.items()}
    assert len({k["sha256"] for k in known.values()}) == 1 and len({k["labels_sha256"] for k in known.values()}) == 4
    assert {name: find_packed(tmp_path, k) for name, k in known.items()} == {name: tmp_path / name for name in labels}
    assert find_packed(tmp_path, known["a"] | {"labels_sha256": "0" * 64}) is None
    assert find_packed(tmp_path, known["b"] | {"labels_sha256": None}) == tmp_path / "a"  # nets without classes
    assert is_same(stores["a"], known["a"]) and not is_same(stores["a"], known["b"])
    pack(tmp_path / "0", [(images, np.array(labels["a"]))], name="0", class_names="xyz", test=2)
    pack(tmp_path / ".part", [(images, np.array(labels["a"]))], name="p", class_names="xyz")  # of a killed process
    assert find_packed(tmp_path, {"sha256": known["a"]["sha256"], "num_train": 6}) == tmp_path / "a"
    assert find_packed(tmp_path, {"sha256": known["a"]["sha256"], "num_train": 4}) == tmp_path / "0"
    assert find_packed(tmp_path, {"sha256": known["a"]["sha256"]}) == tmp_path / "0"


@pytest.mark.parametrize(
    ("node", "there"),
    [
        ({"name": "folder", "path": "{}/mnist"}, True), ({"name": "folder", "path": "{}/gone"}, False),
        ({"name": "packed", "path": "{}/gone.zip"}, False), ({"name": "mnist", "path": None}, True),
        ({"name": "cifar10"}, False), ({"name": "celeba", "resolution": 96}, False), ({"mine": 3}, True),
        ({"name": "my_own"}, True),
    ],
    ids=str,
)  # fmt: skip
def test_only_what_is_not_there_is_looked_for(stores, node, there):
    folder, hashes = stores
    node = {k: v.format(folder) if isinstance(v, str) else v for k, v in node.items()}
    assert is_there(node, folder) == there
    found = located(node, folder, {"name": "x", "sha256": hashes["folder-8-aa"]})
    assert found == (node if there else {**node, "path": str(folder / "folder-8-aa")})
    assert located(node, folder, {"sha256": "0" * 64}) == located(node, folder, {}) == node


def test_a_resolution_of_its_own_is_a_folder_of_its_own(stores):
    folder, _ = stores
    (folder / "celeba-96").mkdir()
    assert is_there({"name": "celeba", "resolution": 96}, folder)
    assert not is_there({"name": "celeba", "resolution": 64}, folder)


@pytest.mark.parametrize(
    ("known", "name"), [({"name": "a", "sha256": "1"}, "a"), ({"name": "a", "sha256": "2"}, "b"), ({}, "b")]
)
def test_the_same_pixels_keep_the_name_of_their_protocol(known, name):
    assert with_known_name(SimpleNamespace(name="b", sha256="1"), known).name == name
