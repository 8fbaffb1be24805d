"""Suite `whole`: 100,000 steps of SNGAN ResNet 32 with their evaluations, from the time of a part of them."""

from __future__ import annotations

import time

import torch

from gan_lab.data import TrainingImages
from gan_lab.distributed.device import exact_fp32
from gan_lab.metrics.backbones.inception import InceptionFID
from gan_lab.metrics.images import quantize
from gan_lab.training.accelerate import EAGER_BEFORE_CAPTURE, Updates
from gan_lab.training.clock import Clock
from gan_lab.training.ema import update_ema
from scripts.benchmarks.harness import Bench, Row
from scripts.benchmarks.metrics import torch_fidelity
from scripts.benchmarks.step import built, words_of

RECIPE = "sngan_resnet"
MEASURED = {"cuda": 2_000, "cpu": 3}  # steps
TOTAL, EVALUATIONS, SAMPLES, BATCH = 100_000, 21, 10_000, 250


def wait(device: torch.device) -> float:
    """The time when everything has been done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds_per_step(bench: Bench, steps: int) -> float:
    """Wall clock of a step with its data and averaging, in bf16, accelerated as `auto` does."""
    x = built(words_of(bench, RECIPE, None, "bf16"))
    reals = TrainingImages(x.dataset, x.device, 0, x.config.trainer.batch_size)
    clock, updates, n_dis = Clock(x), Updates(x, "auto"), x.config.trainer.n_dis

    def step() -> None:
        for substep in range(n_dis + 1):
            x.substep = substep
            clock.tick()
            images, y = reals.batch(x.step * n_dis + min(substep, n_dis - 1))
            updates.run("d" if substep < n_dis else "g", images, y)
        x.step, x.substep = x.step + 1, 0
        update_ema(x.G_ema, x.G, clock.ema_decay)

    for _ in range(EAGER_BEFORE_CAPTURE + 2):
        step()
    start = wait(x.device)
    for _ in range(steps):
        step()
    return (wait(x.device) - start) / steps


@torch.no_grad()
def seconds_per_sample(bench: Bench, samples: int) -> float:
    """Wall clock of drawing a sample and its Inception features (random weights have the same cost)."""
    G = built(words_of(bench, RECIPE, None)).G.eval()
    backbone = InceptionFID(torch_fidelity("2048", None).state_dict(), "2048").eval().to(bench.device)

    def batch() -> None:
        with exact_fp32(bench.device):
            backbone(quantize(G(G.sample_z(BATCH, bench.device))))

    batch()
    start = wait(bench.device)
    for _ in range(samples // BATCH):
        batch()
    return (wait(bench.device) - start) / (samples // BATCH * BATCH)


def suite(bench: Bench) -> list[Row]:
    kind = bench.device.type
    steps = bench.rounds(MEASURED[kind])
    step, sample = seconds_per_step(bench, steps), seconds_per_sample(bench, SAMPLES if kind == "cuda" else BATCH)
    minutes = (TOTAL * step + EVALUATIONS * SAMPLES * sample) / 60
    facts = {"steps measured": steps, "ms per step": step * 1e3, "ms per sample evaluated": sample * 1e3,
             "minutes": round(minutes, 1)}  # fmt: skip
    goal = ("minutes", "at most", 20.0) if kind == "cuda" else None
    case = f"SNGAN ResNet 32, {TOTAL:,} steps and {EVALUATIONS} evaluations of {SAMPLES:,} samples"
    return [Row(case, "bf16, extrapolated", facts=facts, goal=goal)]
