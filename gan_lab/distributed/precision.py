"""Arithmetic on GPUs: what `trainer.precision` lets training use, and plain fp32 for the backbones whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


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
