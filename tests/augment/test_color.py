"""ADA's colour maps by what they do to known colours."""

import math

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.augment import color


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def apply(matrix: torch.Tensor, *rgb: float) -> list[float]:
    image = torch.tensor(rgb, dtype=torch.float64).view(1, -1, 1, 1)
    return color.recolor(image, matrix).flatten().tolist()


def test_brightness_and_contrast():
    assert apply(color.brightness(one(0.3)), 0.1, -0.2, 0.5) == pytest.approx([0.4, 0.1, 0.8])
    assert apply(color.contrast(one(2.0)), 0.1, -0.2, 0.5) == pytest.approx([0.2, -0.4, 1.0])
    assert apply(color.brightness(one(0.3)), -0.2) == pytest.approx([0.1])
    assert apply(color.contrast(one(2.0)), -0.2) == pytest.approx([-0.4])


def test_luma_flip_mirrors_gray_and_keeps_what_has_none():
    assert apply(color.luma_flip(one(1.0)), 0.4, 0.4, 0.4) == pytest.approx([-0.4] * 3)
    assert apply(color.luma_flip(one(1.0)), 0.4, -0.1, -0.3) == pytest.approx([0.4, -0.1, -0.3])
    assert apply(color.luma_flip(one(0.0)), 0.4, 0.5, 0.6) == pytest.approx([0.4, 0.5, 0.6])
    assert apply(color.luma_flip(one(1.0)), 0.7) == pytest.approx([-0.7])


def test_hue_turns_red_to_green_to_blue_about_gray():
    third = color.hue(one(2 * math.pi / 3))
    assert apply(third, 1.0, 0.0, 0.0) == pytest.approx([0, 1, 0], abs=1e-12)
    assert apply(third, 0.0, 1.0, 0.0) == pytest.approx([0, 0, 1], abs=1e-12)
    assert apply(color.hue(one(0.9)), 0.3, 0.3, 0.3) == pytest.approx([0.3] * 3)
    m = color.hue(one(0.9))[0]
    torch.testing.assert_close(m @ m.T, torch.eye(4, dtype=torch.float64))


def test_saturation_scales_the_distance_from_gray():
    assert apply(color.saturation(one(0.0)), 0.9, 0.3, 0.0) == pytest.approx([0.4] * 3)
    assert apply(color.saturation(one(2.0)), 0.9, 0.3, 0.0) == pytest.approx([1.4, 0.2, -0.4])


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match="channels"):
        apply(color.brightness(one(0.1)), 0.1, 0.2)


@pytest.mark.parametrize("channels", [1, 3])
def test_differentiable_twice(channels):
    matrices = torch.randn(2, 4, 4, dtype=torch.float64)
    x = torch.randn(2, channels, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda v: color.recolor(v, matrices).pow(3), (x,))
    assert gradgradcheck(lambda v: color.recolor(v, matrices).pow(3), (x,))
