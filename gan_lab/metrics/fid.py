"""Frechet inception distance (FID), over all images and per class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gan_lab.errors import UserError
from gan_lab.metrics import functional
from gan_lab.metrics.base import Figure, Metric, Setting, Statistics, warn


@dataclass(frozen=True)
class FID(Metric):
    """Frechet distance between Gaussians fitted to the features of fakes and reals (arXiv:1706.08500)."""

    figures = (Figure("fid", higher_is_better=False),)
    needs = ("fake.gaussian", "real.gaussian")

    def fit(self, setting: Setting) -> Metric | None:
        fewest, key = min(setting.fakes, setting.reals), self.named_figures(setting)[0].name
        if fewest < 2:
            warn(f"{key} is left out: a covariance needs at least two images")
            return None
        if fewest <= setting.num_features:
            warn(f"{key} from {fewest} images in {setting.num_features} dimensions: the covariance is singular and "
                 "the figure biased upwards; compare it only at this number of images")  # fmt: skip
        return self

    def compute(self, fake: Statistics, real: Statistics) -> float:
        root = real.once("covariance_root", lambda: functional.covariance_root(real.gaussian.cov))
        a, b = fake.gaussian, real.gaussian
        return functional.frechet_distance(a.mean, a.cov, b.mean, b.cov, root)


@dataclass(frozen=True)
class IntraFID(Metric):
    """Mean over classes of the FID between the fakes and the reals of one class (arXiv:1802.05637).

    With at most MOST_SHOWN classes, each class's FID is reported too, as `intra_fid/<class>`.
    """

    classes: int = 0  # set by `fit`

    needs = ("fake.features", "fake.labels", "real.features", "real.labels")
    MOST_SHOWN = 100

    @property
    def figures(self) -> Sequence[Figure]:  # type: ignore[override]
        shown = range(self.classes if self.classes <= self.MOST_SHOWN else 0)
        return [Figure("intra_fid", higher_is_better=False), *(Figure(f"intra_fid/{c}") for c in shown)]

    def fit(self, setting: Setting) -> Metric:
        if setting.num_classes < 2:
            raise UserError("intra_fid needs a dataset of at least two classes")
        if min(setting.fakes, setting.reals) < 2 * setting.num_classes:
            raise UserError(f"intra_fid needs two images of each of {setting.num_classes} classes, and there are "
                            f"{setting.fakes} fakes and {setting.reals} reals; take more samples")  # fmt: skip
        return replace(self, classes=setting.num_classes)

    def compute(self, fake: Statistics, real: Statistics) -> list[float]:
        fake_labels = fake.labels[: len(fake.features)]
        each = []
        for c in range(self.classes):
            a, b = fake.features[fake_labels == c], real.features[real.labels == c]
            if min(len(a), len(b)) < 2:
                raise UserError(f"intra_fid: class {c} has {len(a)} fakes and {len(b)} reals, and needs two of each; "
                                "take more samples, or reals that have every class")  # fmt: skip
            if min(len(a), len(b)) < a.shape[1]:  # faster without covariances
                each.append(functional.frechet_distance_of_features(a, b))
            else:
                moments = (*functional.mean_and_covariance(a), *functional.mean_and_covariance(b))
                each.append(functional.frechet_distance(*moments))
        return [sum(each) / len(each), *each][: len(self.figures)]
