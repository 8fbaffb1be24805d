"""Suite `stylegan2`: the G step at 32 pixels against an implementation with a weight per sample."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F

from gan_lab.training.step import g_step
from scripts.benchmarks.baselines import with_weight_per_sample
from scripts.benchmarks.harness import Bench, Row, Work, compare
from scripts.benchmarks.memory import peak_memory
from scripts.benchmarks.step import built, words_of

RECIPE = "stylegan2"
GOALS = {4: 1.8, 16: 2.1}


def g_steps(bench: Bench, batch: int) -> dict[str, Work]:
    """One update of G without penalties through a D: written the usual way, and ours. The same weights in both."""
    torch.manual_seed(0)
    x = built(words_of(bench, RECIPE, batch))
    G = with_weight_per_sample(copy.deepcopy(x.G)).to(memory_format=torch.contiguous_format)
    D = copy.deepcopy(x.D).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(G.parameters(), lr=0.0025, betas=(0.0, 0.99))
    real = torch.zeros(batch, 3, 32, 32, device=bench.device)

    def usual() -> None:
        loss = F.softplus(-D(G(torch.randn(batch, x.G.z_dim, device=bench.device)))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    x.step = 1  # at which no lazy penalty is active
    return {"weight per sample": usual, "gan_lab": lambda: g_step(x, real)}


def one(bench: Bench, batch: int, variant: str) -> Work:
    return g_steps(bench, batch)[variant]


@torch.no_grad()
def difference(bench: Bench) -> float:
    """The largest difference of the two implementations' images, relative to the largest pixel."""
    torch.manual_seed(0)
    mine = built([*words_of(bench, RECIPE, 4), "generator.style_mixing=0", "generator.noise=constant"]).G
    theirs = with_weight_per_sample(copy.deepcopy(mine))
    z = mine.sample_z(4, bench.device)
    images = mine(z)
    return float((theirs(z) - images).abs().max() / images.abs().max())


def suite(bench: Bench) -> list[Row]:
    rows, error = [], difference(bench)
    for batch, goal in GOALS.items():
        found = compare(bench, f"G step, 32 x 32, batch {batch}", g_steps(bench, batch), rounds=bench.rounds(3))
        for row in found:
            row.peak_bytes = peak_memory(bench, "scripts.benchmarks.stylegan2:one", batch=batch, variant=row.variant)
        found[-1].facts["relative difference of images"] = error
        if bench.device.type == "cpu":
            found[-1].goal = ("faster", "at least", goal)
        rows += found
    return rows
