"""DiffAugment: each policy seen from outside, by undoing what it may have done."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gan_lab.augment import DiffAugment
from gan_lab.augment.diffaugment import POLICIES, random_color


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_translation_moves_by_whole_pixels_and_lets_zeros_in():
    x = torch.rand(300, 2, 16, 16) + 0.5
    y = DiffAugment(["translation"])(x)
    wide = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    found = []
    for before, after in zip(wide, y.numpy(), strict=True):
        hits = [(r, c) for r in range(5) for c in range(5) if np.array_equal(before[:, r : r + 16, c : c + 16], after)]
        assert len(hits) == 1
        found += hits
    counts = np.zeros((5, 5))
    for r, c in found:
        counts[r, c] += 1
    assert (counts > 2).all() and (counts < 30).all()  # 12 expected of each of the 25 shifts


def test_cutout_sets_a_square_of_half_the_side_to_zero():
    x = torch.ones(400, 3, 16, 16)
    y = DiffAugment(["cutout"])(x)
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(y[:, 0], y[:, 1])
    holes = 1 - y[:, 0]
    rows, columns = holes.amax(2).sum(1), holes.amax(1).sum(1)
    torch.testing.assert_close(holes.sum((1, 2)), rows * columns)  # a box
    assert rows.max() == columns.max() == 8
    assert rows.min() == columns.min() == 4  # centre on the border
    assert 0.45 < (rows == 8).float().mean() < 0.6  # 9 of 17 centres


def test_color_changes_three_numbers_per_image():
    x = torch.rand(500, 3, 8, 8, dtype=torch.float64) * 2 - 1
    y = random_color(x)
    mean = y.mean((1, 2, 3)) - x.mean((1, 2, 3))  # contrast and saturation keep the mean: brightness alone
    assert mean.min() > -0.5 and mean.max() < 0.5 and mean.std() == pytest.approx(12**-0.5, rel=0.1)
    gray = lambda v: v.mean(1) - v.mean((1, 2, 3))[:, None, None]  # noqa: E731
    contrast = (gray(y) / gray(x)).flatten(1)
    torch.testing.assert_close(contrast, contrast[:, :1].expand_as(contrast), rtol=1e-6, atol=0)
    assert contrast.min() > 0.5 and contrast.max() < 1.5 and contrast.mean() == pytest.approx(1.0, abs=0.05)
    chroma = lambda v: v - v.mean(1, keepdim=True)  # noqa: E731
    both = (chroma(y) / chroma(x)).flatten(1)
    torch.testing.assert_close(both, both[:, :1].expand_as(both), rtol=1e-6, atol=1e-9)
    saturation = both[:, 0] / contrast[:, 0]
    assert saturation.min() > 0 and saturation.max() < 2 and saturation.mean() == pytest.approx(1.0, abs=0.1)


def test_policies_are_applied_and_unknown_ones_refused():
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(DiffAugment([])(x), x)
    for channels in (1, 3):
        y = DiffAugment()(torch.rand(4, channels, 8, 8))
        assert y.shape == (4, channels, 8, 8) and y.isfinite().all()
    assert DiffAugment().policy == POLICIES == DiffAugment("color").policy + ("translation", "cutout")
    with pytest.raises(ValueError, match="colour"):
        DiffAugment(["colour"])


def test_draws_come_from_the_global_generator():
    x, augment = torch.rand(4, 3, 8, 8), DiffAugment()
    torch.manual_seed(1)
    a = augment(x)
    b = augment(x)
    torch.manual_seed(1)
    assert torch.equal(augment(x), a) and not torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "channels"), [
    *((policy, 1) for policy in POLICIES),
    *(pytest.param(policy, 3, marks=[pytest.mark.long] * (policy != "color")) for policy in POLICIES),
])  # fmt: skip
def test_differentiable_twice(policy, channels):
    augment = DiffAugment([policy])

    def fixed(x):
        torch.manual_seed(2)
        return augment(x).pow(3)

    x = torch.randn(2, channels, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(fixed, (x,)) and gradgradcheck(fixed, (x,))
