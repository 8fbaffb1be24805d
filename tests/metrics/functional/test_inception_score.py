"""The inception score against torch-fidelity and its bounds."""

from __future__ import annotations

import math

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from gan_lab.metrics import functional as fn


def gaussian(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) * scale + shift


@pytest.mark.parametrize(("n", "splits"), [(1000, 10), (103, 10), (7, 7), (50, 1)])
@pytest.mark.parametrize("seed", [None, 2020, 3])
def test_inception_score_equals_torch_fidelity(n, splits, seed):
    logits = gaussian(n, 20, scale=3.0)
    expected = isc_features_to_metric(logits, splits, shuffle=seed is not None, rng_seed=seed)
    mean, sd = fn.inception_score(logits, splits, seed)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-10)
    assert sd == pytest.approx(expected["inception_score_std"], rel=1e-8, abs=1e-12)


def test_inception_score_at_its_bounds():
    sure = torch.full((40, 4), -1e4)
    sure[torch.arange(40), torch.arange(40) % 4] = 1e4
    assert fn.inception_score(sure, 2) == pytest.approx((4.0, 0.0))  # sure and even: the number of classes
    assert fn.inception_score(torch.zeros(40, 4), 2) == pytest.approx((1.0, 0.0))  # nothing known
    assert fn.inception_score(torch.tensor([[3.0, 1.0]]), 1) == pytest.approx((1.0, 0.0))  # one sample


@pytest.mark.parametrize("splits", [0, 6])
def test_inception_score_refuses_impossible_splits(splits):
    with pytest.raises(ValueError, match="between 1 and the number of samples 5"):
        fn.inception_score(torch.zeros(5, 3), splits)


def test_inception_score_refuses_nan():
    with pytest.raises(ValueError, match="not finite"):
        fn.inception_score(torch.full((5, 3), math.nan), 1)
