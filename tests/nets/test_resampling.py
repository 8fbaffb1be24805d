"""FIR resampling against scipy's upfirdn."""

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.nets.resampling import Resampler

TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8.0


def both_axes(x: np.ndarray, taps: np.ndarray, up: int, down: int, crop: tuple[int, int]) -> np.ndarray:
    for axis in (2, 3):
        x = np.take(upfirdn(taps, x, up=up, axis=axis), range(crop[0], x.shape[axis] * up + crop[1]), axis)
        x = np.take(x, range(0, x.shape[axis], down), axis)
    return x


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, 6, 8, dtype=torch.float64)


def test_upsample_is_zero_insertion_and_filtering(x):
    # upfirdn's full output of n samples is 2n - 1 + 3 long; the middle 2n are kept
    expected = both_axes(x.numpy(), 2 * TAPS, up=2, down=1, crop=(1, 1))
    got = Resampler().double().upsample(x)
    assert got.shape == (2, 3, 12, 16)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-12)


def test_downsample_is_filtering_and_decimation(x):
    expected = both_axes(x.numpy(), TAPS, up=1, down=2, crop=(2, 2))
    got = Resampler().double().downsample(x)
    assert got.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-12)


def test_blur_is_the_filter_alone(x):
    expected = both_axes(x.numpy(), TAPS, up=1, down=1, crop=(0, 3))
    got = Resampler().double().blur(x, padding=3)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-12)


def test_down_is_the_adjoint_of_up_over_four(x):
    f = Resampler().double()
    y = torch.randn(2, 3, 12, 16, dtype=torch.float64)
    left, right = (f.upsample(x) * y).sum(), 4 * (x * f.downsample(y)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)


def test_a_constant_keeps_its_value_inside():
    f, ones = Resampler(), torch.ones(1, 1, 8, 8)
    torch.testing.assert_close(f.upsample(ones)[..., 1:-1, 1:-1], torch.ones(1, 1, 14, 14))
    torch.testing.assert_close(f.downsample(ones)[..., 1:-1, 1:-1], torch.ones(1, 1, 2, 2))
    assert f.upsample(ones)[0, 0, 0, 0] == pytest.approx(0.75**2)


@pytest.mark.parametrize("way", ["upsample", "downsample"])
def test_differentiable_twice(way):
    f = getattr(Resampler().double(), way)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(f, (x,)) and gradgradcheck(lambda t: f(t).pow(3), (x,))
