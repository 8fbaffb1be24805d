"""Figures of one set of images against another, neither of them drawn from a generator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gan_lab.metrics import functional
from gan_lab.metrics.evaluator import Evaluator
from gan_lab.metrics.folders import ImageSet
from gan_lab.metrics.real import chosen_indices
from gan_lab.metrics.states import GaussianStatistics

IS_SEED = 2020  # images of a folder come class by class, so the splits of the inception score are shuffled


class SetFacts:
    """What an evaluator asks of a dataset before it reads any image; all images are one class."""

    def __init__(self, images: ImageSet) -> None:
        first = images.read(0)
        self.name, self.sha256 = images.name, images.identity
        self.channels, self.resolution = int(first.shape[0]), int(first.shape[1])
        self.num_train, self.num_test, self.num_classes = images.n, 0, 1


def _features(evaluator: Evaluator, images: ImageSet, limit: int) -> dict[str, Tensor]:
    """Features (and logits) of at most `limit` images, chosen as the reals of a dataset are; on the CPU."""
    parts: dict[str, list[Tensor]] = {}
    for batch in images.batches(chosen_indices(images.n, limit), evaluator.batch_size):
        for name, values in evaluator.extractor(batch).items():
            parts.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def _frechet(a: Tensor, b: Tensor) -> float:
    if min(len(a), len(b)) < a.shape[1]:
        return functional.frechet_distance_of_features(a, b)
    statistics: list[Tensor] = []
    for features in (a, b):
        gaussian = GaussianStatistics(features.shape[1], sync_on_compute=False)
        for part in features.split(1000):
            gaussian.update(part)
        statistics += gaussian.compute()[:2]
    return functional.frechet_distance(*statistics)


def compare_sets(evaluator: Evaluator, a: ImageSet, b: ImageSet) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures of set `a` in the place of the fakes against `b` in that of the reals, and their protocol.

    The evaluator was made with `SetFacts(b)` as its dataset and the size of `a` as the most samples.
    """
    taps = _features(evaluator, a, evaluator.num_samples)
    reals = _features(evaluator, b, evaluator.reals)["features"]
    fakes = taps["features"][: evaluator.fakes]
    out: dict[str, float] = {}
    if evaluator.has_fid:
        out["fid"] = _frechet(fakes, reals)
    if evaluator.has_logits:
        out["is"], out["is_std"] = functional.inception_score(taps["logits"], evaluator.splits, IS_SEED)
    x, y = fakes[: evaluator.paired_fakes], reals[: evaluator.paired_reals]
    if evaluator.kid:
        how = (evaluator.kid_subsets, evaluator.kid_subset_size, evaluator.seed)
        out["kid"], out["kid_std"] = functional.kernel_distance(x, y, *how)
    if evaluator.precision_recall:
        out |= functional.manifold_figures(y, x)
    if evaluator.modes:
        out["modes"] = float(taps["logits"].argmax(dim=1).unique().numel())
    protocol = {k: v for k, v in evaluator.protocol.items() if k not in ("truncation", "weights_of_G", "bn_mode")}
    protocol |= {"resolution": "as stored", "fakes": a.name, "fakes_sha256": a.identity}
    if evaluator.has_logits:
        protocol["is_shuffle_seed"] = IS_SEED
    return {evaluator.key(name): value for name, value in out.items()}, protocol
