"""Memory: what a CPU's steps free is kept for the next one, and a lack of it is said with a batch size that fits."""

from __future__ import annotations

import ctypes
import sys
import traceback

import torch
from torch import Tensor

from gan_lab.builder import Experiment
from gan_lab.errors import OutOfMemoryError
from gan_lab.training.step import d_step, g_step

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def keep_freed_memory() -> None:
    """Let glibc keep what a step frees, because the next step needs it again.

    By default every large tensor is mapped anew and zeroed page by page by the kernel, a tenth of a CPU step of small
    nets. The peak stays as it is; between peaks the memory is not given back. Nothing happens elsewhere than on Linux
    with glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def ran_out(error: BaseException) -> bool:
    """Whether it says that the device's, or the machine's, memory is used up."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def largest_batch(x: Experiment, real: Tensor) -> int:
    """The largest halving of the batch with which one update of D and of G fit; 0 if none does.

    Tries them, which changes the nets: only for a run that ends.
    """
    size = len(real) // 2
    while size:
        for net in (x.G, x.D):
            net.zero_grad(set_to_none=True)
        if x.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            d_step(x, real[:size], 0, 0.0)
            g_step(x, real[:size], 0, 0.0)
            return size
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
        size //= 2
    return 0


def release(error: BaseException) -> None:
    """Let go of the tensors that the frames of a failed step still hold: its graph is most of what was allocated."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def explained(x: Experiment, real: Tensor) -> OutOfMemoryError:
    """The sentence for a run whose step did not fit; it has to end. `release` its error and drop graphs first."""
    batch = x.config["trainer"]["batch_size"]
    fits = largest_batch(x, real) * batch // len(real)
    what = f"{x.device} has too little memory for trainer.batch_size={batch}"
    if not fits:
        return OutOfMemoryError(f"{what}, nor for any smaller one; choose a smaller width or resolution")
    also = "" if x.config["trainer"]["precision"] == "bf16" else ", or trainer.precision=bf16 for half the activations"
    return OutOfMemoryError(f"{what}; trainer.batch_size={fits} fits (measured), or a smaller width{also}")
