"""What a metric is: the figures it gives, what it needs of fakes and reals, and how it computes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:  # protocols and figures can be read without importing torch
    from torch import Tensor

T = TypeVar("T")

OF_FEATURES = frozenset({"gaussian", "features", "pairs"})
OF_THE_BACKBONE = OF_FEATURES | {"logits"}
NEEDS = frozenset({f"{side}.{what}" for side in ("fake", "real") for what in (*OF_THE_BACKBONE, "images", "labels")})
NEEDS |= {"real.split_labels"}


@dataclass(frozen=True)
class Figure:
    """A number of an evaluation. `higher_is_better` is None where it ranks nothing, as a spread over splits does."""

    name: str
    higher_is_better: bool | None = None

    def improves(self, value: float, best: float) -> bool:
        """Whether `value` is strictly better than `best`; ValueError for a figure without a direction."""
        if self.higher_is_better is None:
            raise ValueError(f"{self.name} has no direction: neither of its values is the better one")
        return value > best if self.higher_is_better else value < best


class Gaussian(NamedTuple):
    """Mean (d) and unbiased covariance (d d), float64, of the features of n images; the covariance of one is NaN."""

    mean: Tensor
    cov: Tensor
    n: int


class Statistics:
    """What was measured of one side; a metric finds here what its `needs` name, and nothing else.

    gaussian: mean and covariance of the features of the images that enter the FID.
    features: these features themselves (n d), float32, in the order of the images.
    pairs: the first `pairwise` of them, for figures whose cost grows with pairs of images.
    images: as many images, uint8 (n c h w).
    logits: (n k), float32, of all samples, also those beyond the FID's.
    labels: int64 (n), the class of each: the one asked for (fakes), or the data's own (reals).
    split_labels: of the reals, the labels of the whole split, whether compared with or not.
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
        """`compute()`, kept for later calls: for what depends on this side alone. The reals stay from one evaluation
        to the next."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Setting:
    """What an evaluator offers its metrics."""

    samples: int  # fakes that are drawn
    fakes: int  # of them, those that enter the FID and the figures of pairs
    reals: int
    pairwise: int  # at most so many of either in figures of pairs
    num_features: int
    num_logits: int  # 0: the backbone has none
    num_classes: int  # of the dataset
    knows_classes: bool  # the backbone's classes are the dataset's
    feature_suffix: str = ""
    logit_suffix: str = ""


class Metric:
    """Base class of metrics. A metric of your own is a subclass, and one line of YAML under `metrics.extra`:

        class Sharpness(Metric):
            figures = (Figure("sharpness", higher_is_better=True),)
            needs = ("fake.images",)

            def compute(self, fake, real):
                return float(fake.images.float().diff(dim=-1).abs().mean())

    figures: what `compute` returns, in its order. Where the metric reads features or logits, the evaluator adds the
        backbone's name to theirs (fid becomes fid768 or fid_shapes).
    needs: what `compute` reads, as `fake.X` and `real.X` with X an attribute of `Statistics`. The evaluator
        accumulates what its metrics need, in one pass, and nothing else.
    """

    figures: Sequence[Figure] = ()
    needs: Sequence[str] = ()

    def compute(self, fake: Statistics, real: Statistics) -> float | Sequence[float]:
        """The values of `figures`, in their order; of a single one the number alone will do."""
        raise NotImplementedError

    def fit(self, setting: Setting) -> Metric | None:
        """The metric for this evaluation: itself, one with other settings, or None to leave it out.

        Called once, before anything is measured. `warn` says what changes; raise UserError for what cannot be.
        """
        return self

    def protocol(self) -> dict[str, Any]:
        """Settings that its figures depend on, for the evaluation's protocol: by default its plain attributes."""
        settings = asdict(self) if is_dataclass(self) and not isinstance(self, type) else vars(self)
        return {key: value for key, value in settings.items() if isinstance(value, (str, int, float, bool, NoneType))}

    def named_figures(self, setting: Setting) -> list[Figure]:
        """The figures under their names in this evaluation: `kid_std` at tap 768 is `kid768_std`."""
        what = {need.partition(".")[2] for need in self.needs}
        suffix = ""
        if what & OF_THE_BACKBONE:
            suffix = setting.feature_suffix if what & OF_FEATURES else setting.logit_suffix
        return [replace(figure, name=_with_suffix(figure.name, suffix)) for figure in self.figures]


def _with_suffix(name: str, suffix: str) -> str:
    """kid_std and 768 make kid768_std, intra_fid/3 intra_fid768/3, is_mean and _shapes is_shapes."""
    whole, slash, part = name.partition("/")
    stem = whole.removesuffix("_std")
    if suffix:
        stem = stem.removesuffix("_mean")
    return f"{stem}{suffix}{'_std' if whole.endswith('_std') else ''}{slash}{part}"


def warn(text: str) -> None:
    """Warn about what an evaluation leaves out or changes."""
    warnings.warn(text, stacklevel=2)
