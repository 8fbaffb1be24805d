"""A step that does not fit into memory: what held it is freed, and a batch size that fits is found by trying."""

from __future__ import annotations

import traceback

import torch
from torch import Tensor

from gan_lab.errors import OutOfMemoryError
from gan_lab.experiment import Experiment
from gan_lab.training.step import d_step, g_step


def ran_out(error: BaseException) -> bool:
    """Whether it says that the device's, or the machine's, memory is used up."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def largest_batch(exp: Experiment, real: Tensor, y: Tensor | None = None) -> int:
    """The largest halving of the batch with which one update of D and of G fit, all penalties active; 0 if none does.

    Tries them, which changes the nets: only for a run that ends.
    """
    size, reached = len(real) // 2, (exp.step, exp.substep)
    exp.step = exp.substep = 0
    try:
        while size and not _fits(exp, real[:size], None if y is None else y[:size]):
            size //= 2
    finally:
        exp.step, exp.substep = reached  # where the run's records say that it ended
    return size


def _fits(exp: Experiment, real: Tensor, y: Tensor | None) -> bool:
    for net in (exp.G, exp.D):
        net.zero_grad(set_to_none=True)
    if exp.device.type == "cuda":
        torch.cuda.empty_cache()
    try:
        d_step(exp, real, y)
        g_step(exp, real, y)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        return False
    return True


def release(error: BaseException) -> None:
    """Let go of the tensors that the frames of a failed step still hold: its graph is most of what was allocated."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__


def explained(exp: Experiment, real: Tensor, y: Tensor | None = None) -> OutOfMemoryError:
    """The sentence for a run whose step did not fit; it has to end. `release` its error and drop graphs first."""
    batch = exp.config.trainer.batch_size
    fits = largest_batch(exp, real, y) * batch // len(real)
    what = f"{exp.device} has too little memory for trainer.batch_size={batch}"
    if not fits:
        return OutOfMemoryError(f"{what}, nor for any smaller one; choose a smaller width or resolution")
    also = "" if exp.config.trainer.precision == "bf16" else ", or trainer.precision=bf16 for half the activations"
    return OutOfMemoryError(f"{what}; trainer.batch_size={fits} fits (measured), or a smaller width{also}")
