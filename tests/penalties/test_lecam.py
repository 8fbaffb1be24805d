"""LeCam by hand."""

import pytest
import torch
from torch import nn

from gan_lab.penalties import Batch, LeCam


def batch_of(D, real, real_logits, fake_logits):
    fake = torch.zeros_like(real)
    return Batch(nn.Identity(), D, real, fake, torch.zeros(len(real), 2), real_logits, fake_logits)


def test_lecam_by_hand():
    penalty = LeCam(decay=0.9).double()
    first = (torch.tensor([1.0, 2.0]).double(), torch.tensor([-1.0, 0.5]).double())
    # start corrected: the running means are the batch's own, 1.5 and -0.25
    # real - a_fake: 1.25, 2.25; a_real - fake: 2.5, 1.0
    expected = (1.25**2 + 2.25**2) / 2 + (2.5**2 + 1.0**2) / 2
    images = torch.zeros(2, 1, 2, 2)
    assert penalty(batch_of(None, images, *first)).item() == pytest.approx(expected, rel=1e-6)
    second = (torch.tensor([-3.0, 4.0]).double(), torch.tensor([2.0, 0.0]).double())
    a_real = (0.9 * 0.1 * 1.5 + 0.1 * 0.5) / (1 - 0.81)
    a_fake = (0.9 * 0.1 * -0.25 + 0.1 * 1.0) / (1 - 0.81)
    above = [max(r - a_fake, 0.0) ** 2 for r in (-3.0, 4.0)]
    below = [max(a_real - f, 0.0) ** 2 for f in (2.0, 0.0)]
    value = penalty(batch_of(None, images, *second)).item()
    assert value == pytest.approx(sum(above) / 2 + sum(below) / 2, rel=1e-6)
    other = LeCam(decay=0.9).double()
    other.load_state_dict(penalty.state_dict())
    third = (torch.tensor([0.3, 0.1]).double(), torch.tensor([0.2, -0.7]).double())
    assert other(batch_of(None, images, *third)).item() == penalty(batch_of(None, images, *third)).item()


def test_lecam_plain_squares():
    penalty = LeCam(decay=0.0, rectified=False).double()
    real, fake = torch.tensor([-3.0, 4.0]).double(), torch.tensor([2.0, 0.0]).double()
    value = penalty(batch_of(None, torch.zeros(2, 1, 2, 2), real, fake)).item()  # means 0.5 and 1
    assert value == pytest.approx(((-4.0) ** 2 + 3.0**2) / 2 + (1.5**2 + 0.5**2) / 2, rel=1e-9)


def test_lecam_gradient_leaves_the_running_means_alone():
    real = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([-1.0, 0.5], dtype=torch.float64, requires_grad=True)
    LeCam().double()(batch_of(None, torch.zeros(2, 1, 2, 2), real, fake)).backward()
    assert real.grad.tolist() == pytest.approx([1.25, 2.25], rel=1e-6)
    assert fake.grad.tolist() == pytest.approx([-2.5, -1.0], rel=1e-6)


def test_lecam_needs_the_reals():
    with pytest.raises(RuntimeError, match="LeCam"):
        LeCam()(batch_of(None, torch.zeros(2, 1, 2, 2), None, torch.zeros(2)))


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="decay"):
        LeCam(decay=1.0)
