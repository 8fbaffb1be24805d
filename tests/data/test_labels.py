"""Classes from a file of labels: every form gives what the folders would; what does not fit is named."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from gan_lab.data import load
from gan_lab.errors import UserError
from tests.data.test_folder import Make, both, levels, opened, png
from tests.training.short_runs import build

IMAGES = [("a/1.png", png(1)), ("a/2.png", png(2)), ("b/3.png", png(3))]
PAIRS = [["a/1.png", 7], ["a/2.png", 0], ["b/3.png", 7]]
OTHER = json.dumps({"labels": [*PAIRS, ["gone.png", 1]]}).encode()  # a row of no image is of no account


def of(data) -> list[tuple[int, str]]:
    """The level of each image, and the name of its class."""
    return [(n, data.class_names[y]) for n, y in zip(levels(data), data.labels("train").tolist(), strict=True)]


@both
@pytest.mark.parametrize("prefix", ["", "wrapped/"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dataset.json", json.dumps({"labels": PAIRS}).encode()),
        ("dataset.json", OTHER),
        ("labels.json", json.dumps({"labels": dict(PAIRS)}).encode()),
        ("labels.json", json.dumps(dict(PAIRS)).encode()),
        ("labels.csv", b"\xef\xbb\xbffile,label\r\na/1.png,7\r\na/2.png,0\r\n\r\nb/3.png,7\r\n"),
        ("labels.csv", b"a/1.png,7\na/2.png, 0\nb/3.png,7\n"),
        ("labels.csv", b"image,breed\na/1.png,7\na/2.png,0\nb/3.png,7\n"),
    ],
)
def test_a_file_of_labels(tmp_path: Path, make: Make, prefix: str, name: str, content: bytes) -> None:
    files = [(prefix + file, image) for file, image in IMAGES]
    data = opened(tmp_path, make(tmp_path, [*files, (prefix + name, content)]))
    assert of(data) == [(1, "7"), (2, "0"), (3, "7")] and data.class_names == ("0", "7")


def test_names_and_the_order_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for i in range(3):
        (tmp_path / "set" / f"{i}.png").write_bytes(png(i))
    table = tmp_path / "set" / "labels.csv"
    for labels, names in ((("b", "a, b", "b"), ("a, b", "b")), (("10", "9", "10"), ("9", "10"))):
        table.write_text("".join(f'{i}.png,"{label}"\n' for i, label in enumerate(labels)))
        data = opened(tmp_path, tmp_path / "set")  # the table has changed: packed again
        assert data.class_names == names and of(data) == list(enumerate(labels))


@both
def test_without_labels(tmp_path: Path, make: Make) -> None:
    """StyleGAN's folders of a thousand images are no classes; where they would be, labels=False leaves them out."""
    path = make(tmp_path, [*IMAGES, ("dataset.json", b'{"labels": null}')])
    assert opened(tmp_path, path).class_names == ("image",)
    path = make(tmp_path / "more", IMAGES)
    assert opened(tmp_path, path).class_names == ("a", "b")
    without = opened(tmp_path, path, labels=False)
    assert (without.class_names, without.num_classes, without.labels("train").tolist()) == (("image",), 1, [0, 0, 0])
    packed = opened(tmp_path, path).store
    assert packed.num_classes == 2 and load("packed", tmp_path, path=packed.folder, labels=False).num_classes == 1


@both
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("dataset.json", json.dumps({"labels": PAIRS[1:]}), r"dataset.json gives a/1.png no label; add it"),
        ("dataset.json", json.dumps({"labels": PAIRS[:1]}), r"gives a/2.png and 1 more images no label"),
        ("labels.json", json.dumps([*PAIRS, ["a/1.png", 3]]), r"gives a/1.png two labels, 7 and 3"),
        ("dataset.json", json.dumps({"labels": [["a/1.png", {"b": 1}]]}), r"the label \{'b': 1\}, which is neither"),
        ("dataset.json", json.dumps({"labels": [["a/1.png", True]]}), r"neither a whole number nor a name"),
        ("dataset.json", "{", r"dataset.json cannot be read as JSON"),
        ("dataset.json", "3", r"must hold pairs"),
        ("labels.csv", "a/1.png\n", r"must hold pairs"),
        ("labels.csv", "a/1.png,7\na/2.png,\nb/3.png,7\n", r"gives a/2.png the label '', which is neither"),
        ("labels.csv", "a/1.png,cat\na/2.png,1\nb/3.png,7\n", r"gives a/1.png no label"),
        ("labels.csv", b"\xff", r"cannot be read as CSV"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path: Path, make: Make, name: str, content: str | bytes, message: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    with pytest.raises(UserError, match=message):
        opened(tmp_path, make(tmp_path, [*IMAGES, (name, data)]))


@both
def test_files_of_labels_elsewhere_and_too_many(tmp_path: Path, make: Make) -> None:
    assert opened(tmp_path, make(tmp_path, [*IMAGES, ("a/labels.csv", b"1.png,3")])).class_names == ("a", "b")
    with pytest.raises(UserError, match=r"two files of labels, dataset.json and labels.csv"):
        opened(tmp_path, make(tmp_path / "two", [*IMAGES, ("dataset.json", OTHER), ("labels.csv", b"a/1.png,3")]))


def test_a_file_of_labels_that_unpacks_to_far_more_than_it_weighs_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, image in IMAGES:
            archive.writestr(name, image)
        archive.writestr("dataset.json", b'{"labels":[' + b"{}," * (6 * 2**20) + b"{}]}")
    with pytest.raises(UserError, match=r"dataset.json cannot be read \(it unpacks to more than 100 times its size\)"):
        opened(tmp_path, tmp_path / "x.zip")


@pytest.mark.parametrize("recipe", ["r3gan", "sngan_resnet"])
def test_conditional_nets_and_data_of_one_class_are_one_sentence(tiny_data, recipe):
    words = (f"recipe={recipe}", "width=0.03", "generator.conditional=true", "discriminator.condition=projection")
    with pytest.raises(UserError, match="a conditional net needs classes, but dataset=shapes has one") as error:
        build(tiny_data, *words, "dataset.labels=false")
    assert error.value.exit_status == 2 and "\n" not in str(error.value)
