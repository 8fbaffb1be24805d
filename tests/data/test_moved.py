"""Images are found by the sha256 of their pixels where they lie now."""

from types import SimpleNamespace

import pytest

from gan_lab.data.moved import find_packed, is_there, located, with_known_name
from gan_lab.data.store import open_packed


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
    assert {name: find_packed(folder, sha256) for name, sha256 in hashes.items()} == {n: folder / n for n in hashes}
    assert find_packed(folder, "0" * 64) is None and find_packed(folder / "absent", hashes["mnist"]) is None


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
