"""The base class of metrics, the figures (named numbers) that a metric computes, and the statistics that it reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:  # the report imports this module and must not import torch
    from torch import Tensor

T = TypeVar("T")

OF_FEATURES = frozenset({"gaussian", "features", "pairs"})
OF_THE_BACKBONE = OF_FEATURES | {"logits"}
NEEDS = frozenset({f"{side}.{what}" for side in ("fake", "real") for what in (*OF_THE_BACKBONE, "images", "labels")})
NEEDS |= {"real.split_labels"}


@dataclass(frozen=True)
class Figure:
    """A named number that a metric computes. higher_is_better: None if it ranks nothing, like a standard deviation."""

    name: str
    higher_is_better: bool | None = None

    def improves(self, value: float, best: float) -> bool:
        """Return whether `value` is strictly better than `best`. ValueError for a figure without a direction."""
        if self.higher_is_better is None:
            raise ValueError(f"{self.name} has no direction: neither of its values is the better one")
        return value > best if self.higher_is_better else value < best


class Gaussian(NamedTuple):
    """Mean (d) and unbiased covariance (d d), float64, of the features of n images. Covariance is NaN for n = 1."""

    mean: Tensor
    cov: Tensor
    n: int


class Statistics:
    """What was measured of the fakes or of the reals. It has the attributes that the metrics' `needs` name, no others.

    gaussian: mean and covariance of the features of the images used for FID.
    features: these features (n d), float32, in the order of the images.
    pairs: the first `pairwise` rows of `features`, for metrics whose cost is quadratic in the number of images.
    images: the images of `pairs`, uint8 (n c h w).
    logits: (n k), float32, of all samples, including those not used for FID.
    labels: int64 (n), the class of each sample: the requested class (fakes), or the dataset's label (reals).
    split_labels: of the reals only, the labels of the whole split.
    """

    gaussian: Gaussian
    features: Tensor
    pairs: Tensor
    images: Tensor
    logits: Tensor
    labels: Tensor
    split_labels: Tensor

    def __init__(self, **measured: Any) -> None:
        self.__dict__.update(measured)
        self._kept: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"'{name}' was not accumulated: add it to the `needs` of the metric that reads it")

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """Return `compute()`, cached under `name`. Use it for values of the reals, which all evaluations share."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]  # type: ignore[no-any-return]


def has_label_vectors(dataset: Any) -> bool:
    """Return whether an image has several labels, so that there are no figures by class. A dataset need not say so."""
    return bool(getattr(dataset, "multi_label", False))


@dataclass(frozen=True)
class Setting:
    """The sizes of an evaluation and the properties of its backbone, for `Metric.fit`."""

    samples: int  # fakes that are generated
    fakes: int  # of these, how many are used for FID and pairwise metrics
    reals: int
    pairwise: int  # the most fakes, and the most reals, that pairwise metrics use
    num_features: int
    num_logits: int  # 0 if the backbone has no logits
    num_classes: int  # of the dataset; 1 where an image has several labels
    knows_classes: bool  # the backbone's classes are the dataset's
    feature_suffix: str = ""
    logit_suffix: str = ""


def is_plain(value: Any) -> bool:
    """Whether a value can stand in a protocol: a number, text, True, False, None, or a collection of such."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return isinstance(value, (str, int, float, bool, NoneType))


class Metric:
    """Base class of metrics. To add your own, write a subclass and one line of YAML under `metrics.extra`:

        class Sharpness(Metric):
            figures = (Figure("sharpness", higher_is_better=True),)
            needs = ("fake.images",)

            def compute(self, fake, real):
                return float(fake.images.float().diff(dim=-1).abs().mean())

    figures: the numbers that `compute` returns, in this order. If the metric reads features or logits, the evaluator
        adds a suffix for the backbone to their names (fid becomes fid768 or fid_shapes).
    needs: what `compute` reads, as `fake.X` and `real.X` with X an attribute of `Statistics`. The evaluator
        collects only what some metric needs, in one pass.
    """

    figures: Sequence[Figure] = ()
    needs: Sequence[str] = ()

    def compute(self, fake: Statistics, real: Statistics) -> float | Sequence[float]:
        """Return the values of `figures`, in their order; a plain number if there is only one."""
        raise NotImplementedError

    def fit(self, setting: Setting) -> Metric | None:
        """Return the metric to use in this evaluation: `self`, a copy with other settings, or None to leave it out.

        Called once, before anything is measured. Call `warn` for a change; raise UserError if it cannot be computed.
        """
        return self

    def protocol(self) -> dict[str, Any]:
        """Return the settings that its figures depend on, for the protocol. By default: all plain attributes."""
        settings = asdict(self) if is_dataclass(self) and not isinstance(self, type) else vars(self)
        return {key: value for key, value in settings.items() if is_plain(value) and key not in ("figures", "needs")}

    def named_figures(self, setting: Setting) -> list[Figure]:
        """Return the figures with the names that they have in this evaluation: `kid_std` at tap 768 is `kid768_std`."""
        what = {need.partition(".")[2] for need in self.needs}
        suffix = ""
        if what & OF_THE_BACKBONE:
            suffix = setting.feature_suffix if what & OF_FEATURES else setting.logit_suffix
        return [replace(figure, name=_with_suffix(figure.name, suffix)) for figure in self.figures]


def _with_suffix(name: str, suffix: str) -> str:
    """Add a suffix: kid_std, 768 -> kid768_std; intra_fid/3, 768 -> intra_fid768/3; is_mean, _shapes -> is_shapes."""
    whole, slash, part = name.partition("/")
    stem = whole.removesuffix("_std")
    if suffix:
        stem = stem.removesuffix("_mean")
    return f"{stem}{suffix}{'_std' if whole.endswith('_std') else ''}{slash}{part}"


def warn(text: str) -> None:
    """Warn that a metric is left out or changed."""
    warnings.warn(text, stacklevel=2)
