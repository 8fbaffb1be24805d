"""The divergence of histograms of classes."""

from __future__ import annotations

import math

import pytest
import torch

from gan_lab.metrics import functional as fn


def test_label_divergence_is_kl():
    found = fn.label_divergence(torch.tensor([3, 1, 0]), torch.tensor([10, 10, 20]))
    assert found == pytest.approx(0.75 * math.log(3) + 0.25 * math.log(1), rel=1e-12)
    assert fn.label_divergence([5, 0], [10, 10]) == pytest.approx(math.log(2))
    assert fn.label_divergence([2, 2], [7, 7]) == 0
    assert 0 < fn.label_divergence([1, 1], [10, 0]) < math.inf  # a class that the reference lacks
    with pytest.raises(ValueError, match="empty"):
        fn.label_divergence([0, 0], [1, 1])
