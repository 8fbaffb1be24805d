"""The inception score as a metric."""

from __future__ import annotations

import pytest
import torch

from gan_lab.metrics import functional as fn
from gan_lab.metrics.base import Setting, Statistics
from gan_lab.metrics.inception_score import InceptionScore

SIZES = dict(fakes=9, reals=9, pairwise=9, num_features=4, num_logits=5, num_classes=5, knows_classes=True)


def test_splits_are_at_most_the_samples():
    metric = InceptionScore(splits=10, seed=3)
    assert metric.fit(Setting(samples=10, **SIZES)) is metric
    with pytest.warns(UserWarning, match="splits reduced from 10 to the 9 samples"):
        assert metric.fit(Setting(samples=9, **SIZES)) == InceptionScore(splits=9, seed=3)


@pytest.mark.parametrize("seed", [None, 2020])
def test_it_is_the_score_of_the_logits_with_its_settings_in_the_protocol(seed):
    logits = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * 3
    metric = InceptionScore(splits=4, seed=seed)
    assert metric.compute(Statistics(logits=logits), Statistics()) == fn.inception_score(logits, 4, seed)
    assert metric.protocol() == ({"is_splits": 4} if seed is None else {"is_splits": 4, "is_shuffle_seed": seed})
    assert [figure.higher_is_better for figure in metric.figures] == [True, None]
