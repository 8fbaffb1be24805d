"""Suite `metrics`: Inception features against torch-fidelity, Frechet distance against torchmetrics, all figures."""

from __future__ import annotations

import tempfile

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.image.fid import _compute_fid

from gan_lab.distributed.device import exact_fp32
from gan_lab.metrics import functional
from gan_lab.metrics.accumulators import GaussianStatistics
from gan_lab.metrics.backbones.inception import InceptionFID
from gan_lab.metrics.backbones.inception_weights import CPU_CHUNK
from scripts.benchmarks.harness import Bench, Row, Spread, compare

IMAGES = 32
DIMENSIONS, LOGITS = 2048, 1008
COUNT, PAIRS = 10_000, 5_000  # samples of an evaluation, and those of them in the figures of pairs: the default's


class RandomInception(FeatureExtractorInceptionV3):  # type: ignore[misc]
    """torch-fidelity's network as it is drawn, where there are no weights: the same operations."""

    def load_state_dict(self, *_: object, **__: object) -> None:  # type: ignore[override]
        return None


def torch_fidelity(tap: str, weights: str | None) -> torch.nn.Module:
    """torch-fidelity's network up to `tap`, with the weights of a file or random ones."""
    if weights is not None:
        return FeatureExtractorInceptionV3("inception-v3-compat", [tap], weights)
    torch.manual_seed(0)
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save({}, file.name)
        return RandomInception("inception-v3-compat", [tap], file.name)


def images(n: int, seed: int) -> Tensor:
    """Smooth random uint8 images, n 3 32 32."""
    rough = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(rough, size=32, mode="bilinear", align_corners=False)
    return (smooth * 60 + 128).clamp(0, 255).round().to(torch.uint8)


@torch.no_grad()
def features(bench: Bench) -> list[Row]:
    """Images per second through the backbone; 768 features with a weights file (it may lack the rest), else 2048."""
    tap = "768" if bench.weights else "2048"
    theirs = torch_fidelity(tap, bench.weights).to(bench.device)
    ours = InceptionFID(theirs.state_dict(), tap).eval().requires_grad_(False).to(bench.device)
    batch = images(IMAGES, 0).to(bench.device)
    chunk = CPU_CHUNK if bench.device.type == "cpu" else IMAGES

    def run(x: Tensor) -> Tensor:
        with exact_fp32(bench.device):
            return torch.cat([ours(part)["features"] for part in x.split(chunk)])

    works = {"torch-fidelity": lambda: theirs(batch), "gan_lab": lambda: run(batch)}
    rows = compare(bench, f"Inception features, tap {tap}, 32 x 32 images", works, rounds=bench.rounds(4))
    for row in rows:
        assert row.seconds is not None
        row.facts["images per second"] = round(IMAGES / row.seconds.median, 1)
    other = images(IMAGES, 1).to(bench.device)
    a, b = [(theirs(x)[0], run(x)) for x in (batch, other)]
    distances = [functional.frechet_distance_of_features(a[i], b[i]) for i in (0, 1)]
    rows[-1].facts["relative difference of features"] = float((a[0] - a[1]).abs().max() / a[0].abs().max())
    rows[-1].facts["relative difference of FID"] = abs(distances[1] / distances[0] - 1)
    rows[-1].goal = ("faster", "at least", 1.9)
    return rows


def gaussians() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Two Gaussians whose covariances commute, and their exact distance, |m|^2 + sum (sqrt a - sqrt b)^2."""
    generator = torch.Generator().manual_seed(0)
    kind = {"dtype": torch.float64, "generator": generator}
    basis, _ = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS, **kind))  # type: ignore[call-overload]
    a, b = (torch.rand(DIMENSIONS, **kind).pow(4) + 1e-4 for _ in range(2))  # type: ignore[call-overload]
    mean = torch.rand(DIMENSIONS, **kind) * 0.1  # type: ignore[call-overload]
    exact = float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    covariances = [(basis * values) @ basis.T for values in (a, b)]
    cov_a, cov_b = ((c + c.T) / 2 for c in covariances)
    return mean, cov_a, torch.zeros_like(mean), cov_b, exact


def frechet(bench: Bench) -> list[Row]:
    """The distance of two Gaussians in 2048 dimensions, without and with the root that the reals' cache keeps."""
    *given, exact = gaussians()
    mean_a, cov_a, mean_b, cov_b = (x.to(bench.device) for x in given)  # type: ignore[union-attr]
    root = functional.covariance_root(cov_b)
    works = {
        "torchmetrics": lambda: float(_compute_fid(mean_a, cov_a, mean_b, cov_b)),
        "gan_lab, root not cached": lambda: functional.frechet_distance(mean_a, cov_a, mean_b, cov_b),
        "gan_lab": lambda: functional.frechet_distance(mean_a, cov_a, mean_b, cov_b, root),
    }
    rows = compare(bench, f"Frechet distance, {DIMENSIONS} dimensions", works, rounds=bench.rounds(2))
    for row in rows:
        row.facts["relative error"] = abs(works[row.variant]() / exact - 1)
    rows[-1].goal = ("faster", "at least", 2.5)
    return rows


def all_figures(bench: Bench, per_image: float) -> list[Row]:
    """What an evaluation of `COUNT` samples takes with FID alone, and with IS, KID, precision and recall as well.

    The protocol is that of `metrics=inception`. The backbone's part is `per_image` seconds each, as measured above;
    the figures are computed from random features. The evaluation of the reals is cached in both.
    """
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(COUNT, DIMENSIONS, generator=generator).to(bench.device) for _ in range(2))
    logits = torch.randn(COUNT, LOGITS, generator=generator).to(bench.device)
    mean, cov = functional.mean_and_covariance(real)
    root = functional.covariance_root(cov)

    def fid() -> None:
        state = GaussianStatistics(DIMENSIONS, bench.device)
        for part in fake.split(100):
            state.update(part)
        found_mean, found_cov, _ = state.compute()
        functional.frechet_distance(found_mean, found_cov, mean, cov, root)

    def rest() -> None:
        functional.inception_score(logits)
        functional.kernel_distance(fake[:PAIRS], real[:PAIRS])
        functional.manifold_figures(real[:PAIRS], fake[:PAIRS])

    times = [Spread.of([bench.seconds(work) for _ in range(bench.rounds(1))]) for work in (fid, rest)]
    alone = COUNT * per_image + times[0].median
    case = f"evaluation of {COUNT} samples"
    return [
        Row(case, "FID alone", facts={"seconds": round(alone, 1), "of it after the backbone": times[0].median}),
        Row(case, "IS, FID, KID, precision, recall, density, coverage",
            facts={"seconds": round(alone + times[1].median, 1),
                   "of it after the backbone": times[0].median + times[1].median,
                   "times FID alone": round((alone + times[1].median) / alone, 4)},
            goal=("times FID alone", "at most", 1.1)),
    ]  # fmt: skip


def suite(bench: Bench) -> list[Row]:
    rows = features(bench)
    seconds = rows[-1].seconds
    assert seconds is not None
    return [*rows, *frechet(bench), *all_figures(bench, seconds.median / IMAGES)]
