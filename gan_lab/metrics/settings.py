"""What an evaluation is asked for, fitted to the numbers of images there are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from gan_lab.errors import UserError
from gan_lab.metrics.images import QUANTIZER
from gan_lab.metrics.protocol import lower_is_better, protocol_hash

K_PRECISION, K_DENSITY = 3, 5


class Extractor(Protocol):
    """uint8 images (n c h w) -> {"features": n d float32, and from a deep enough tap "logits": n k}."""

    name: str
    weights_sha256: str
    resize: str
    num_features: int
    num_logits: int  # 0 without logits

    def __call__(self, images: Tensor) -> dict[str, Tensor]: ...


@dataclass(kw_only=True)
class EvaluationSettings:
    """Settings of an evaluation and the protocol that follows from them.

    num_samples: fakes drawn; fid_samples: how many of them enter FID and the figures of pairs (None: all);
    num_real: reals compared against, from `real_split` (None: as many as fakes there, at most the split);
    splits: of the inception score; pairwise: at most so many fakes and reals in KID, precision, recall,
    density and coverage; best: the figure that chooses the best checkpoint (None: the FID). Raises ValueError
    for a value out of range, and warns where a figure is undefined or biased for the numbers asked for.
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
    kid: bool = True
    kid_subsets: int = 100
    kid_subset_size: int = 1_000
    precision_recall: bool = True
    pairwise: int = 10_000
    ema: bool = True
    truncation: float = 1.0
    seed: int = 0
    batch_size: int = 100
    best: str | None = None

    modes = False  # whether this backbone's classes are counted

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        self._check()
        self.use_ema = self.ema
        self.extractor = self._make_extractor()
        self.available: int = {"train": self.dataset.num_train, "test": self.dataset.num_test}[self.real_split]
        if self.available < 1:
            raise UserError(f"metrics.real_split={self.real_split}: dataset {self.dataset.name} has no such images")
        self.fakes: int = min(self.fid_samples or self.num_samples, self.num_samples)
        self.reals: int = min(self.num_real or self.fakes, self.available)
        self._settle()
        self.protocol: dict[str, Any] = self._protocol()
        self.protocol_hash: str = protocol_hash(self.protocol)
        self.best_metric: str = self._best()
        self.best_is_lower: bool = lower_is_better(self.best_metric)

    def _make_extractor(self) -> Extractor:
        raise NotImplementedError

    def key(self, figure: str) -> str:
        """The name of a figure (fid, is, is_std, kid, ...) under this backbone."""
        raise NotImplementedError

    def _check(self) -> None:
        counts = ("num_samples", "fid_samples", "num_real", "splits", "kid_subsets", "pairwise", "batch_size")
        for name in counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.kid_subset_size < 2:
            raise ValueError(f"kid_subset_size must be at least 2, not {self.kid_subset_size}")
        if self.real_split not in ("train", "test"):
            raise ValueError(f"real_split must be train or test, not '{self.real_split}'")
        if not 0 < self.truncation <= 1:
            raise ValueError(f"truncation must lie above 0 and at most 1, not {self.truncation}")

    def _settle(self) -> None:
        """Fit what was asked for to the numbers there are, and say what that changes."""
        fewest, d = min(self.fakes, self.reals), self.extractor.num_features
        self.has_fid, self.has_logits = fewest >= 2, self.extractor.num_logits > 0
        if not self.has_fid:
            _warn(f"{self.key('fid')} is left out: a covariance needs at least two images")
        elif fewest <= d:
            _warn(
                f"{self.key('fid')} from {fewest} images in {d} dimensions: the covariance is singular and "
                "the figure biased upwards; compare it only at this number of images"
            )
        if self.has_logits and self.splits > self.num_samples:
            _warn(f"splits reduced from {self.splits} to the {self.num_samples} samples there are")
            self.splits = self.num_samples
        smallest = min(fewest, self.pairwise)
        if self.kid and smallest < 2:
            _warn(f"{self.key('kid')} is left out: it needs at least two images")
            self.kid = False
        elif self.kid and smallest < self.kid_subset_size:
            _warn(f"kid_subset_size reduced from {self.kid_subset_size} to the {smallest} images there are")
            self.kid_subset_size = smallest
        if self.precision_recall and smallest <= K_DENSITY:
            _warn(f"{self.key('precision')} and its kin are left out: of {smallest} images none has "
                  f"{K_DENSITY} neighbours")  # fmt: skip
            self.precision_recall = False
        in_pairs = self.kid or self.precision_recall
        self.paired_fakes = min(self.fakes, self.pairwise) if in_pairs else 0
        self.paired_reals = min(self.reals, self.pairwise) if in_pairs else 0

    def _best(self) -> str:
        names = self.figures()
        if not names:
            raise UserError(f"no figure can be computed from {self.fakes} fakes and {self.reals} reals; take more")
        wanted = names[0] if self.best is None else self.best
        if wanted not in names:
            wanted = self.key(wanted)  # best=kid means kid768 or kid_shapes where that is the name
        if wanted not in names:
            raise UserError(f"metrics.best={self.best}: no such figure; there are {', '.join(names)}")
        return wanted

    def figures(self) -> list[str]:
        """The keys of what an evaluation returns."""
        names = ["fid"] if self.has_fid else []
        names += ["is", "is_std"] if self.has_logits else []
        names += ["kid", "kid_std"] if self.kid else []
        names += ["precision", "recall", "density", "coverage"] if self.precision_recall else []
        names += ["modes", "modes_kl"] if self.modes else []
        return [self.key(name) for name in names]

    def _backbone_protocol(self) -> dict[str, Any]:
        raise NotImplementedError

    def real_protocol(self) -> dict[str, Any]:
        """The part that the statistics of the reals depend on."""
        return {
            **self._backbone_protocol(),
            "weights_sha256": self.extractor.weights_sha256,
            "resize": self.extractor.resize,
            "quantizer": QUANTIZER,
            "num_real": self.reals,
            "real_split": self.real_split,
            "real_choice": "all" if self.reals == self.available else "random, seed 0",
            "dataset": self.dataset.name,
            "dataset_sha256": self.dataset.sha256,
            "resolution": self.dataset.resolution,
        }

    def _protocol(self) -> dict[str, Any]:
        return {
            **self.real_protocol(),
            "num_fake": self.num_samples,
            "num_fake_fid": self.fakes,
            "is_splits": self.splits if self.has_logits else None,
            "kid": f"{self.kid_subsets} subsets of {self.kid_subset_size}" if self.kid else None,
            "neighbours": f"{K_PRECISION}, {K_DENSITY}" if self.precision_recall else None,
            "paired_fakes": self.paired_fakes,
            "paired_reals": self.paired_reals,
            "truncation": self.truncation,
            "weights_of_G": "ema" if self.use_ema else "raw",
            "bn_mode": "running statistics",
            "seed": self.seed,
        }


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)
