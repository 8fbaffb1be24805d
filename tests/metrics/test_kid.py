"""The kernel distance as a metric."""

from __future__ import annotations

import pytest
import torch

from gan_lab.metrics import functional as fn
from gan_lab.metrics.base import Setting, Statistics
from gan_lab.metrics.kid import KID

SIZES = dict(samples=999, num_features=4, num_logits=0, num_classes=5, knows_classes=False, feature_suffix="64")


@pytest.mark.parametrize("smallest", ["fakes", "reals", "pairwise"])
def test_a_subset_is_at_most_what_there_is(smallest):
    metric = KID(subset_size=100)
    counts = {"fakes": 100, "reals": 100, "pairwise": 100}
    assert metric.fit(Setting(**counts, **SIZES)) is metric
    with pytest.warns(UserWarning, match="kid_subset_size reduced from 100 to the 99 images"):
        assert metric.fit(Setting(**{**counts, smallest: 99}, **SIZES)) == KID(subset_size=99)
    with pytest.warns(UserWarning, match="kid64 is left out: it needs at least two images"):
        assert metric.fit(Setting(**{**counts, smallest: 1}, **SIZES)) is None


def test_it_is_the_distance_of_the_pairs_with_its_settings_in_the_protocol():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(50, 4, generator=generator), torch.randn(40, 4, generator=generator) + 1
    metric = KID(subsets=7, subset_size=20, seed=3)
    found = metric.compute(Statistics(pairs=a), Statistics(pairs=b))
    assert found == fn.kernel_distance(a, b, 7, 20, 3) and found[0] > 0.1
    assert metric.protocol() == {"kid": "7 subsets of 20"}
    assert [figure.higher_is_better for figure in metric.figures] == [False, None]
