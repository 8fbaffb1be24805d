"""Suite `peers`: SN-GAN's step by mimicry's own code, which `pip install torch-mimicry --no-deps` puts beside ours."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from functools import partial
from types import ModuleType

import torch

from gan_lab.distributed.device import use_tf32
from gan_lab.errors import UserError
from scripts.benchmarks.harness import Bench, Built, Parts, Row, compare
from scripts.benchmarks.step import Ours, built, words_of

RECIPE, BATCH, N_DIS = "sngan_resnet", 64, 5
CASE = f"SNGAN ResNet 32, batch {BATCH}, {N_DIS} D + 1 G"


def mimicry() -> tuple[ModuleType, ModuleType]:
    """Return mimicry's modules of SN-GAN's nets and of its log of figures; UserError where it is not installed.

    Its packages import TensorFlow and scikit-image, which a step does not use: they are entered without that.
    """
    for name in ("torch_mimicry", "torch_mimicry.training"):
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise UserError("suite=peers compares with mimicry's own code: pip install --no-deps torch-mimicry")
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = list(spec.submodule_search_locations or ())
    nets = importlib.import_module("torch_mimicry.nets.sngan")
    return nets, importlib.import_module("torch_mimicry.training.metric_log")


def theirs(bench: Bench, precision: str, batch: int = BATCH) -> Parts:
    """The updates of one step by mimicry's `train_step`, with its nets and the optimizers of its example.

    Its own mixed precision is for CUDA only, so "bf16" is autocast around an update.
    """
    torch.manual_seed(0)
    nets, logs = mimicry()
    G, D = nets.SNGANGenerator32().to(bench.device), nets.SNGANDiscriminator32().to(bench.device)
    optimizer_g, optimizer_d = (torch.optim.Adam(net.parameters(), 2e-4, betas=(0.0, 0.9)) for net in (G, D))
    real = (torch.randn(batch, 3, 32, 32, device=bench.device), None)
    log = logs.MetricLog()

    def autocast() -> torch.autocast:
        return torch.autocast(bench.device.type, torch.bfloat16, enabled=precision == "bf16")

    def update_d() -> None:
        with autocast():
            D.train_step(real_batch=real, netG=G, optD=optimizer_d, log_data=log, device=bench.device)

    def update_g() -> None:
        with autocast():
            G.train_step(real_batch=real, netD=D, optG=optimizer_g, log_data=log, device=bench.device)

    return [(N_DIS, update_d), (1, update_g)]


def ours(bench: Bench, precision: str, batch: int = BATCH) -> Parts:
    """The updates of one step of our recipe on images that are there already."""
    torch.manual_seed(0)
    runner = Ours(built(words_of(bench, RECIPE, batch, precision)))
    real = torch.randn(batch, 3, 32, 32, device=bench.device)
    return [(N_DIS, partial(runner.update, "d", real)), (1, partial(runner.update, "g", real))]


def suite(bench: Bench) -> list[Row]:
    """Rows of mimicry and of gan_lab in fp32, and a case of both in bf16."""
    mimicry()  # before minutes of measuring
    use_tf32(False)  # on both sides
    rows: list[Row] = []
    for precision in ("fp32", "bf16"):
        works = {
            "mimicry": Built(partial(theirs, bench, precision)),
            "gan_lab": Built(partial(ours, bench, precision)),
        }
        rounds = bench.rounds(4)
        rows += compare(bench, f"{CASE}, {precision}", works, rounds=rounds, apart=True, renewed=2)
    return rows
