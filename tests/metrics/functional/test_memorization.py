"""Neighbours against SciPy's tree; copies against a case that can be counted by hand."""

import pytest
import torch
from scipy.spatial import cKDTree

from gan_lab.metrics.functional import manifold
from gan_lab.metrics.functional.memorization import copies, nearest_neighbours


@pytest.mark.parametrize("blocks", [(1024, 8192), (7, 10)])
def test_neighbours_are_those_of_a_tree(monkeypatch, blocks):
    monkeypatch.setattr(manifold, "ROWS", blocks[0])
    monkeypatch.setattr(manifold, "COLUMNS", blocks[1])
    a, b = torch.randn(50, 6), torch.randn(83, 6)
    distance, index = nearest_neighbours(a, b, 4)
    wanted, where = cKDTree(b.numpy()).query(a.numpy(), 4)
    assert torch.equal(index, torch.from_numpy(where))
    torch.testing.assert_close(distance, torch.from_numpy(wanted), rtol=1e-5, atol=0)
    skipped, others = nearest_neighbours(b, b, 3, skip=torch.arange(83))
    wanted, where = cKDTree(b.numpy()).query(b.numpy(), 4)
    assert torch.equal(others, torch.from_numpy(where[:, 1:]))
    torch.testing.assert_close(skipped, torch.from_numpy(wanted[:, 1:]), rtol=1e-5, atol=0)


def test_a_copy_has_distance_zero_even_far_from_the_origin():
    b = torch.randn(100, 30) + 1000
    distance, index = nearest_neighbours(b[:60].clone(), b, 1)
    assert torch.equal(index[:, 0], torch.arange(60)) and distance.max() == 0


def test_copies_counted_by_hand():
    train = torch.tensor([[0.0], [1.0], [10.0]])  # each one's nearest other: 1, 1, 9 away
    samples = torch.tensor([[0.0], [0.4], [-1.1], [1.9], [2.1], [5.6], [-0.9], [18.0], [20.0]])
    assert copies(samples, train).tolist() == [True, True, False, True, False, True, True, True, False]


def test_about_half_of_new_draws_are_copies_and_all_memorized_ones():
    draws = torch.randn(1600, 5, generator=torch.Generator().manual_seed(0))
    train, new = draws[:600], draws[600:]
    rate = float(copies(new, train).double().mean())
    near = train[:300] + 0.01 * torch.randn(300, 5, generator=torch.Generator().manual_seed(1))
    assert copies(near, train).all() and 0.4 < rate < 0.6


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="k = 3 neighbours cannot be chosen among 2"):
        nearest_neighbours(torch.zeros(1, 2), torch.zeros(2, 2), 3)
    with pytest.raises(ValueError, match="cannot be chosen among 1"):
        copies(torch.zeros(1, 2), torch.zeros(1, 2))
