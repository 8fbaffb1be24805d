"""Suite `data`: batches of 32 x 32 images, ours against a PIL DataLoader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gan_lab.data import Dataset, TrainingImages
from gan_lab.data.store import PackedStore
from scripts.benchmarks.baselines import pil_batches
from scripts.benchmarks.harness import Bench, Row, compare

BATCH = 64
COUNT = 10_000


def random_dataset(n: int, seed: int, side: int = 32) -> Dataset:
    """`n` random images in memory, with mirroring."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    labels = np.zeros(n, np.int64)
    store = PackedStore(Path("."), "random", n, 0, side, 3, 1, ("one",), "0" * 64, images, labels)
    return Dataset(store, hflip=True)


def suite(bench: Bench) -> list[Row]:
    """Random access, mirrored at random, float32 in [-1, 1] on the device, without worker processes."""
    dataset = random_dataset(COUNT, seed=0)
    theirs = pil_batches(dataset.store.images, dataset.store.labels, BATCH)
    ours = TrainingImages(dataset, bench.device, seed=0, batch_size=BATCH)
    draw = iter(range(10**9))
    works = {
        "PIL DataLoader": lambda: next(theirs).to(bench.device),
        "gan_lab": lambda: ours.batch(next(draw)),
    }
    rows = compare(bench, f"batch of {BATCH} at 32 x 32", works, rounds=bench.rounds(11), calls=64, warm=8)
    for row in rows:
        assert row.seconds is not None
        row.facts["images per second"] = round(BATCH / row.seconds.median)
    rows[-1].goal = ("faster", "at least", 9.0)
    return rows
