"""Choose the device, its arithmetic and its kernels."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from gan_lab.distributed import collectives
from gan_lab.errors import UserError


def _switches() -> tuple[Any, Any, Any]:
    """Return torch's switches for matrix products (default fp32), convolutions and recurrent layers (default TF32)."""
    cudnn = torch.backends.cudnn
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn  # type: ignore[attr-defined]


def _set(values: list[str]) -> None:
    """Set each switch and its older counterpart: torch raises when it reads an older one that disagrees."""
    torch.backends.cuda.matmul.allow_tf32 = values[0] == "tf32"
    torch.backends.cudnn.allow_tf32 = values[1] == "tf32"
    for switch, value in zip(_switches(), values, strict=True):
        switch.fp32_precision = value


def use_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 for fp32 matrix products and convolutions on a GPU, from now on."""
    _set(["tf32" if allowed else "ieee"] * 3)


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """Allow or forbid TF32 for a block, if the device is a GPU."""
    if device.type != "cuda":
        yield
        return
    before = [switch.fp32_precision for switch in _switches()]
    try:
        use_tf32(allowed)
        yield
    finally:
        _set(before)


@contextmanager
def plain_precision() -> Iterator[None]:
    """Switch off, for a block, an autocast that the caller has switched on."""
    kinds = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def exact_fp32(device: torch.device) -> Iterator[None]:
    """Disable autocast and, on CUDA, TF32 for a block. Either changes FID by more than two runs differ."""
    with torch.autocast(device.type, enabled=False), tf32(False, device):
        yield


@contextmanager
def switches_kept() -> Iterator[None]:
    """Put back what a block changes: torch's switches for precision and kernels, threads, the CPU's random state."""
    cudnn, checks = torch.backends.cudnn, torch.utils.deterministic
    precisions, benchmark = [switch.fp32_precision for switch in _switches()], cudnn.benchmark
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill, threads = checks.fill_uninitialized_memory, torch.get_num_threads()  # type: ignore[attr-defined]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        _set(precisions)
        torch.set_num_threads(threads)
        cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
        checks.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def uses_gpus(name: str) -> bool:
    """Whether `pick_device` takes a CUDA GPU for that name."""
    return name.startswith("cuda") or (name == "auto" and torch.cuda.is_available())


def pick_device(name: str, key: str = "trainer.device") -> torch.device:
    """Return the device of that name; `auto` takes a CUDA GPU if there is one. Raises UserError for a missing device.

    No machine with `mps` (Apple) or `xpu` (Intel) has run gan_lab yet, so they are not chosen by `auto`.
    """
    if name == "auto":
        name = "cuda" if uses_gpus(name) else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"{key}={name}: must be auto, cpu, cuda, cuda:N, mps or xpu") from error
    if device.type == "cuda" and device.index is None and collectives.active():
        device = torch.device("cuda", collectives.local_rank())
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"{key}={name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; "
                        f"use {key}=auto or cpu")  # fmt: skip
    missing = (device.type == "mps" and not torch.backends.mps.is_available()) or (
        device.type == "xpu" and (device.index or 0) >= torch.xpu.device_count()
    )
    if missing:
        raise UserError(f"{key}={name}: PyTorch sees no such device here; use {key}=auto or cpu")
    return device


def choose_kernels(deterministic: bool) -> None:
    """Let cuDNN benchmark its kernels for each shape, or use deterministic kernels, where there are any.

    The kernels of a CPU are always deterministic.
    """
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Else torch writes NaN into every new tensor, by a kernel each.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
