"""The device: which one is used, and with which arithmetic and kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gan_lab.distributed import collectives
from gan_lab.errors import UserError


def _switches() -> tuple[Any, Any, Any]:
    """Matrix products, convolutions, recurrent layers; torch's own choice is fp32 for the first, TF32 for the rest."""
    cudnn = torch.backends.cudnn
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn  # type: ignore[attr-defined]


def _set(values: list[str]) -> None:
    """Set each switch, and torch's older ones with them: reading those raises where the two disagree."""
    torch.backends.cuda.matmul.allow_tf32 = values[0] == "tf32"
    torch.backends.cudnn.allow_tf32 = values[1] == "tf32"
    for switch, value in zip(_switches(), values, strict=True):
        switch.fp32_precision = value


def use_tf32(allowed: bool) -> None:
    """Whether fp32 products and convolutions on a GPU may be computed in TF32, from now on."""
    _set(["tf32" if allowed else "ieee"] * 3)


@contextmanager
def exact_fp32(device: torch.device) -> Iterator[None]:
    """No autocast and, on CUDA, no TF32: both move FID by more than two runs of one recipe differ."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        before = [switch.fp32_precision for switch in _switches()]
        try:
            use_tf32(False)
            yield
        finally:
            _set(before)


def pick_device(name: str) -> torch.device:
    """`auto` takes the GPU where there is one; a device that is not there is a UserError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and device.index is None and collectives.active():
        device = torch.device("cuda", collectives.local_rank())
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"trainer.device={name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
                        "use trainer.device=auto or cpu")  # fmt: skip
    return device


def choose_kernels(deterministic: bool) -> None:
    """Let cuDNN try its kernels for each shape and keep the fastest, or take only kernels that are deterministic.

    Those of a CPU are deterministic anyway.
    """
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
