"""The states as torchmetrics modules, for code that collects metrics that way (MetricCollection, Lightning)."""

from __future__ import annotations

from typing import Any

from torchmetrics import Metric

from gan_lab.metrics import states


class GaussianStatistics(states.GaussianStatisticsState, Metric):
    __doc__ = states.GaussianStatisticsState.__doc__
    full_state_update = False


class FrechetDistance(states.FrechetDistanceState, Metric):
    __doc__ = states.FrechetDistanceState.__doc__
    full_state_update = False


class InceptionScore(states.InceptionScoreState, Metric):
    __doc__ = states.InceptionScoreState.__doc__
    full_state_update = False


class FeatureBank(states.FeatureBankState, Metric):
    __doc__ = states.FeatureBankState.__doc__
    full_state_update = False

    def __init__(self, limit: int, **kwargs: Any) -> None:
        super().__init__(limit, compute_with_cache=False, **kwargs)


class ModeCounts(states.ModeCountsState, Metric):
    __doc__ = states.ModeCountsState.__doc__
    full_state_update = False
