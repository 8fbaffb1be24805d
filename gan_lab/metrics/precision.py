"""Arithmetic on GPUs: what `trainer.precision` lets training use, and plain fp32 for the backbones whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _switches() -> tuple[Any, Any]:
    """Matrix products and convolutions; torch's own choice is fp32 for the first and TF32 for the second."""
    return torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]


def use_tf32(allowed: bool) -> None:
    """Whether fp32 products and convolutions on a GPU may be computed in TF32, from now on."""
    for switch in _switches():
        switch.fp32_precision = "tf32" if allowed else "ieee"


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
            for switch, value in zip(_switches(), before, strict=True):
                switch.fp32_precision = value
