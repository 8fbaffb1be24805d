"""Evaluating and sampling the generator of an experiment."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.data import indices, to_float
from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.experiment import Experiment
from gan_lab.nets.sampling import generate, sampler, with_standing_statistics

Check = Callable[[], None]  # raises to break an evaluation off

GRID_IMAGES = 64
GRID_COLUMNS, MOST_ROWS = 8, 16


def evaluate(exp: Experiment, check: Check | None = None) -> dict[str, float]:
    """Measure the averaged G, or the raw one, as the evaluator says; every process takes part and gets the figures.

    `check` is called before each batch.
    """
    evaluator = exp.evaluator
    assert evaluator is not None
    G = exp.G_ema if evaluator.ema else exp.G
    G = with_standing_statistics(G, evaluator.standing_statistics, evaluator.batch_size, evaluator.seed)
    draw = sampler(G, exp.device, evaluator.truncation)

    def sample(n: int) -> Any:
        if check is not None:
            check()
        return draw(n)

    return collectives.from_first(evaluator(sample, distributed=collectives.active()))


def grids(exp: Experiment) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Images (n c h w) and classes (n) to look at: "samples" of the averaged G and "raw" ones of G, of the same fixed
    latents, and "real" ones, always the same: the first that training draws.
    """
    with own_randomness(mix(exp.config.seed, "grid"), exp.device):  # of z, and of noise inside G
        z, y = fixed_latents(exp)
        samples, raw = generate(exp.G_ema, z, y), generate(exp.G, z, y)
    total = exp.dataset.num_train
    chosen = indices(exp.config.seed, 0, min(GRID_IMAGES, total), total)  # files may be sorted by class
    real = to_float(exp.dataset.images("train", chosen)).to(exp.device)
    labels = exp.dataset.labels("train")[chosen].to(exp.device) if exp.D.num_classes else None
    return {"samples": (samples, y), "raw": (raw, y), "real": (real, labels)}


def fixed_latents(exp: Experiment) -> tuple[Tensor, Tensor | None]:
    """z (n z_dim) and y (n) for a grid of GRID_COLUMNS columns: a row for each class, the same z along a column.

    n is GRID_IMAGES, or more for more than 8 classes: the first MOST_ROWS have a row each. Fewer begin again.
    """
    z = exp.G.sample_z(GRID_IMAGES, exp.device)
    if not exp.G.num_classes:
        return z, None
    rows = max(GRID_IMAGES // GRID_COLUMNS, min(exp.G.num_choices, MOST_ROWS))
    choice = torch.arange(rows, device=exp.device).repeat_interleave(GRID_COLUMNS) % exp.G.num_choices
    return z[:GRID_COLUMNS].repeat(rows, 1), exp.G.labels_of(choice)
