"""Out of memory: said in one sentence, with a batch size that fits."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_lab.builder import Experiment
from gan_lab.errors import OutOfMemoryError
from gan_lab.training.step import d_step, g_step


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


def explained(x: Experiment, real: Tensor) -> OutOfMemoryError:
    """The sentence for a run whose step did not fit; it has to end."""
    batch = x.config["trainer"]["batch_size"]
    fits = largest_batch(x, real) * batch // len(real)
    what = f"{x.device} has too little memory for trainer.batch_size={batch}"
    if not fits:
        return OutOfMemoryError(f"{what}, nor for any smaller one; choose a smaller width or resolution")
    also = "" if x.config["trainer"]["precision"] == "bf16" else ", or trainer.precision=bf16 for half the activations"
    return OutOfMemoryError(f"{what}; trainer.batch_size={fits} fits (measured), or a smaller width{also}")
