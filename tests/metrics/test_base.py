"""Figures, their names under a backbone, and what a metric says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from gan_lab.metrics.base import Figure, Metric, Setting, Statistics
from gan_lab.metrics.protocol import protocol_hash

SETTING = Setting(
    samples=10, fakes=10, reals=10, pairwise=10, num_features=4, num_logits=3, num_classes=3, knows_classes=True,
    feature_suffix="768", logit_suffix="_net",
)  # fmt: skip


def test_a_figure_improves_in_its_direction_and_strictly():
    grows, shrinks = Figure("a", higher_is_better=True), Figure("b", higher_is_better=False)
    assert grows.improves(2.0, 1.0) and not grows.improves(1.0, 2.0) and not grows.improves(1.0, 1.0)
    assert shrinks.improves(1.0, 2.0) and not shrinks.improves(2.0, 1.0) and not shrinks.improves(1.0, 1.0)
    with pytest.raises(ValueError, match="c has no direction"):
        Figure("c").improves(1.0, 2.0)


@pytest.mark.parametrize(
    ("needs", "name", "named"),
    [
        (("fake.gaussian", "real.gaussian"), "fid", "fid768"),
        (("fake.pairs", "real.pairs"), "kid_std", "kid768_std"),
        (("fake.features", "fake.labels"), "intra_fid/3", "intra_fid768/3"),
        (("fake.logits",), "is_mean", "is_net"),
        (("fake.logits",), "is_std", "is_net_std"),
        (("fake.logits", "real.split_labels"), "modes_kl", "modes_kl_net"),
        (("fake.logits", "fake.features"), "both", "both768"),
        (("fake.images", "real.images"), "sharpness", "sharpness"),
        (("fake.labels",), "mean_label", "mean_label"),
    ],
)
def test_figures_are_named_by_what_they_are_made_from(needs, name, named):
    class Any(Metric):
        figures = (Figure(name, higher_is_better=True),)

    metric = Any()
    metric.needs = needs
    assert metric.named_figures(SETTING) == [Figure(named, higher_is_better=True)]


def test_without_a_suffix_names_stay():
    class Score(Metric):
        figures = (Figure("is_mean"), Figure("is_std"))
        needs = ("fake.logits",)

    plain = Setting(samples=1, fakes=1, reals=1, pairwise=1, num_features=1, num_logits=1, num_classes=1,
                    knows_classes=False)  # fmt: skip
    assert [figure.name for figure in Score().named_figures(plain)] == ["is_mean", "is_std"]


def test_the_protocol_has_the_plain_settings():
    @dataclass(frozen=True)
    class Frozen(Metric):
        size: int = 3
        word: str = "x"

    class Loose(Metric):
        def __init__(self):
            self.rate, self.net, self.off = 0.5, object(), None

    assert Frozen().protocol() == {"size": 3, "word": "x"}
    assert Loose().protocol() == {"rate": 0.5, "off": None}

    class Box(Metric):
        def __init__(self, **settings):
            self.__dict__ |= settings

    kept = {"box": (4, 4), "names": ["a", None], "table": {"a": {"b": (1, True)}}}
    assert Box(**kept, nets=[object()], keys={1: "a"}, images=torch.zeros(1)).protocol() == kept
    hashes = {protocol_hash(Box(box=box).protocol()) for box in ((4, 4), (16, 16))}
    assert len(hashes) == 2


def test_what_is_kept_is_computed_once():
    calls = []
    statistics = Statistics(images=1)
    assert [statistics.once("a", lambda: calls.append(1) or len(calls)) for _ in range(3)] == [1, 1, 1]
    assert statistics.once("b", lambda: 7) == 7 and statistics.images == 1
