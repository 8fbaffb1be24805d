"""Arithmetic of the backbones: plain fp32 whatever the training uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_fp32(device: torch.device) -> Iterator[None]:
    """No autocast and, on CUDA, no TF32: both move FID by more than two runs of one recipe differ."""
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        switches = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
        before = [switch.fp32_precision for switch in switches]
        try:
            for switch in switches:
                switch.fp32_precision = "ieee"
            yield
        finally:
            for switch, value in zip(switches, before, strict=True):
                switch.fp32_precision = value
