"""The order is a pure function that covers every epoch exactly once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan_lab.data.sampler import flips, indices, pieces


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(-5, 2**64), n=st.integers(1, 40), batch=st.integers(1, 100), draw=st.integers(0, 10**6))
def test_any_draw_equals_reading_from_further_back(seed: int, n: int, batch: int, draw: int) -> None:
    """Whatever was drawn before, and however the sequence is cut, position p holds the same image."""
    start = draw * batch
    back = min(start, 7)
    longer = indices(seed, start - back, batch + back, n)
    assert torch.equal(indices(seed, start, batch, n), longer[back:])
    longer = flips(seed, start - back, batch + back, n)
    assert torch.equal(flips(seed, start, batch, n), longer[back:])


@pytest.mark.parametrize("n", [1, 2, 10, 64, 1000])
def test_every_epoch_holds_every_image_once(n: int) -> None:
    batch = 64
    sequence = torch.cat([indices(3, draw * batch, batch, n) for draw in range(4 * n // batch + 1)])
    assert sequence.dtype == torch.int64
    for epoch in range(4):
        assert torch.equal(sequence[epoch * n : (epoch + 1) * n].sort().values, torch.arange(n))


def test_seeds_and_epochs_differ_and_are_shuffled() -> None:
    orders = [indices(seed, epoch * 1000, 1000, 1000) for seed in (0, 1) for epoch in (0, 1)]
    for i, a in enumerate(orders):
        assert 0 <= (a == torch.arange(1000)).sum() < 10
        for b in orders[:i]:
            assert (a == b).sum() < 10
    mean = torch.stack([indices(seed, 0, 100, 1000) for seed in range(50)]).double().mean()
    assert abs(mean - 499.5) < 4 * 289 / 5000**0.5  # uniform: no part of the data comes first


def test_flips_are_a_fair_coin_independent_of_the_order() -> None:
    n = 4000
    coin, order = flips(0, 0, 4 * n, n).double(), indices(0, 0, 4 * n, n).double()
    assert coin.unique().tolist() == [0, 1] and abs(coin.mean() - 0.5) < 4 * 0.5 / (4 * n) ** 0.5
    assert abs(torch.corrcoef(torch.stack([coin, order]))[0, 1]) < 4 / (4 * n) ** 0.5
    assert not torch.equal(coin[:n], coin[n : 2 * n])


def test_does_not_touch_or_read_the_global_generators() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = indices(11, 123, 50, 77)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    for other in range(5):  # push the cached epochs out
        indices(12, other * 500, 400, 77)
    assert torch.equal(indices(11, 123, 50, 77), first)


def test_answers_are_the_callers_to_change() -> None:
    first = indices(0, 0, 5, 10)
    first.zero_()
    assert indices(0, 0, 5, 10).sum() != 0


@pytest.mark.parametrize(("start", "count", "n"), [(-1, 1, 1), (0, 0, 1), (0, 1, 0)])
def test_out_of_range(start: int, count: int, n: int) -> None:
    with pytest.raises(ValueError, match="start must be"):
        pieces(start, count, n)
