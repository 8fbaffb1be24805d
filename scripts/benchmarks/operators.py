"""Suite `operators`: what an update gives a GPU to do, counted on fake CUDA tensors, so on any machine.

An operator here is a call of the dispatcher that computes: views and allocations are left out, and one on a list of
tensors counts once, as it is one kernel for many of them. Most are one kernel; the backward pass of a convolution and
BatchNorm are two or three.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import gan_lab
from gan_lab.builder import Experiment
from gan_lab.config.options import config_dir
from gan_lab.training.ema import update_ema
from gan_lab.training.optimize import undoable
from gan_lab.training.step import d_step, g_step
from scripts.benchmarks.fake_cuda import DEVICE, fake_cuda
from scripts.benchmarks.harness import Bench, Row
from scripts.benchmarks.kernels import FREE
from scripts.benchmarks.step import random_data

# Commit fc704c5 with torch 2.14, counted in the same way: D, G, undo, EMA.
BEFORE: dict[str, tuple[int, int, int, int]] = {
    "bsn": (324, 242, 126, 5),
    "bssn_cnn": (325, 243, 126, 5),
    "bssn_resnet": (488, 419, 177, 8),
    "dcgan": (153, 115, 45, 4),
    "dragan": (175, 91, 27, 4),
    "lsgan": (158, 118, 45, 4),
    "ortho": (243, 124, 36, 5),
    "r3gan": (4777, 1038, 21, 2),
    "sngan_cnn": (252, 192, 84, 5),
    "sngan_resnet": (405, 361, 129, 8),
    "ssn": (253, 193, 84, 5),
    "stylegan2": (610, 838, 33, 10),
    "stylegan2_ada": (1118, 997, 45, 10),
    "stylegan2_cifar": (461, 636, 30, 10),
    "wgan": (106, 90, 27, 4),
    "wgan_gp": (457, 267, 63, 8),
    "wn_gan": (211, 204, 0, 1),
}
PARTS = ("D update", "G update", "undo", "EMA")
SIDES = {"biggan_imagenet128": 128}  # of recipes whose nets need more than 32 pixels


class Operators(TorchDispatchMode):
    """Counts the operators called inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if func.namespace == "aten" and not view and name not in FREE and not _unchanged(name, args, found):
            self.names[name] += 1
        return found


def _unchanged(name: str, args: Any, found: Any) -> bool:
    """Whether `Tensor.to` had nothing to do, which fake tensors on CUDA do not notice themselves."""
    return name == "_to_copy" and (found.device, found.dtype) == (args[0].device, args[0].dtype)


def operators(work: Callable[[], object]) -> Counter[str]:
    """Name -> calls, of one call of `work`."""
    with Operators() as found:
        work()
    return found.names


def parts(exp: Experiment, real: Tensor, y: Tensor | None) -> dict[str, Callable[[], object]]:
    """The works that are counted, in the order of PARTS; lazy penalties are not due."""

    def at(step: int, substep: int, update: Callable[..., object]) -> Callable[[], object]:
        def work() -> None:
            exp.step, exp.substep = step, substep
            update(exp, real, y)

        return work

    def undo() -> None:
        with undoable(exp) as settle:
            settle(torch.empty((), dtype=torch.bool, device=exp.device))

    works = (at(0, 1, d_step), at(1, 0, g_step), undo, lambda: update_ema(exp.G_ema, exp.G, 0.5))
    return dict(zip(PARTS, works, strict=True))


def counts(recipe: str, *words: str) -> dict[str, Counter[str]]:
    """Part -> operators of a recipe's second step, at its own batch size on images of 32 x 32 (or of SIDES)."""
    side = SIDES.get(recipe, 32)
    data = random_data(side)
    with pytest.MonkeyPatch.context() as patch, fake_cuda(patch):
        given = (f"recipe={recipe}", "dataset=packed", f"dataset.path={data}", "metrics=none", "monitor=off")
        exp = gan_lab.build(gan_lab.compose(*given, f"trainer.device={DEVICE}", *words))
        n = exp.config.trainer.batch_size
        real = torch.zeros(n, 3, side, side, device=DEVICE)
        y = torch.zeros(n, dtype=torch.int64, device=DEVICE) if exp.D.num_classes else None
        works = parts(exp, real, y)
        for work in works.values():  # tables, moments
            work()
        return {name: operators(work) for name, work in works.items()}


def suite(bench: Bench) -> list[Row]:
    rows = []
    for path in sorted((config_dir() / "recipe").glob("*.yaml")):
        found = {part: sum(names.values()) for part, names in counts(path.stem).items()}
        if path.stem in BEFORE:
            rows.append(Row(path.stem, "fc704c5", facts=dict(zip(PARTS, BEFORE[path.stem], strict=True))))
        rows.append(Row(path.stem, "now", facts=dict(found)))
    return rows
