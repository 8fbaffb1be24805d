"""From the JSON of a benchmark to tables: on the terminal, and as docs/performance.md."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from gan_lab.cli.main import script
from gan_lab.cli.options import option
from gan_lab.errors import UserError
from gan_lab.files import write_atomically
from scripts import markdown
from scripts.benchmarks.__main__ import RESULTS
from scripts.benchmarks.harness import Row, Spread

INTRODUCTION = """# Performance

Written by `python -m scripts.benchmarks.report` from `performance.json`, which `python -m scripts.benchmarks` wrote.
Every time is a median with its quartiles in brackets and the number of measurements behind it. The variants of one case
ran in turns and then in reverse (A B B A); "faster" is the ratio to the case's first variant, taken within each round,
so that a busy machine falls on all alike. On one CPU thread each variant waits for its turn in a process of its own,
because ours tells the allocator to keep what it frees, as training does, and the others do not. Where memory lies is
luck that lasts as long as a process: whole steps are timed in several processes each.

"textbook" is the same model, batch and optimizer in plain PyTorch as it is usually written
(`scripts/benchmarks/baselines.py`): torch's `spectral_norm` on every layer of D, a forward for reals and one for fakes,
eager, contiguous memory, resampling as layers of its own, D trainable in the G step. `tests/scripts/benchmarks` checks
that it computes the same numbers. On a CPU each update of D also fetches its batch, the textbook's from a DataLoader
through PIL; on a GPU, where worker processes would do so meanwhile, the batch is there already on both sides. The
updates of D, which are all alike, are timed once and counted `n_dis` times.

Peak memory is what one call adds: on a GPU beyond what the allocator held before, on a CPU the growth of resident
memory in a process of its own. Kernels on a CPU are the operators that compute, counted by torch's profiler.
"""
TITLES = {
    "step": "A training step against the textbook",
    "recipes": "The parts of every recipe's step",
    "operators": "What an update gives a GPU to do",
    "bf16": "What bf16 costs in precision",
    "peers": "A training step against the code of others",
    "gpu": "On one H200",
    "h200": "On one H200, commit fc704c5",
    "norm": "Spectral normalization of all weights of D for one D step",
    "stylegan2": "StyleGAN2",
    "metrics": "Metrics",
    "data": "Data",
    "startup": "Starting",
    "scaling": "Scaling",
    "several": "Several runs at once",
    "busy": "A busy machine",
    "whole": "A whole run",
}
NOTES = {
    "step": "The CNN is nearly nothing but large convolutions, which both sides compute at the processor's peak:\n"
    "ours makes one pass less through those of D, whose weights need no gradient in the G step. The ResNet gains more\n"
    "because resampling and shortcuts fold into fewer operations. On one thread times are processor time, on several\n"
    "by the wall clock. Because of the rows that compile, `accelerate=auto` does not do it on a CPU.",
    "norm": "What normalizing all of D's weights for one D step costs: forward, backward and power iteration. First\n"
    "within a D step on 64 reals and 64 fakes, whose convolutions take the caches in between, then alone, over and\n"
    "over, where all is at hand and both sides keep freed memory.",
    "operators": "Operators of one update, at each recipe's own batch size on 32 x 32 images (biggan_imagenet128:\n"
    "128 x 128), fp32, with no lazy penalty due: calls of torch's dispatcher that compute, counted on tensors\n"
    "that claim to be on CUDA and hold no numbers (`scripts/benchmarks/operators.py`). A call on a list of\n"
    "tensors counts once. A GPU launches more kernels than this (305 in TF32 where 205 are counted, BSSN CNN's D on\n"
    "an H200 below): the backward pass of a convolution is up to three, a bias or a padding one more. The undo puts\n"
    "the buffers back where a gradient is not finite, and is part of D and G. r3gan, wn_gan and wgan's G\n"
    "have more operators than before because their optimizers now read schedules and skip updates on the\n"
    "device: that is what lets CUDA graphs record them.\n\n"
    "**Casts in bf16.** autocast keeps the cast of a parameter for all forwards of an update, and drops it after: the\n"
    "updates of SNGAN ResNet and WGAN-GP cast 39 weights and biases, each once, also in a CUDA graph, which records\n"
    "the whole update (`tests/training/test_step.py`). Two kinds are cast for every forward: what a norm made of a\n"
    "weight, where D makes several forwards (StyleGAN2, crgan), and the weights of a frozen D where the loss of G\n"
    "needs the reals (R3GAN). A cast took about 2 us on the H200 below, so they stay. Forwards that share a cast add\n"
    "their gradients in bf16: against one cast a forward the gradient of wgan_gp's D differs by less than 0.4 % (the\n"
    "same tests). One operator for all casts would save most of their launches. It would have to know which layers\n"
    "stay in fp32, and no GPU has measured it: left out.\n\n"
    "**Copies and biases.** In fp32 a few operators of SNGAN ResNet's updates meet tensors in two memory orders: the\n"
    "copy that gives the first maps of G theirs and its gradient, the kernels of transposed convolutions,\n"
    "convolutions of three-channel images, and the ReLU before the sum over pixels, whose gradient is one number a\n"
    "channel. BSSN's operators are others in the norm only. cuDNN has no gradient of a bias: each convolution with\n"
    "one sums its gradient once more. A shortcut's is the same sum as that of the convolution beside it; they could\n"
    "share it, on small maps, where it is cheap. Left as it is, unmeasured.",
    "bf16": "Relative error of the gradient of an update against float64, from the same initial weights, images of\n"
    "uniform noise and latents, at the first step: norm of the difference over the norm of the exact gradient,\n"
    "medians over seeds. In fp32 one ReLU whose input rounds to the other side of 0 is seen, which happened in most\n"
    "seeds with SNGAN ResNet's G. Nets in bf16 keep their weights, losses and optimizers in fp32. Nothing is timed.",
    "peers": "SN-GAN's residual nets at 32 px, five updates of D and one of G on images of noise that are there\n"
    "already, each side with its own code for nets and updates; mimicry's is version 0.1.16, as\n"
    "`pip install --no-deps torch-mimicry` brings it, and bf16 is autocast around its updates.",
    "gpu": "Measured in the fifteen minutes for which the GPU was lent, with torch 2.11: `docs/results/h200-80d8158`\n"
    "has kernels by name, which recipes' graphs were captured, and what is left of the tests' output. Rows\n"
    "with a time are of the suite `step`, three rounds; the textbook is plain PyTorch here, mimicry's own code\n"
    "in the section below. Of the other rows each was measured once.\n\n"
    "**Where the time goes.** A graph's kernels take 91 to 99 % of the time that it takes, so launches cost\n"
    "little. Since fc704c5 a D update of SNGAN ResNet in bf16 has 469 kernels instead of 649, a G update 426\n"
    "instead of 616, and a step takes 17.9 ms instead of 20.0. In D's 2.7 ms of kernels, gradients of biases\n"
    "take 0.32, strided copies 0.23, the statistics of G's BatchNorm 0.16, its upsampling 0.14. StyleGAN2 is\n"
    "as slow as it was: of D's 20.7 ms, cuDNN turns layouts round for 5.4 and spends 4.6 in an older chip's\n"
    "kernel and in the gradients of depthwise convolutions, which the FIR filters are. Sums of shifted views,\n"
    "or a form over b c planes, are to be measured there.\n\n"
    "**Several runs on one GPU** take turns: four made 6 % fewer steps than one. NVIDIA's MPS lets their\n"
    "kernels run side by side: four made 33 % more steps than one, ten no more than four, and at a quarter of\n"
    "the width four made 62 % more. A single run is 13 to 18 % slower with it. These are steps alone: six\n"
    "whole runs of the study [gpu](results/gpu.md), with evaluations and `monitor=full`, made 247 steps/s\n"
    "together in the 391 s after their start. One whole run alone was not measured. Several models in one\n"
    "process (`torch.func.stack_module_state`), and `torch.compile` inside a captured update, were not tried.\n\n"
    "**What worked, and what did not.** 29 recipes of 34 were tried: all had their graphs, which agreed with\n"
    "the eager update, no update waited for the device (by torch's debug mode), and no logged number was\n"
    "infinite or NaN. biggan, biggan_imagenet128, reacgan, stylegan2 and wgan_gp were not reached. The default\n"
    "trained, and was evaluated, sampled, reconstructed and reported. Of the 51 tests marked gpu 48 ended\n"
    "before the time was up, and seven of them failed; the run was cut before it named them (`tests.txt`\n"
    "there). By reading, nine could hardly pass, of which two may not have ended: four compared bits where\n"
    "CUDA has no deterministic kernel (the gradients of grid_sample and of reflected borders, in ADA and\n"
    "R3GAN), two resumed a run without `trainer.deterministic=true`, three trained the default without its\n"
    "classes. They are mended and have not run since. The first evaluation of a run was slower than\n"
    "later ones: presumably cuDNN's search for kernels of each new size, which was not measured alone.\n\n"
    "**Untested on a GPU**: NCCL, the recovery from a failed capture, 100,000 steps with evaluations\n"
    "(`suite=whole`), and how far sampling overlaps the features (no batch of an evaluation reads a number:\n"
    "`tests/metrics/test_evaluator.py`). `tests/gpu/test_fake_cuda.py` runs every recipe as far as devices,\n"
    "shapes and host reads can be checked without a GPU. With one, this tests and measures the rest:\n\n"
    "    make test-gpu && python -m scripts.benchmarks suite=step,whole device=cuda out=docs/performance_gpu.json",
    "h200": "Not measured by this script, but kept as it was found, with the files it was taken from in\n"
    "`docs/results/h200-fc704c5`. A whole step is `n_dis` updates of D and one of G; times are medians of\n"
    "interleaved rounds with the spread that those files give, and times as fast is against the first row\n"
    "of the case. The textbook here is mimicry's own code.\n\n"
    "Four runs of the study [h200_first](results/h200_first.md) side by side on this GPU (SNGAN and BSSN CNN) made 56\n"
    "to 62 steps/s each while they trained, 208 together with evaluations and checkpoints counted in.",
    "stylegan2": "FIR filters are depthwise convolutions, which `tests/nets/test_resampling.py` compares with scipy's\n"
    "upfirdn. On a CPU sums of shifted views along each axis, and one-channel convolutions over b c planes, were\n"
    "slower in a trial of which no figure was kept. On a GPU the choice is not measured, see above.",
    "startup": "The untrained nets are evaluated and drawn before the first step; that is work of the run and not of\n"
    "its start.",
    "several": "Each run is a process with the same nets; images per second are those of all of them together. More\n"
    "runs than cores gain nothing on a CPU. On a GPU they gain by MPS only (see the H200).",
    "busy": "Each run is a process, and the others wait while it is measured. The busy core is that of a process\n"
    "which does nothing but count. libgomp's threads spin while they wait for each other: beside a busy core one of\n"
    "them waits for a turn of the scheduler at every operator. Asleep they give their core away.",
    "whole": "Steps and samples are measured and multiplied, on a CPU too, where nobody would wait for it.",
    "recipes": "D and G are whole updates of each net; optimizer and norm (forward, backward and power iteration) are\n"
    "parts of them, measured once more by themselves. Lazy penalties are not due, except in the rows that say so.",
    "scaling": "SNGAN ResNet, one D and one G update, from batch 8, side 32, width 0.5. The exponents are slopes of\n"
    "straight lines through the logarithms; weights and fixed costs, which do not grow, lower them.",
}


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def spread(value: Spread | None, plain: bool) -> str:
    """Median (quartiles) n, as durations or as plain numbers."""
    if value is None:
        return ""
    show = (lambda v: f"{v:.3g}") if plain else duration
    if value.n == 1:
        return f"{show(value.median)}, n=1"
    return f"{show(value.median)} ({show(value.low)} to {show(value.high)}), n={value.n}"


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def goal(row: Row) -> str:
    """The goal in words and whether it is met."""
    if row.goal is None:
        return ""
    name, sense, bound = row.goal
    return f"{name} {sense} {bound:g}: {'met' if row.met() else 'MISSED'} ({row.figure(name):.3g})"


def cells(row: Row) -> list[str]:
    memory = "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f} MiB"
    facts = "; ".join(f"{k} {number(v)}" for k, v in row.facts.items())
    return [row.case, row.variant, spread(row.seconds, False), spread(row.faster, True), memory, facts, goal(row)]


COLUMNS = ["case", "variant", "time", "faster", "peak memory", "further figures", "goal"]


def table(rows: list[Row]) -> list[list[str]]:
    """Header and lines, without the columns that are empty throughout; a case is named once."""
    lines = []
    for case, group in groupby(rows, key=lambda row: row.case):
        for i, row in enumerate(group):
            lines.append([case if i == 0 else "", *cells(row)[1:]])
    used = [i for i in range(len(COLUMNS)) if any(line[i] for line in lines)]
    return [[COLUMNS[i] for i in used], *([line[i] for i in used] for line in lines)]


def as_text(rows: list[Row]) -> str:
    """Columns padded for a terminal."""
    lines = table(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_markdown(rows: list[Row]) -> str:
    header, *lines = table(rows)
    return markdown.table(header, lines)


def rows_of(found: dict[str, Any]) -> list[Row]:
    return [Row.from_dict(row) for row in found["rows"]]


def render(data: dict[str, Any]) -> str:
    """The whole document."""
    parts = [INTRODUCTION]
    for key, title in TITLES.items():
        if key not in data["suites"]:
            continue
        found = data["suites"][key]
        parts.append(f"## {title}\n")
        if key in NOTES:
            parts.append(NOTES[key] + "\n")
        parts.append(as_markdown(rows_of(found)))
        facts = "; ".join(f"{k} {v}" for k, v in found["machine"].items() if v is not None)
        parts.append(f"Measured on: {facts}.\n")
    if not any(found["machine"]["gpu"] for found in data["suites"].values()):
        parts.append("No GPU was at hand for these figures; `device=cuda` measures the same suites there.\n")
    return "\n".join(parts)


def read(path: Path) -> dict[str, Any]:
    """Results so far; UserError for a file that is something else."""
    try:
        data = json.loads(path.read_text())
        return {"suites": dict(data["suites"])}
    except FileNotFoundError:
        return {"suites": {}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} holds no benchmark's results ({type(error).__name__}); name another file") from None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Make a page of the benchmarks' results: FILE.md from FILE.json."""

    examples: ClassVar[tuple[str, ...]] = ("", "results=gpu.json")
    results: Path = option("what the benchmarks wrote", RESULTS, shown="docs/performance.json")


def run(options: Options) -> None:
    """Write the page."""
    data = read(options.results)
    if not data["suites"]:
        raise UserError(f"{options.results} holds no results; measure first: python -m scripts.benchmarks")
    target = options.results.with_suffix(".md")
    write_atomically(target, render(data).encode())
    print(f"{target} has {len(data['suites'])} suites")


if __name__ == "__main__":
    sys.exit(script("python -m scripts.benchmarks.report", Options, run))
