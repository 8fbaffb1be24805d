"""The settings of an evaluation, adjusted to the numbers of images that are available."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_lab.config.ranges import METRIC_RANGES
from gan_lab.config.targets import locate
from gan_lab.errors import UserError
from gan_lab.metrics.base import NEEDS, Figure, Metric, Setting, has_label_vectors
from gan_lab.metrics.fid import FID
from gan_lab.metrics.images import QUANTIZER
from gan_lab.metrics.inception_score import InceptionScore
from gan_lab.metrics.kid import KID
from gan_lab.metrics.manifold import Manifold
from gan_lab.metrics.modes import Modes
from gan_lab.metrics.protocol import DIRECTIONS, protocol_hash
from gan_lab.metrics.torchmetrics_adapter import adapted

_PAIRWISE = frozenset({"pairs", "images"})
RESERVED = frozenset({"step", "images_seen", "wall_seconds", "protocol", "checkpoint", "evaluated", "events"})
"""Keys of a row of metrics.jsonl that are no figures."""


class Extractor(Protocol):
    """A backbone: uint8 images (n c h w) -> {"features": n d float32, "logits": n k if num_logits > 0}."""

    protocol: dict[str, Any]  # backbone, tap, weights_sha256, resize
    num_features: int
    num_logits: int  # 0 if it has no logits
    feature_suffix: str  # added to the names of figures computed from features
    logit_suffix: str  # added to the names of figures computed from logits
    cpu_chunk: int  # images that it reads at a time on a CPU
    counts_modes: bool  # whether `Modes` is among the built-in metrics
    knows_classes: bool  # whether its classes are the dataset's

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...

    def differentiable(self, images: Tensor) -> Tensor:
        """Return the features (n d) of images in [-1, 1] (n c h w), through which gradients flow."""


@dataclass(kw_only=True)
class EvaluationSettings:
    """Settings of an evaluation, and the metrics and the protocol that they define.

    num_samples: number of fakes. fid_samples: how many of them are used for FID and pairwise metrics (None: all).
    num_real: number of reals of `real_split` (None: as many as fakes, at most the whole split).
    splits: parts of the inception score; samples are shuffled by `splits_seed` first if it is set.
    pairwise: the most fakes, and the most reals, used for KID, precision, recall, density and coverage, and for metrics
        that read images.
    extra: name -> a metric besides the built-in ones, a `Metric` or a torchmetrics module.
    standing_statistics: batches of `batch_size` images of G over which its batch norms take their statistics (0: the
        running ones).
    conditional: the generator takes classes. fake_labels: how these are drawn.
    best: the figure that selects the best checkpoint, with or without the backbone's suffix (None: FID).

    Derived attributes: `metrics`; `figures`, in the order of an evaluation's row; `best_figure`; `protocol`;
    `protocol_hash`; `extractor`.

    Raises ValueError for a value out of range. Warns if a figure is undefined or biased for these numbers of images.
    """

    dataset: Any
    cache_dir: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    weights: str | None = None
    num_samples: int = 50_000
    fid_samples: int | None = None
    num_real: int | None = None
    real_split: str = "train"
    splits: int = 10
    splits_seed: int | None = None
    kid: bool = True
    kid_subsets: int = 100
    kid_subset_size: int = 1_000
    precision_recall: bool = True
    pairwise: int = 10_000
    extra: dict[str, Any] = field(default_factory=dict)
    ema: bool = True
    truncation: float = 1.0
    standing_statistics: int = 0
    conditional: bool = False
    fake_labels: str = "uniform"
    seed: int = 0
    batch_size: int = 100
    best: str | None = None

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        self._check()
        self.extractor = self.make_extractor()
        self.available: int = {"train": self.dataset.num_train, "test": self.dataset.num_test}[self.real_split]
        if self.available < 1:
            raise UserError(f"metrics.real_split={self.real_split}: dataset {self.dataset.name} has no such images")
        self.fakes: int = min(self.fid_samples or self.num_samples, self.num_samples)
        self.reals: int = min(self.num_real or self.fakes, self.available)
        setting = Setting(
            samples=self.num_samples,
            fakes=self.fakes,
            reals=self.reals,
            pairwise=self.pairwise,
            num_features=self.extractor.num_features,
            num_logits=self.extractor.num_logits,
            num_classes=1 if has_label_vectors(self.dataset) else self.dataset.num_classes,
            knows_classes=self.extractor.knows_classes,
            feature_suffix=self.extractor.feature_suffix,
            logit_suffix=self.extractor.logit_suffix,
        )
        fitted = [metric.fit(setting) for metric in self._chosen()]
        self.built_in = [metric for metric in fitted if metric is not None]
        extra = {name: self._adapted(name, metric).fit(setting) for name, metric in self.extra.items()}
        self.extra = {name: metric for name, metric in extra.items() if metric is not None}
        self.metrics: list[Metric] = [*self.built_in, *self.extra.values()]
        named = [pair for m in self.metrics for pair in zip(m.figures, m.named_figures(setting), strict=True)]
        self.figures: list[Figure] = [figure for _, figure in named]
        self.best_figure: Figure = self._best(self.best, named)
        self.paired_fakes = min(self.fakes, self.pairwise) if self.needs("fake") & _PAIRWISE else 0
        self.paired_reals = min(self.reals, self.pairwise) if self.needs("real") & _PAIRWISE else 0
        self.protocol: dict[str, Any] = self._protocol()
        self.protocol_hash: str = protocol_hash(self.protocol)

    @classmethod
    def prepare(cls, node: Mapping[str, Any], fetch: bool) -> None:
        """Find or fetch the backbone's file for the settings of a node; without `fetch`, check it if it is here.

        Called before anything that takes long, so that it fails early. Raises UserError if it cannot be had or used.
        """

    def make_extractor(self) -> Extractor:
        raise NotImplementedError

    def _check(self) -> None:
        for name, allowed in METRIC_RANGES.items():
            if not allowed.holds(getattr(self, name)):
                raise ValueError(f"{name} must be {allowed.text}, not {getattr(self, name)!r}")
        if not isinstance(self.extra, Mapping):
            raise ValueError(f"extra must give each metric a name, as in {{mine: ...}}, not {self.extra!r}")

    def _chosen(self) -> list[Metric]:
        """Return the built-in metrics that the settings enable and the backbone supports."""
        chosen: list[Metric] = [FID()]
        if self.extractor.num_logits:
            chosen.append(InceptionScore(self.splits, self.splits_seed))
        if self.kid:
            chosen.append(KID(self.kid_subsets, self.kid_subset_size, self.seed))
        if self.precision_recall:
            chosen.append(Manifold())
        if self.extractor.counts_modes:
            chosen.append(Modes())
        return chosen

    def _adapted(self, name: str, metric: Any) -> Metric:
        """Convert an entry of `extra` to a Metric. UserError if the evaluation cannot supply what it needs."""
        key, metric = f"metrics.extra.{name}", adapted(name, metric)
        unknown = [need for need in metric.needs if need not in NEEDS]
        if unknown:
            raise UserError(f"{key} needs '{unknown[0]}', which is none of {', '.join(sorted(NEEDS))}")
        if not self.extractor.num_logits and any(need.endswith(".logits") for need in metric.needs):
            raise UserError(f"{key} needs logits, which this backbone does not give; choose metrics.feature=2048, or "
                            "metrics=classifier")  # fmt: skip
        if "fake.labels" in metric.needs and not self.conditional:
            raise UserError(f"{key} needs the classes that fakes were asked for, but the generator is unconditional")
        return metric

    def _best(self, wanted: str | None, named: Sequence[tuple[Figure, Figure]]) -> Figure:
        """Return the figure that selects the best checkpoint.

        named: every figure as its metric declares it, and with its name in this evaluation.
        """
        names = [figure.name for figure in self.figures]
        twice = next((name for name in names if names.count(name) > 1), None)
        reserved = next((name for name in names if name in RESERVED), None)
        if reserved is not None:
            raise UserError(f"a metric gives a figure named {reserved}, which is a key of every row of metrics.jsonl: "
                            "rename that of the one in metrics.extra")  # fmt: skip
        if twice is not None:
            raise UserError(f"two metrics give a figure named {twice}: rename that of the one in metrics.extra")
        directed = [figure for figure in self.figures if figure.higher_is_better is not None]
        if not directed:
            raise UserError(f"no figure can be computed from {self.fakes} fakes and {self.reals} reals; take more")
        if wanted is None:
            return directed[0]
        # best=kid also means kid768 or kid_shapes
        called = [(figure.name, figure) for figure in self.figures]
        called += [(name, figure) for own, figure in named for name in (own.name, own.name.removesuffix("_mean"))]
        found = next((figure for name, figure in called if name == wanted), None)
        if found not in directed:
            reason = "no such figure" if found is None else "it does not say which of two generators is better"
            there = ", ".join(figure.name for figure in directed)
            raise UserError(f"metrics.best={wanted}: {reason}; there are {there}")
        return found  # type: ignore[return-value]

    def needs(self, side: str) -> set[str]:
        """Return the attributes of `Statistics` that the metrics need of the "fake" or the "real" side."""
        names = (need.split(".") for metric in self.metrics for need in metric.needs)
        return {what for of, what in names if of == side}

    def limits(self, side: str) -> dict[str, int]:
        """Return attribute of `Statistics` -> how many samples it covers, of what the metrics need of a side."""
        total, fid = (self.num_samples, self.fakes) if side == "fake" else (self.reals, self.reals)
        paired = self.paired_fakes if side == "fake" else self.paired_reals
        limits = {"gaussian": fid, "features": fid, "pairs": paired, "images": paired, "logits": total, "labels": total}
        return {need: limits[need] for need in limits if need in self.needs(side)}

    def real_protocol(self) -> dict[str, Any]:
        """Return the part of the protocol that the statistics of the reals depend on."""
        return {
            **self.extractor.protocol,
            "quantizer": QUANTIZER,
            "num_real": self.reals,
            "real_split": self.real_split,
            "real_choice": "all" if self.reals == self.available else "random, seed 0",
            "dataset": self.dataset.name,
            "dataset_sha256": self.dataset.sha256,
            "resolution": self.dataset.resolution,
        }

    def _protocol(self) -> dict[str, Any]:
        standing = f"standing statistics of {self.standing_statistics} batches of {self.batch_size}"
        entries = {
            **self.real_protocol(),
            "num_fake": self.num_samples,
            "num_fake_fid": self.fakes,
            **dict.fromkeys(("is_splits", "kid", "neighbours")),  # None if that metric is off
            **{key: value for metric in self.built_in for key, value in metric.protocol().items()},
            "paired_fakes": self.paired_fakes,
            "paired_reals": self.paired_reals,
            "truncation": self.truncation,
            "weights_of_G": "ema" if self.ema else "raw",
            "bn_mode": standing if self.standing_statistics else "running statistics",
            "seed": self.seed,
        }
        if self.extra:
            entries["extra"] = {n: {"metric": type(m).__name__, **m.protocol()} for n, m in self.extra.items()}
            homes = {n: type(m).__module__ for n, m in self.extra.items()}  # of classes that may have the same name
            if own := {n: home for n, home in homes.items() if not home.startswith("gan_lab.")}:
                entries["extra_from"] = own
        if self.conditional:
            entries["fake_labels"] = self.fake_labels
        directions = {f.name: f.higher_is_better for f in self.figures if f.higher_is_better is not None}
        return {**entries, DIRECTIONS: directions}


def prepare(node: Mapping[str, Any] | None, extensions: Sequence[str] = (), fetch: bool = True) -> None:
    """Let the evaluator of a node of conf/metrics find or fetch its backbone. UserError if that cannot be had.

    fetch=False: check the backbone's file, if it is on this machine. UserError if it cannot be used.
    """
    found = locate(node["_target_"], "metrics", tuple(extensions)) if node else None
    if node and inspect.isclass(found) and issubclass(found, EvaluationSettings):
        found.prepare(node, fetch)
