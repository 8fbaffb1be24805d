"""Memory of an evaluation: what it will need, and what to do when there was too little."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.distributed.memory import Need, fits, free_bytes, gigabytes, largest_halving
from gan_lab.distributed.randomness import own_randomness
from gan_lab.errors import OutOfMemoryError
from gan_lab.kernels.threads import idle_cores
from gan_lab.metrics.images import count_non_finite, quantize

_PER_PIXEL = 9  # bytes while a backbone reads a batch: the uint8 image, and two copies in float32


def _draw(sample: Callable[[int], Any], n: int, device: torch.device) -> Tensor:
    """Draw n images as an evaluation does: uint8 n c h w. The random generators are left as they were."""
    with own_randomness(0, device), torch.no_grad():
        images = sample(n)
        images = images[0] if isinstance(images, tuple) else images
        count_non_finite(images)
        return quantize(images).to(device)


class EvaluationNeed:
    """Predict how many bytes an evaluation takes besides the generator, as a function of the batch size."""

    def __init__(self, evaluator: Any, sample: Callable[[int], Any]) -> None:
        device, self.extractor = evaluator.device, evaluator.extractor
        image = torch.zeros(1, evaluator.dataset.channels, *[evaluator.dataset.resolution] * 2, dtype=torch.uint8)
        self.pixels = image.numel()
        self.drawing = Need(lambda n: lambda: _draw(sample, n, device))
        few = image.to(device)
        self.extracting = Need(lambda n: lambda: self.extractor(few.expand(n, -1, -1, -1)), few=1)
        self.kept = sum(_kept(evaluator, side) for side in ("fake", "real"))
        self.readers = idle_cores(device)

    def __call__(self, batch: int) -> float:
        read = self.extracting(min(batch, self.extractor.cpu_chunk)) + batch * self.pixels * _PER_PIXEL
        if self.readers == 1:
            return self.kept + max(self.drawing(batch), read)
        return self.kept + self.drawing(batch) + self.readers * read


def _kept(evaluator: Any, side: str) -> float:
    """Bytes of what is accumulated of one side."""
    limits, d = evaluator.limits(side), evaluator.extractor.num_features
    pixels = evaluator.dataset.channels * evaluator.dataset.resolution**2
    widths = {"features": 4 * d, "pairs": 4 * d, "images": pixels, "logits": 4 * evaluator.extractor.num_logits}
    of_rows = sum(limit * widths[need] for need, limit in limits.items() if need in widths)
    return float(of_rows + (3 * 8 * d * d if "gaussian" in limits else 0))


def check(evaluator: Any, sample: Callable[[int], Any]) -> None:
    """Raise OutOfMemoryError if an evaluation on a CPU needs more memory than is free, where that is known."""
    free = free_bytes() if evaluator.device.type == "cpu" else None
    if free is not None:
        check_fits(evaluator, EvaluationNeed(evaluator, sample), free)


def check_fits(evaluator: Any, need: EvaluationNeed, free: float) -> None:
    """Raise OutOfMemoryError, which names a batch that fits, if an evaluation needs more than `free` bytes."""
    batch = evaluator.batch_size
    if need(batch) > free:
        what = (f"an evaluation with metrics.batch_size={batch} needs about {gigabytes(need(batch))} of memory, "
                f"and {gigabytes(free)} are free")  # fmt: skip
        raise OutOfMemoryError(_advice(what, largest_halving(batch, lambda n: need(n) <= free), "estimated"))


def explained(evaluator: Any, sample: Callable[[int], Any]) -> OutOfMemoryError:
    """Return the error for an evaluation that ran out of memory, with a batch size that fits, found by trying."""
    batch = min(evaluator.batch_size, evaluator.num_samples)
    largest = largest_halving(batch, lambda n: fits(lambda: evaluator.extractor(_draw(sample, n, evaluator.device))))
    if largest == batch:
        return OutOfMemoryError(
            f"{evaluator.device} ran out of memory in an evaluation, where a batch of metrics.batch_size={batch} fits "
            "now: other processes may have held it; fewer metrics.num_samples or metrics.pairwise need less"
        )
    what = f"{evaluator.device} has too little memory for an evaluation with metrics.batch_size={batch}"
    return OutOfMemoryError(_advice(what, largest, "measured"))


def _advice(what: str, largest: int, how: str) -> str:
    if not largest:
        return f"{what}, nor for any smaller one; fewer metrics.num_samples need less, and metrics=none nothing"
    return f"{what}; metrics.batch_size={largest} fits ({how})"
