"""A few training steps of a recipe in float64 as one rank of several; run by test_ranks in processes of their own."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import distributed

import gan_lab
from gan_lab.data import TrainingImages
from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import step_randomness
from gan_lab.errors import InterruptedRun
from gan_lab.runs.checkpoint import Checkpoints
from gan_lab.runs.files import read_rows
from gan_lab.training import accelerate
from gan_lab.training.clock import Clock
from gan_lab.training.ema import update_ema
from gan_lab.training.step import d_step, g_step


def fitted(recipe: str) -> list[str]:
    """The recipe with nets as narrow as they can be, at 32 px."""
    width = 0.03 if recipe.startswith("r3gan") else {"wn_gan": 0.25}.get(recipe, 0.0625)
    words = [f"recipe={recipe}", f"width={width}"]
    if recipe == "biggan_imagenet128":  # these nets have no maps of 64 px
        words += ["generator.attention=16", "discriminator.attention=16"]
    return words


def small(recipe: str, data: str, batch_size: int) -> list[str]:
    """The overrides that make a recipe tiny."""
    # The samples of one minibatch-std group must fall to one rank.
    group = ["discriminator.minibatch_std_group=4"] if recipe.startswith("stylegan2") else []
    return [*fitted(recipe), *group, f"data_dir={data}", "trainer.total_steps=20", "trainer.n_dis=1",
            f"trainer.batch_size={batch_size}", "trainer.device=cpu", "metrics=none", "monitor=off"]  # fmt: skip


def after_steps(overrides: list[str], steps: int, sync: bool = True) -> dict[str, torch.Tensor]:
    """Every tensor of G, D, EMA, penalties and augmentation after `steps` steps in float64, and the last log."""
    torch.set_default_dtype(torch.float64)
    x = gan_lab.build(gan_lab.compose(*overrides, f"trainer.sync_batchnorm={sync}"))
    for part in (x.G, x.D, x.G_ema, x.penalties, x.augment):
        if part is not None:
            part.double()
    x.__post_init__()  # it lists the buffers, which `double` has replaced
    reals = TrainingImages(
        x.dataset, "cpu", 0, x.config.trainer.batch_size, rank=collectives.rank(), ranks=collectives.size()
    )
    clock, log = Clock(x), {}
    for x.step in range(steps):
        images, y = reals.batch(x.step)
        for x.substep, one in enumerate((d_step, g_step)):
            clock.tick()
            with step_randomness(0, x.step, x.substep, x.device):
                taken = x.reals_of_d(images.double(), y) if one is d_step else (images.double(), y)
                log |= one(x, *taken)
        update_ema(x.G_ema, x.G, 0.5)
    tensors = {f"log.{k}": v for k, v in log.items()}
    for name in ("G", "D", "G_ema", "penalties", "augment"):
        part = getattr(x, name)
        if part is not None:
            tensors |= {f"{name}.{k}": v for k, v in part.state_dict().items() if isinstance(v, torch.Tensor)}
    return tensors


def stopped_and_resumed(overrides: list[str], folder: Path, steps: int) -> None:
    """Train whole, and stopped half-way by a signal to the last rank and resumed; the states must be equal bits."""
    words = [*overrides, f"trainer.total_steps={steps}", "trainer.log_every_steps=1", "trainer.sample_every_steps=0"]

    def run(name: str) -> Path:
        return gan_lab.train(gan_lab.compose(*words, f"hydra.run.dir={folder / name}"))

    whole, true_step = run("whole"), accelerate.g_step

    def stopping(exp, real, y):
        if exp.step == steps // 2 - 1 and collectives.rank() == collectives.size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return true_step(exp, real, y)

    accelerate.g_step = stopping
    try:
        run("parts")
        raise AssertionError(f"{overrides[0]} was not stopped")
    except InterruptedRun as error:
        assert f"step {steps // 2}" in str(error), error
    finally:
        accelerate.g_step = true_step
    parts = run("parts")
    if collectives.rank() == 0:
        a, b = (dict(leaves(Checkpoints(f / "checkpoints", 9).latest()["state"])) for f in (whole, parts))
        assert a.keys() == b.keys() and len(a) > 20
        wrong = [k for k in a if not (torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k])]
        assert wrong == [], f"{overrides[0]}: {wrong[:5]}"
        clock = ("wall_seconds", "images_per_second")
        rows = [
            [{k: v for k, v in r.items() if k not in clock} for r in read_rows(f / "train.jsonl")]
            for f in (whole, parts)
        ]
        assert rows[0] == rows[1] and [r["step"] for r in rows[0]] == list(range(1, steps + 1))


def leaves(state, prefix=""):
    """Every leaf of a checkpoint's state but the clock."""
    items = enumerate(state) if isinstance(state, (list, tuple)) else state.items()
    for key, value in items:
        if isinstance(value, (dict, list, tuple)):
            yield from leaves(value, f"{prefix}{key}.")
        elif key != "wall_seconds":
            yield f"{prefix}{key}", value


def main(rank: int, world: int, rendezvous: str, steps: int, out: str, jobs: list[list[str]]) -> None:
    """Run every job as one rank: a list of overrides in float64, whose result rank 0 saves, or `resume` and overrides.

    Every rank must hold the same tensors in the end.
    """
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world)
    for number, overrides in enumerate(jobs):
        if overrides[0] == "resume":
            stopped_and_resumed(overrides[1:], Path(out) / str(number), steps)
            continue
        tensors = after_steps([w for w in overrides if w != "unsynchronized"], steps, "unsynchronized" not in overrides)
        for name, tensor in tensors.items():
            if not name.startswith("log."):
                assert torch.equal(collectives.from_first(tensor), tensor), f"{overrides[0]}: ranks differ in {name}"
        if rank == 0:
            torch.save(tensors, Path(out) / f"{number}.pt")
    distributed.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # a rank may abort in the interpreter's teardown: see gan_lab.cli.train._leave


if __name__ == "__main__":
    rank, world, rendezvous, steps, out = sys.argv[1:6]
    main(int(rank), int(world), rendezvous, int(steps), out, [job.split(";") for job in sys.argv[6:]])
