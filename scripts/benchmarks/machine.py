"""What figures depend on: processor, accelerator, versions."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks.harness import Bench


def machine(bench: Bench) -> dict[str, Any]:
    """What the figures depend on: processor, accelerator, versions, threads, clock."""
    gpu = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else None
    return {
        "processor": processor(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.system(),
        "python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda if gpu else None,
        "threads": bench.threads, "clock": bench.clock(), "bf16_instructions": bf16_instructions(),
    }  # fmt: skip


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def processor() -> str:
    """The processor's name with family and model, because virtual machines shorten the name."""
    name = _cpuinfo("model name") or platform.processor() or platform.machine()
    family, model = _cpuinfo("cpu family"), _cpuinfo("model\t")
    return f"{name} (family {family}, model {model})" if family else name


def bf16_instructions() -> str:
    """Which instructions for bf16 the processor has: without any, bf16 is emulated and gains nothing."""
    flags = _cpuinfo("flags").split()
    found = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    return ", ".join(found) or "none"
