"""Peak memory of a piece of work, on a CPU in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scripts.benchmarks.harness import ROOT, Bench, Work


def _status(key: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def growth_of_peak(work: Work) -> int:
    """How far the process's resident memory rose above its level before `work`, at the highest, in bytes."""
    before = _status("VmRSS")
    if before is not None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
            work()
            return (_status("VmHWM") or before) - before
        except OSError:
            pass
    unit = 1 if sys.platform == "darwin" else 1024
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * unit


def peak_memory(bench: Bench, maker: str, **arguments: Any) -> int:
    """Peak memory of the work that `maker` ("module:function", called with the bench and `arguments`) returns.

    On a GPU what the allocator took at most from the device, for nets, optimizers, graphs and activations together: a
    graph's memory lies in a pool that is taken when it is captured, and replaying it allocates nothing. On a CPU the
    growth of resident memory in a fresh process, where malloc is told to give freed blocks back.
    """
    if bench.device.type == "cuda":
        torch.cuda.synchronize(bench.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
        before = torch.cuda.memory_reserved(bench.device)
        work = _make(bench, maker, arguments)
        work()
        work()
        torch.cuda.synchronize(bench.device)
        return torch.cuda.max_memory_reserved(bench.device) - before
    code = "from scripts.benchmarks.memory import child; child()"
    settings = {"threads": bench.threads, "maker": maker, "arguments": arguments}
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": str(bench.threads),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(settings), env=environment, cwd=ROOT,
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {maker} failed:\n{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


def _make(bench: Bench, maker: str, arguments: Mapping[str, Any]) -> Work:
    module, _, name = maker.partition(":")
    return getattr(importlib.import_module(module), name)(bench, **arguments)  # type: ignore[no-any-return]


def child() -> None:
    """The process that `peak_memory` starts: prints the bytes."""
    settings = json.load(sys.stdin)
    torch.set_num_threads(settings["threads"])
    bench = Bench(threads=settings["threads"])
    work = _make(bench, settings["maker"], settings["arguments"])
    print(growth_of_peak(work))
