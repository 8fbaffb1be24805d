"""What training and metrics are given: padding, batches, flips, and the two ways of holding the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gan_lab.data import Dataset, TrainingImages, indices, open_packed, supported_resolution, to_float
from gan_lab.data.sampler import flips

Packed = Callable[..., np.ndarray]


def test_supported_resolutions() -> None:
    listed = sorted({base * 2**k for base in (4, 6, 8) for k in range(9)})
    for wanted in range(1, 1025):
        assert supported_resolution(wanted) == min(side for side in listed if side >= wanted)
    with pytest.raises(ValueError, match="at least 1"):
        supported_resolution(0)


def test_images_and_labels_of_both_splits(tmp_path: Path, packed: Packed) -> None:
    raw = packed(tmp_path / "p")
    data = Dataset(open_packed(tmp_path / "p"))
    assert (data.resolution, data.channels, data.num_classes, data.num_train, data.num_test) == (
        8,
        3,
        4,
        7,
        3,
    )
    assert data.class_names[2] == "class 2" and data.name == "tiny" and len(data.sha256) == 64
    train, test = data.images("train", range(7)), data.images("test", torch.tensor([2, 0]))
    assert train.dtype == torch.uint8 and train.is_contiguous()
    assert np.array_equal(train.permute(0, 2, 3, 1).numpy(), raw[:7])
    assert np.array_equal(test.permute(0, 2, 3, 1).numpy(), raw[[9, 7]])
    assert data.labels("train").tolist() == [0, 1, 2, 3, 0, 1, 2] and data.labels("test").tolist() == [
        3,
        0,
        1,
    ]
    assert data.images("train", []).shape == (0, 3, 8, 8)
    train[:] = 0
    assert np.array_equal(data.images("train", [3])[0].permute(1, 2, 0).numpy(), raw[3])


@pytest.mark.parametrize(("split", "wrong"), [("train", 7), ("train", -1), ("test", 3)])
def test_indices_beyond_the_split(tmp_path: Path, packed: Packed, split: str, wrong: int) -> None:
    packed(tmp_path / "p")
    with pytest.raises(IndexError, match=f"{split} images"):
        Dataset(open_packed(tmp_path / "p")).images(split, [0, wrong])


def test_evenly_spaced_images_cover_a_split(tmp_path: Path, packed: Packed) -> None:
    packed(tmp_path / "p")
    data = Dataset(open_packed(tmp_path / "p"))  # 7 for training, 3 held out
    assert data.evenly_spaced("train", 3).tolist() == [0, 2, 4]
    assert data.evenly_spaced("test", 9).tolist() == [0, 1, 2]
    assert data.evenly_spaced("test", 0).tolist() == []


def test_unknown_split(tmp_path: Path, packed: Packed) -> None:
    packed(tmp_path / "p")
    with pytest.raises(ValueError, match="'valid'"):
        Dataset(open_packed(tmp_path / "p")).labels("valid")


@pytest.mark.parametrize(("side", "padded", "before"), [(28, 32, 2), (9, 12, 1), (33, 48, 7)])
def test_padding_is_black_and_centred(tmp_path: Path, packed: Packed, side: int, padded: int, before: int) -> None:
    raw = packed(tmp_path / "p", side=side, channels=1)
    data = Dataset(open_packed(tmp_path / "p"))
    images = data.images("train", [5])[0, 0].numpy()
    assert data.resolution == padded and data.source_resolution == side and images.shape == (padded, padded)
    expected = np.zeros((padded, padded), np.uint8)
    expected[before : before + side, before : before + side] = raw[5, :, :, 0]
    assert np.array_equal(images, expected)
    batch = TrainingImages(data, "cpu", seed=0, batch_size=4).batch(0)[0]
    assert batch.shape == (4, 1, padded, padded) and (batch[:, :, 0] == -1).all()


def _data(folder: Path, packed: Packed, hflip: bool, **facts: int) -> tuple[np.ndarray, Dataset]:
    raw = packed(folder, **facts)
    return raw, Dataset(open_packed(folder), hflip=hflip)


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 20])
def test_batch_is_what_the_sampler_says(tmp_path: Path, packed: Packed, hflip: bool, batch_size: int) -> None:
    """Against plain numpy, for batches that divide the epoch, cross its end, and hold several epochs."""
    raw, data = _data(tmp_path / "p", packed, hflip)
    ours = TrainingImages(data, "cpu", seed=9, batch_size=batch_size)
    for draw in (0, 1, 2, 5, 100):
        chosen = indices(9, draw * batch_size, batch_size, 7).numpy()
        expected = raw[chosen] / 127.5 - 1
        mirrored = flips(9, draw * batch_size, batch_size, 7).numpy()
        if hflip:
            expected[mirrored] = expected[mirrored][:, :, ::-1]
        got, y = ours.batch(draw)
        assert y is not None and y.dtype == torch.int64 and y.tolist() == (chosen % 4).tolist()  # as `packed` made them
        assert got.dtype == torch.float32 and got.shape == (batch_size, 3, 8, 8)
        assert np.abs(got.permute(0, 2, 3, 1).numpy() - expected).max() < 1e-6


def test_resident_and_memory_mapped_give_the_same_bits_in_any_order(tmp_path: Path, packed: Packed) -> None:
    _, data = _data(tmp_path / "p", packed, True, train=50, side=12)
    resident = TrainingImages(data, "cpu", seed=4, batch_size=8)
    mapped = TrainingImages(data, "cpu", seed=4, batch_size=8, resident_limit_bytes=50 * 12 * 12 * 3 - 1)
    exact = TrainingImages(data, "cpu", seed=4, batch_size=8, resident_limit_bytes=50 * 12 * 12 * 3)
    assert resident.resident and exact.resident and not mapped.resident
    forward = [resident.batch(draw)[0] for draw in range(30)]
    for draw in (29, 3, 17, 0, 6, 6, 28):  # a resumed run starts anywhere
        assert torch.equal(mapped.batch(draw)[0], forward[draw])
        assert torch.equal(resident.batch(draw)[0], forward[draw])
        assert torch.equal(TrainingImages(data, "cpu", 4, 8).batch(draw)[0], forward[draw])
    assert sum(map(len, resident._epochs.values())) <= 4  # whole epochs are let go again, also when reading backwards
    assert not torch.equal(TrainingImages(data, "cpu", 5, 8).batch(0)[0], forward[0])


@pytest.mark.parametrize("limit_bytes", [10**9, 0], ids=["resident", "memory-mapped"])
def test_every_rank_has_the_classes_of_its_own_images(tmp_path: Path, packed: Packed, limit_bytes: int) -> None:
    raw, data = _data(tmp_path / "p", packed, True, train=50)
    known = {image.tobytes(): i % 4 for i, image in enumerate(raw[:50])}
    known |= {image[:, ::-1].tobytes(): i % 4 for i, image in enumerate(raw[:50])}
    whole = TrainingImages(data, "cpu", 4, 8, limit_bytes).batch(5)[1]
    for rank in range(2):
        images, y = TrainingImages(data, "cpu", 4, 8, limit_bytes, rank=rank, ranks=2).batch(5)
        pixels = ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert y.tolist() == [known[image.tobytes()] for image in pixels] == whole[rank::2].tolist()
    assert len(set(whole.tolist())) > 1


def test_data_of_one_class_have_no_classes(tmp_path: Path, packed: Packed) -> None:
    _, data = _data(tmp_path / "p", packed, False, classes=1)
    assert TrainingImages(data, "cpu", 0, 4).batch(0)[1] is None


def test_flips_mirror_about_half_of_the_images_and_nothing_else(tmp_path: Path, packed: Packed) -> None:
    raw, data = _data(tmp_path / "p", packed, True, train=400, test=0, side=4)
    batch = TrainingImages(data, "cpu", seed=0, batch_size=400).batch(0)[0]
    pixels = ((batch + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    known = {image.tobytes(): 0 for image in raw} | {image[:, ::-1].tobytes(): 1 for image in raw}
    mirrored = [known[image.tobytes()] for image in pixels]  # KeyError: some other change
    assert 140 < sum(mirrored) < 260  # six standard deviations
    plain = TrainingImages(Dataset(data.store, hflip=False), "cpu", 0, 400).batch(0)[0]
    assert {tuple(p) for p in plain.flatten(1).tolist()} != {tuple(p) for p in batch.flatten(1).tolist()}
    upright = ((plain + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert all(known[image.tobytes()] == 0 for image in upright)


def test_all_byte_values_survive_the_round_trip(tmp_path: Path, packed: Packed) -> None:
    _, data = _data(tmp_path / "p", packed, False, train=40, test=0)
    batch = TrainingImages(data, "cpu", 0, 40).batch(0)[0]
    assert batch.min() >= -1 and batch.max() <= 1
    values = torch.arange(256, dtype=torch.uint8)
    as_seen = values.float().div_(127.5).sub_(1)
    assert as_seen[0] == -1 and as_seen[255] == 1
    back = ((as_seen + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    assert torch.equal(back, values)
    seen = ((batch + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    assert torch.equal(seen.sort(0).values, data.images("train", range(40)).sort(0).values)


def test_training_randomness_is_untouched(tmp_path: Path, packed: Packed) -> None:
    _, data = _data(tmp_path / "p", packed, True)
    images = TrainingImages(data, "cpu", 0, 4)
    before = torch.get_rng_state()
    images.batch(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_size_must_be_positive(tmp_path: Path, packed: Packed) -> None:
    _, data = _data(tmp_path / "p", packed, False)
    with pytest.raises(ValueError, match="batch_size"):
        TrainingImages(data, "cpu", 0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
def test_cuda_gives_the_same_bits(tmp_path: Path, packed: Packed) -> None:
    _, data = _data(tmp_path / "p", packed, True, train=50, side=12)
    for limit in (10**9, 0):
        there = TrainingImages(data, "cuda", 4, 8, resident_limit_bytes=limit)
        for draw in (0, 6, 29):
            for found, wanted in zip(there.batch(draw), TrainingImages(data, "cpu", 4, 8).batch(draw), strict=True):
                assert found.device.type == "cuda" and torch.equal(found.cpu(), wanted)


class Divisors(TorchDispatchMode):
    """Collects what tensors are divided by."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("div", "div_", "true_divide", "mul", "mul_", "reciprocal"):
            self.found.append(args[1:])
        return func(*args, **(kwargs or {}))


def test_pixels_become_the_nearest_floats_on_every_device():
    """x / 127.5 - 1, each operation rounded once; CUDA's division by a Python number is a product with 1 / 127.5."""
    x = torch.arange(256, dtype=torch.uint8)
    with Divisors() as divisors:
        found = to_float(x)
    quotients = (np.arange(256, dtype=np.float64) / 127.5).astype(np.float32)
    assert found.numpy().tolist() == (quotients - np.float32(1)).tolist()
    by_reciprocal = np.arange(256, dtype=np.float32) * np.float32(1 / 127.5) - np.float32(1)
    assert (found.numpy() != by_reciprocal).any()  # what CUDA gave
    ((divisor,),) = divisors.found
    assert isinstance(divisor, torch.Tensor) and divisor.device == x.device
