"""Moving pixels: against torch.flip, rot90 and scipy's splines, and the filter's defining equations."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.augment import geometry as geo


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def smooth(side: int = 24, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((side, side))
    image = ndimage.gaussian_filter(noise, 2.5, mode="mirror")
    return image / image.std()


def test_the_filter_is_the_sixth_symlet():
    h = np.array(geo.SYM6)
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-12)
    for shift in range(6):  # orthonormal to its shifts by two
        assert h[2 * shift :] @ h[: len(h) - 2 * shift] == pytest.approx(float(shift == 0), abs=1e-11)
    signs = (-1.0) ** np.arange(12)
    for power in range(6):  # six vanishing moments of the high-pass partner
        assert (signs * h * np.arange(12.0) ** power).sum() == pytest.approx(0, abs=1e-11 * 12**power)
    assert geo.filter_taps().sum() == pytest.approx(1, abs=1e-6)


def test_maps_say_where_the_content_goes():
    point = numbers(3.0, 2.0, 1.0)

    def goes_to(inverse):
        return torch.linalg.solve(inverse[0], point)[:2].tolist()

    assert goes_to(geo.translation(numbers(5.0), numbers(-1.0))) == pytest.approx([8, 1])
    assert goes_to(geo.scaling(numbers(2.0), numbers(0.5))) == pytest.approx([6, 1])
    assert goes_to(geo.rotation(numbers(math.pi / 2))) == pytest.approx([-2, 3])
    turns = geo.quarter_turns(numbers(0, 1, 2, 3))
    angles = geo.rotation(numbers(0, math.pi / 2, math.pi, -math.pi / 2))
    torch.testing.assert_close(turns, angles, rtol=0, atol=1e-15)
    a, b = torch.randn(4, 3, 3), torch.randn(4, 3, 3)
    torch.testing.assert_close(geo.compose(a, b), a @ b)


def test_is_changed_compares_exactly():
    m = geo.translation(numbers(0.0, 1e-9, 0.0), numbers(0.0, 0.0, 0.0))
    assert geo.is_changed(m).flatten().tolist() == [False, True, False]


@pytest.mark.parametrize("channels", [1, 3])
def test_copied_pixels(channels):
    x = torch.randn(1, channels, 8, 8, dtype=torch.float64)
    one, none = numbers(1.0), numbers(0.0)
    assert torch.equal(geo.copy_pixels(x, geo.scaling(-one, one)), x.flip(3))
    for k in range(4):  # from x towards y is clockwise on the screen, rot90 turns the other way
        turned = geo.copy_pixels(x, geo.quarter_turns(numbers(k)))
        assert torch.equal(turned, torch.rot90(x, -k, (2, 3)))
    moved = geo.copy_pixels(x, geo.translation(2 * one, -1 * one))
    wide = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 1), (2, 0)), mode="reflect")
    assert np.array_equal(moved.numpy(), wide[:, :, 1:, :8])
    assert torch.equal(geo.copy_pixels(x, geo.translation(none, none)), x)


@pytest.mark.parametrize("side", [8, 17, 32])
def test_resampling_the_identity_is_exact(side):
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    y = geo.resample(x, geo.identities(3, numbers(0, 0)), geo.filter_taps().double())
    # the taps are fp32 numbers, the round trip is exact to that precision
    torch.testing.assert_close(y, x, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "name, inverse",
    [
        ("fractional shift", geo.translation(numbers(1.3), numbers(-2.6))),
        ("far shift", geo.translation(numbers(40.0), numbers(-61.5))),
        ("rotation", geo.rotation(numbers(0.7))),
        ("enlarging", geo.scaling(numbers(1.4), numbers(1.4))),
        ("shrinking", geo.scaling(numbers(0.8), numbers(0.9))),
        (
            "all",
            geo.compose(geo.rotation(numbers(-2.0)), geo.compose(geo.scaling(numbers(1.2), numbers(0.9)),
                        geo.translation(numbers(3.2), numbers(0.4)))),
        ),
    ],
)  # fmt: skip
def test_resampling_against_scipy(name, inverse):
    image = smooth()
    m = inverse[0].numpy()[:2]
    matrix = m[::-1, 1::-1]  # scipy's order: rows, columns
    middle = np.full(2, (image.shape[0] - 1) / 2)
    offset = middle - matrix @ middle + m[::-1, 2]
    expected = ndimage.affine_transform(image, matrix, offset, order=5, mode="mirror")
    got = geo.resample(torch.from_numpy(image)[None, None], inverse, geo.filter_taps())[0, 0].numpy()
    error = np.abs(got - expected)
    assert expected.std() > 0.3
    assert error.mean() < 0.02 and error.max() < 0.2, (error.mean(), error.max())


def test_what_the_grid_cannot_hold_is_filtered_out():
    """Stripes of one pixel moved by half a pixel are beyond the grid: they nearly vanish."""
    stripes = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    stripes[..., ::2] = -1
    moved = geo.resample(stripes, geo.translation(numbers(0.5), numbers(0.0)), geo.filter_taps())
    assert moved[..., 4:-4].abs().max() < 0.35
    whole = geo.resample(stripes, geo.translation(numbers(1.0), numbers(0.0)), geo.filter_taps())
    torch.testing.assert_close(whole[..., 4:-4], -stripes[..., 4:-4], rtol=0, atol=1e-5)


def test_sampling_is_grid_sample_and_its_adjoint():
    image = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    grid = torch.rand(2, 4, 7, 2, dtype=torch.float64) * 2.4 - 1.2
    ours = geo.sample(image, grid)
    theirs = F.grid_sample(image, grid, align_corners=False)
    assert torch.equal(ours, theirs)
    weight = torch.randn_like(ours)
    a, b = (torch.autograd.grad((v * weight).sum(), image)[0] for v in (ours, theirs))
    torch.testing.assert_close(a, b)
    torch.testing.assert_close((a * image).sum(), (ours * weight).sum())  # <A' w, x> = <w, A x>
    assert gradcheck(lambda x: geo.sample(x, grid), (image,))
    assert gradgradcheck(lambda x: geo.sample(x, grid).pow(3), (image,))


def test_sampling_under_torch_func():
    image, grid = torch.randn(1, 1, 4, 4), torch.rand(1, 4, 4, 2) * 2 - 1
    f = lambda x: geo.sample(x, grid).pow(3).sum()  # noqa: E731
    got = torch.func.grad(lambda x: torch.func.grad(f)(x).square().sum())(image)
    x = image.clone().requires_grad_()
    (g,) = torch.autograd.grad(f(x), x, create_graph=True)
    (expected,) = torch.autograd.grad(g.square().sum(), x)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("way", ["copy", "resample"])
def test_moves_are_differentiable_twice(way):
    inverse = geo.compose(geo.rotation(numbers(0.4)), geo.translation(numbers(0.3), numbers(1.2)))
    turned = geo.compose(geo.quarter_turns(numbers(1.0)), geo.translation(numbers(1.0), numbers(-2.0)))

    def move(x):
        if way == "copy":
            return geo.copy_pixels(x, turned).pow(3)
        return geo.resample(x, inverse, geo.filter_taps()).pow(3)

    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(move, (x,)) and gradgradcheck(move, (x,))
