"""Precision, recall, density and coverage as a metric."""

from __future__ import annotations

import pytest
import torch

from gan_lab.metrics import functional as fn
from gan_lab.metrics.base import Setting, Statistics
from gan_lab.metrics.manifold import Manifold

SIZES = dict(samples=99, num_features=4, num_logits=0, num_classes=5, knows_classes=False, feature_suffix="64")


@pytest.mark.parametrize("smallest", ["fakes", "reals", "pairwise"])
def test_it_needs_neighbours(smallest):
    counts = {"fakes": 6, "reals": 6, "pairwise": 6}
    assert Manifold().fit(Setting(**counts, **SIZES)) == Manifold()
    with pytest.warns(UserWarning, match="precision64, recall64, density64, coverage64 are left out: of 5 images none"):
        assert Manifold().fit(Setting(**{**counts, smallest: 5}, **SIZES)) is None


def test_fakes_are_judged_by_reals_and_the_reals_neighbours_are_found_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    reals, fakes = torch.randn(60, 4, generator=generator), 0.5 * torch.randn(40, 4, generator=generator)
    real = Statistics(pairs=reals)
    found = dict(
        zip([f.name for f in Manifold().figures], Manifold().compute(Statistics(pairs=fakes), real), strict=True)
    )
    assert found == fn.manifold_figures(reals, fakes)
    assert found["precision"] > found["recall"] > 0  # so that a mix-up of the sides would be seen
    monkeypatch.setattr(fn, "neighbour_distances", lambda *a: pytest.fail("found again"))
    assert Manifold().compute(Statistics(pairs=fakes), real) == list(found.values())
    assert Manifold().protocol() == {"neighbours": "3, 5"}
    assert all(figure.higher_is_better for figure in Manifold().figures)
