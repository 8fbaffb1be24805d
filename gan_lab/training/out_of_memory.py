"""A step that does not fit into memory: on a CPU that is known before it, else a batch that fits is found by trying."""

import copy
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.data import to_float
from gan_lab.distributed import collectives
from gan_lab.distributed.memory import Need, fits, free_bytes, gigabytes, largest_halving
from gan_lab.distributed.randomness import own_randomness
from gan_lab.errors import OutOfMemoryError, useful_line
from gan_lab.experiment import Experiment
from gan_lab.metrics import memory as metrics_memory
from gan_lab.nets.sampling import sampler
from gan_lab.training.ahead import FakesAhead
from gan_lab.training.step import d_step, g_step

log = logging.getLogger(__name__)

RESIDENT = 2.0  # resident memory of a training process, as a multiple of its tensors: glibc keeps blocks, kernels pack


def check_fits(exp: Experiment) -> None:
    """Raise OutOfMemoryError if a training step or an evaluation will need more memory of a CPU than is free.

    To be called before the first step. Where the free memory is not known (not Linux), nothing is checked. The need is
    that of all processes that train here; see `Need` for how it is predicted.
    """
    free = free_bytes() if exp.device.type == "cpu" else None
    if free is None:
        return
    try:
        step, evaluation = step_need(exp), evaluation_need(exp)
    except Exception as error:  # code of extensions may not take to being copied, or to so few images
        log.debug("the memory that is needed could not be estimated: %r", error)
        return
    collectives.decided_by_first(lambda: _compare(exp, step, evaluation, free))


def _compare(exp: Experiment, step: Need, evaluation: metrics_memory.EvaluationNeed | None, free: float) -> None:
    batch, ranks = exp.config.trainer.batch_size, collectives.size()
    free = free / int(os.environ.get("LOCAL_WORLD_SIZE", ranks))  # of each process of this machine
    need = RESIDENT * step(batch // ranks)
    if need > free:
        what = (f"a step with trainer.batch_size={batch} needs about {gigabytes(need)} of memory, "
                f"and {gigabytes(free)} are free")  # fmt: skip
        fits = largest_halving(batch // ranks, lambda n: RESIDENT * step(n) <= free)
        raise OutOfMemoryError(_advice(exp, what, fits * ranks, "estimated"))
    if evaluation is not None:
        metrics_memory.check_fits(exp.evaluator, evaluation, free)


def step_need(exp: Experiment) -> Need:
    """Predict the bytes that an update of D and one of G take, all penalties active, besides the nets' weights."""
    kept: list[Any] = [exp.config, exp.dataset, exp.evaluator, exp.detector, *exp.extra_diagnostics.values()]
    copied: list[Experiment] = []

    def prepare(n: int) -> Callable[[], object]:
        copied[:] = [copy.deepcopy(exp, {id(part): part for part in kept})]  # so that nothing of the run changes
        copied[0].step = copied[0].substep = 0
        chosen = torch.arange(n) % exp.dataset.num_train
        real = to_float(exp.dataset.images("train", chosen))
        y = exp.dataset.labels("train")[chosen] if exp.dataset.num_classes > 1 else None
        return lambda: _updates(copied[0], real, y)

    with own_randomness(0, exp.device):
        return Need(prepare)


def evaluation_need(exp: Experiment) -> metrics_memory.EvaluationNeed | None:
    """Predict the bytes that an evaluation takes; None without metrics."""
    if exp.evaluator is None:
        return None
    G = exp.G_ema if exp.evaluator.ema else exp.G
    return metrics_memory.EvaluationNeed(exp.evaluator, sampler(G, exp.device, exp.evaluator.truncation))


def largest_batch(exp: Experiment, real: Tensor, y: Tensor | None = None) -> int:
    """Return the largest of the batch, half of it, ... with which an update of D and of G fit; 0 if none does.

    All penalties are active. The updates change the nets: only for a run that ends.
    """
    reached = exp.step, exp.substep
    exp.step = exp.substep = 0
    try:
        return largest_halving(len(real), lambda n: _fits(exp, real[:n], None if y is None else y[:n]))
    finally:
        exp.step, exp.substep = reached  # where the run's records say that it ended


def _updates(exp: Experiment, real: Tensor, y: Tensor | None) -> None:
    """One update of D and one of G. Where G's images are made ahead, they take memory while D is updated."""
    ahead = exp.config.trainer.accelerate == "auto" and FakesAhead.fits(exp)
    fake = exp.G(*exp.draw_latents(len(real), exp.augmented_discriminator(), {})) if ahead else None
    d_step(exp, *exp.reals_of_d(real, y))
    del fake
    g_step(exp, real, y)


def _fits(exp: Experiment, real: Tensor, y: Tensor | None) -> bool:
    for net in (exp.G, exp.D):
        net.zero_grad(set_to_none=True)
    if exp.device.type == "cuda":
        torch.cuda.empty_cache()
    return fits(lambda: _updates(exp, real, y))


def explained(
    exp: Experiment, real: Tensor, y: Tensor | None = None, error: BaseException | None = None
) -> OutOfMemoryError:
    """The sentence for a run whose step did not fit; it has to end. `release` its error and drop graphs first."""
    batch = exp.config.trainer.batch_size
    if collectives.active():  # trying would take part in what the other processes wait for
        return OutOfMemoryError(
            f"{exp.device} has too little memory for trainer.batch_size={batch} on {collectives.size()} processes; "
            "choose a smaller one (no other was tried), or a smaller width"
        )
    fits = largest_batch(exp, real, y) * batch // len(real)
    if fits == batch:
        return OutOfMemoryError(
            f"{exp.device} ran out of memory, where a step with trainer.batch_size={batch} fits now: other processes "
            "may have held it; the same command goes on from the last checkpoint"
        )
    advice = _advice(exp, f"{exp.device} has too little memory for trainer.batch_size={batch}", fits)
    said = f" ({useful_line(error)})" if error is not None and not fits else ""  # what else may be in the way
    return OutOfMemoryError(advice + said)


def _advice(exp: Experiment, what: str, fits: int, how: str = "measured") -> str:
    if not fits:
        return f"{what}, nor for any smaller one; choose a smaller width or resolution"
    also = "" if exp.config.trainer.precision == "bf16" else ", or trainer.precision=bf16 for half the activations"
    return f"{what}; trainer.batch_size={fits} fits ({how}), or a smaller width{also}"
