"""Suite `bf16`: how far the gradient of one update is from the same in float64. Nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gan_lab.distributed.device import use_tf32
from gan_lab.experiment import Experiment
from gan_lab.training.step import d_step, g_step
from scripts.benchmarks.harness import Bench, Row
from scripts.benchmarks.step import built, words_of

CASES = {"sngan_resnet": "SNGAN ResNet", "bssn_cnn": "BSSN CNN", "dcgan": "DCGAN"}
WIDTH, BATCH, SEEDS = 0.25, 16, 5
UPDATES: dict[str, Callable[[Experiment, Tensor], Any]] = {"D": d_step, "G": g_step}


def gradient(bench: Bench, words: Sequence[str], side: str, precision: str, seed: int) -> Tensor:
    """Return the gradient of an update of D or G by all its parameters, one vector in float64.

    Weights, images and latents are those of float32 in every `precision`: "fp32", "bf16" or "float64".
    """
    x = built([*words, f"seed={seed}", f"trainer.precision={'bf16' if precision == 'bf16' else 'fp32'}"])
    real = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (BATCH, 3, 32, 32))).float().to(bench.device)
    if precision == "float64":
        for net in (x.G, x.D):
            net.double().register_forward_pre_hook(_doubled)
        real = real.double()
    use_tf32(False)
    torch.manual_seed(seed)
    UPDATES[side](x, real)
    net = x.D if side == "D" else x.G
    return torch.cat([p.grad.double().flatten() for p in net.parameters() if p.grad is not None])


def _doubled(net: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for v in given)


def error(found: Tensor, exact: Tensor) -> float:
    """Norm of the difference over the norm of what is exact."""
    return float((found - exact).norm() / exact.norm())


def suite(bench: Bench) -> list[Row]:
    """A row for the gradient of each net of each case: the median relative errors in fp32 and in bf16.

    Medians, since one ReLU whose input rounds to the other side of 0 makes a seed's error many times as large.
    """
    rows = []
    for recipe, title in CASES.items():
        words = [*words_of(bench, recipe, BATCH), f"width={WIDTH}"]
        for side in UPDATES:
            found: dict[str, list[float]] = {"fp32": [], "bf16": []}
            for seed in range(SEEDS):
                exact = gradient(bench, words, side, "float64", seed)
                for precision, errors in found.items():
                    errors.append(error(gradient(bench, words, side, precision, seed), exact))
            facts: dict[str, Any] = {name: float(np.median(errors)) for name, errors in found.items()}
            rows.append(
                Row(f"{title}, width {WIDTH:g}, batch {BATCH}", f"gradient of {side}", facts=facts | {"seeds": SEEDS})
            )
    return rows
