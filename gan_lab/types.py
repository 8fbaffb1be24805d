"""The few shapes that parts agree on: what a penalty is given, and what the step expects of each part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

Schedule = float | Callable[[float], float]
"""A number, or a pure function of the images seen so far."""

DLoss = Callable[[Tensor, Tensor], Tensor]  # (real_logits, fake_logits) -> scalar
GLoss = Callable[[Tensor, Tensor], Tensor]  # (fake_logits, real_logits) -> scalar


@dataclass
class Batch:
    """Everything a penalty may look at; every penalty is given the same one.

    `D` is the discriminator *after* the augmentation, so that a penalty differentiates what is trained.
    In a D step `fake` is detached from G. In a G step `real` is the batch that the loss compares against.
    """

    G: nn.Module
    D: Callable[[Tensor], Tensor]
    real: Tensor  # b c h w, in [-1, 1]
    fake: Tensor  # b c h w, in [-1, 1]
    z: Tensor  # b z_dim
    real_logits: Tensor | None  # b; None in a G step whose loss does not look at the reals
    fake_logits: Tensor  # b
    images_seen: (
        float  # NaN where updates are CUDA graphs, which would freeze it: give the penalty a schedule as weight
    )


@runtime_checkable
class Penalty(Protocol):
    """A term added to one side's loss: the step adds `weight(images_seen) * interval * penalty(batch)` when due."""

    weight: Schedule
    interval: int
    side: str  # "d" or "g"
    needs_input_grad: frozenset[str]  # which of "real", "fake" must require grad before D's forward

    def __call__(self, batch: Batch) -> Tensor: ...
