"""One rank of a gloo group, started by test_states.py: python gloo_ranks.py RANK WORLD STORE SAMPLES..."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import distributed

from gan_lab.data.shapes import render
from gan_lab.metrics import classifier_evaluator, functional, modules, states


class Shapes:
    """The least of a dataset."""

    def __init__(self) -> None:
        pixels, self.classes = (torch.from_numpy(x) for x in render(150, seed=3))
        self.pixels = pixels.permute(0, 3, 1, 2)
        self.name, self.sha256, self.resolution, self.channels = "shapes", "0" * 64, 32, 3
        self.num_classes, self.num_train, self.num_test = 16, 150, 0

    def images(self, split, indices):
        return self.pixels[indices]

    def labels(self, split):
        return self.classes


def states_of(kind: ModuleType, rank: int, world: int, samples: int) -> dict[str, object]:
    """The states fed with this rank's share of fixed features, in batches of uneven size."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(samples, 6, generator=generator)
    logits = torch.randn(samples, 5, generator=generator) * 3
    real = torch.randn(60, 6, generator=generator) + 0.2
    mean, cov = functional.mean_and_covariance(real)
    gaussian, frechet = kind.GaussianStatistics(6), kind.FrechetDistance(mean, cov)
    score, bank, modes = kind.InceptionScore(5, samples, 7, seed=1), kind.FeatureBank(samples - 3), kind.ModeCounts(5)
    bank.update(features[:0], torch.arange(0))
    for positions in torch.arange(samples).split(11)[rank::world]:
        gaussian.update(features[positions])
        frechet.update(features[positions])
        score.update(logits[positions], positions)
        bank.update(features[positions], positions)
        modes.update(logits[positions])
    fake = bank.compute()
    mean, cov, count = gaussian.compute()
    return {
        "mean": mean.tolist(), "cov": cov.tolist(), "count": count, "frechet": frechet.compute(),
        "is": score.compute(), "modes": modes.compute().tolist(), "features": fake.tolist(),
        "kid": functional.kernel_distance(fake, real, 5, 10),
        "manifold": functional.manifold_figures(real, fake),
    }  # fmt: skip


def figures_of(rank: int, world: int, samples: int) -> dict[str, object]:
    """What this rank gets of an evaluation and of the states."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as cache:
        evaluator = classifier_evaluator(
            dataset=Shapes(), cache_dir=Path(cache), weights="shapes", num_samples=samples, batch_size=16
        )
        figures = evaluator(lambda n: torch.rand(n, 3, 32, 32) * 2 - 1, distributed=world > 1)
    kinds = {kind.__name__.split(".")[-1]: states_of(kind, rank, world, samples) for kind in (states, modules)}
    return {**kinds, "evaluator": figures}


def main() -> None:
    rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    out = {samples: figures_of(rank, world, int(samples)) for samples in sys.argv[4:]}
    distributed.destroy_process_group()
    print(json.dumps(out), flush=True)
    os._exit(0)  # a rank may abort in the interpreter's teardown: see gan_lab.cli._leave


if __name__ == "__main__":
    main()
