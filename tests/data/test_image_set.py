"""Sets of images in their stored sizes."""

from __future__ import annotations

import os

import pytest
import torch
from PIL import Image

from gan_lab.data.image_set import open_images
from gan_lab.errors import UserError


def test_images_of_many_sizes_and_modes_are_read_as_they_are(tmp_path):
    Image.new("L", (10, 10), 77).save(tmp_path / "a.png")
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(tmp_path / "b.png")
    Image.new("RGB", (12, 9), (1, 2, 3)).save(tmp_path / "c.png")
    with open_images(tmp_path) as images:
        batches = list(images.batches(torch.arange(3), 2))
        assert images.num_train == 3 and batches[0][0, :, 0, 0].tolist() == [77, 77, 77]
        assert batches[0][1, :, 0, 0].tolist() == [255, 255, 255]  # transparent: white
        assert [tuple(b.shape) for b in batches] == [(2, 3, 10, 10), (1, 3, 9, 12)]
        assert (images.resolution, images.channels) == (10, 3)
        before = images.sha256
    os.utime(tmp_path / "a.png", ns=(1, 1))
    with open_images(tmp_path) as images:
        assert images.sha256 != before


def refusal(path, **settings) -> str:
    with pytest.raises(UserError) as caught, open_images(path, "path_a", **settings) as images:
        list(images.batches(torch.arange(images.num_train), 10))
    return str(caught.value)


def test_sets_that_cannot_be_read_are_refused(tmp_path):
    assert "path_a=" in refusal(tmp_path / "absent") and "does not exist" in refusal(tmp_path / "absent")
    assert "holds no images" in refusal(tmp_path)
    (tmp_path / "x.png").write_text("not an image")
    assert "1 images cannot be read (x.png; the last one: it is not an image" in refusal(tmp_path)
    assert "neither a folder nor a readable ZIP" in refusal(tmp_path / "x.png")
    assert "not one of its 1 images can be read" in refusal(tmp_path, max_unreadable=3)


def test_broken_images_are_skipped_as_far_as_they_may_be(tmp_path):
    for i in range(5):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"x")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:50])
    assert "more than 0 of 5 images cannot be read (1.png" in refusal(tmp_path)
    assert "more than 1 of 5 images cannot be read (1.png, 3.png" in refusal(tmp_path, max_unreadable=1)
    with open_images(tmp_path, max_unreadable=2) as images:
        assert (images.num_train, images.skipped) == (3, 2)
        (batch,) = images.batches(torch.tensor([2, 0, 1]), 10)
        assert batch[:, 0, 0, 0].tolist() == [4, 0, 2]


def test_batches_of_large_images_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr("gan_lab.data.image_set._BATCH_BYTES", 2 * 3 * 8 * 8)
    for i in range(5):
        Image.new("L", (8, 8), i).save(tmp_path / f"{i}.png")
    with open_images(tmp_path) as images:
        assert [len(batch) for batch in images.batches(torch.arange(5), 100)] == [2, 2, 1]


def test_a_packed_dataset_gives_its_training_images_unpadded(tmp_path, packed):
    pixels = packed(tmp_path / "p")
    with open_images(tmp_path / "p") as images:
        batches = torch.cat(list(images.batches(torch.arange(images.num_train), 3)))
        expected = torch.from_numpy(pixels[: images.num_train]).permute(0, 3, 1, 2)
        assert torch.equal(batches, expected) and images.skipped == 0
