"""One rank of a gloo group, started by test_accumulators.py: python gloo_ranks.py RANK WORLD STORE SAMPLES..."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import distributed

from gan_lab.data.shapes import render
from gan_lab.errors import DivergedError
from gan_lab.metrics import Figure, LabelAccuracy, Metric, classifier_evaluator, functional
from gan_lab.metrics.accumulators import Accumulators


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


class Brightness(Metric):
    figures = (Figure("brightness", higher_is_better=True),)
    needs = ("fake.images",)

    def compute(self, fake, real):
        return float(fake.images.double().mean())


def accumulated(rank: int, world: int, samples: int) -> dict[str, object]:
    """This rank's share of fixed values, in batches of uneven size, after all ranks were added."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(samples, 6, generator=generator)
    logits = torch.randn(samples, 5, generator=generator) * 3
    images = torch.randint(0, 256, (samples, 1, 2, 2), generator=generator).to(torch.uint8)
    real = torch.randn(60, 6, generator=generator) + 0.2
    limits = {"gaussian": samples, "features": samples - 3, "logits": samples, "labels": samples, "images": samples}
    parts = Accumulators(limits, 6, torch.device("cpu"))
    for at in torch.arange(samples).split(11)[rank::world]:
        batch = {"features": features[at], "logits": logits[at], "labels": at, "images": images[at]}
        parts.update(int(at[0]), batch)
    if world > 1:
        parts.add_ranks()
    found = parts.compute()
    mean, cov, count = found["gaussian"]
    assert torch.equal(found["features"], features[: samples - 3]) and torch.equal(found["logits"], logits)
    assert torch.equal(found["labels"], torch.arange(samples)) and torch.equal(found["images"], images)
    return {
        "mean": mean.tolist(), "cov": cov.tolist(), "count": count, "is": functional.inception_score(logits, 7, seed=1),
        "kid": functional.kernel_distance(found["features"], real, 5, 10),
        "manifold": functional.manifold_figures(real, found["features"]),
    }  # fmt: skip


def figures_of(rank: int, world: int, samples: int) -> dict[str, object]:
    """What this rank gets of an evaluation and of the accumulators, and the error of a generator that diverged."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as cache:
        evaluator = classifier_evaluator(
            dataset=Shapes(), cache_dir=Path(cache), weights="shapes", num_samples=samples, batch_size=16,
            extra={"brightness": Brightness(), "labels": LabelAccuracy()}, conditional=True,
        )  # fmt: skip

        def sample(n):
            return torch.rand(n, 3, 32, 32) * 2 - 1, torch.randint(0, 16, (n,))

        figures = evaluator(sample, distributed=world > 1)
        calls = []

        def broken(n):  # on one rank alone
            images, y = sample(n)
            calls.append(n)
            images[:3] *= torch.nan if rank == 0 and len(calls) == 1 else 1
            return images, y

        try:
            evaluator(broken, distributed=world > 1)
            diverged = "no"
        except DivergedError as error:
            diverged = str(error)
    return {"accumulated": accumulated(rank, world, samples), "evaluator": figures, "diverged": diverged}


def main() -> None:
    rank, world, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    out = {samples: figures_of(rank, world, int(samples)) for samples in sys.argv[4:]}
    distributed.destroy_process_group()
    print(json.dumps(out), flush=True)
    os._exit(0)  # a rank may abort in the interpreter's teardown: see gan_lab.cli.train._leave


if __name__ == "__main__":
    main()
