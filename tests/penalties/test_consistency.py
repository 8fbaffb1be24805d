"""Consistency by hand."""

import pytest
import torch
from torch import nn

from gan_lab.penalties import Batch, Consistency
from gan_lab.penalties.consistency import flip_and_shift


def batch_of(D, real, real_logits, fake_logits):
    fake = torch.zeros_like(real)
    return Batch(nn.Identity(), D, real, fake, torch.zeros(len(real), 2), real_logits, fake_logits)


def columns(n, size):
    """Images whose pixel (y, x) of channel 0 is x and of channel 1 is y."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return torch.stack([x, y]).expand(n, 2, size, size).clone()


def test_flip_and_shift_moves_whole_images():
    """Every result is one of the 2 * 5 * 5 flips and shifts with a mirrored border, and all of them occur."""
    size, most = 7, 2
    images = columns(1500, size)
    torch.manual_seed(0)
    moved = flip_and_shift(images, most)
    assert moved.shape == images.shape
    padded = torch.nn.functional.pad(images[:1], [most] * 4, mode="reflect")
    seen = {}
    for flip in (False, True):
        source = padded.flip(3) if flip else padded
        for dy in range(2 * most + 1):
            for dx in range(2 * most + 1):
                expected = source[:, :, dy : dy + size, dx : dx + size]
                seen[flip, dy, dx] = (moved == expected).flatten(1).all(1).sum().item()
    assert sum(seen.values()) == 1500
    assert min(seen.values()) >= 10 and max(seen.values()) <= 60  # 30 each expected
    assert torch.equal(images, columns(1500, size))


def test_no_shift_only_flips():
    images = columns(64, 5)
    torch.manual_seed(0)
    moved = flip_and_shift(images, 0)
    same, mirrored = (moved == images).flatten(1).all(1), (moved == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all() and 10 < same.sum() < 54


def test_consistency_value():
    """D reads the top left pixel's column: with flips only it is 0 or 4, the first logit is a fixed 1."""
    images = columns(200, 5).double()

    def D(x):
        return 3.0 * x[:, 0, 0, 0]

    penalty = Consistency(shift=0)
    torch.manual_seed(0)
    moved = D(flip_and_shift(images, 0))
    torch.manual_seed(0)
    value = penalty(batch_of(D, images, torch.full((200,), 1.0, dtype=torch.float64), torch.zeros(200)))
    assert set(moved.tolist()) == {0.0, 12.0}
    share = (moved == 12.0).double().mean().item()
    assert value.item() == pytest.approx(share * 121.0 + (1 - share) * 1.0, abs=1e-9)
    torch.manual_seed(0)
    assert penalty(batch_of(D, images, None, torch.zeros(200))).item() == pytest.approx(share * 144.0, abs=1e-9)


def test_consistency_trains_both_ends():
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    images = columns(50, 5).double()

    def D(x):
        return w * x[:, 0, 0, 0]

    value = Consistency(shift=1)(batch_of(D, images, D(images), torch.zeros(50)))
    value.backward()
    assert w.grad.item() == pytest.approx(value.item(), rel=1e-9)  # value is c w^2, its slope 2 c w, and w is 2
    assert value.item() > 0


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="shift"):
        Consistency(shift=-1)
