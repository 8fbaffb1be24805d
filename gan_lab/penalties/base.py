"""`Batch`, what penalties are given; `Penalty`, their base class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from gan_lab.nets.base import Discriminator, at_least_float32
from gan_lab.nets.self_supervision import Features
from gan_lab.schedules import Schedule, value


@dataclass
class Batch:
    """Everything a penalty may use; all penalties of an update are given the same one.

    `D` is the discriminator as it is trained: after the augmentation, with logits in fp32. In a D step `fake` is
    detached from G. In a G step `real` is the batch that the loss compares with. Outside our loop only what a penalty
    uses has to be set, and `D` and `G` may be any callables.
    """

    G: Any = None
    D: Callable[..., Tensor] | None = None
    real: Tensor | None = None  # b c h w, in [-1, 1]
    fake: Tensor | None = None  # b c h w
    z: Tensor | None = None  # b z_dim
    real_logits: Tensor | None = None  # b; None in a G step whose loss does not look at the reals
    fake_logits: Tensor | None = None  # b
    y: Tensor | None = None  # b, classes of the reals; None without labels
    fake_y: Tensor | None = None  # b, classes of the fakes
    real_features: Features | None = None  # b f ..., from the same forward as the logits
    fake_features: Features | None = None
    loss: Tensor | None = None  # the adversarial loss of the update, a scalar

    def logits(self, images: Tensor, y: Tensor | None = None) -> Tensor:
        """Return D's logits (b) of other images (b c h w) with classes y (b)."""
        assert self.D is not None, "this penalty needs batch.D"
        return self.D(images) if y is None else self.D(images, y)

    def images(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return G's images (b c h w), in fp32 at least, of other latents (b z_dim) with classes y (b)."""
        assert self.G is not None, "this penalty needs batch.G"
        return at_least_float32(self.G(z) if y is None else self.G(z, y))


class Penalty(nn.Module):
    """Base of penalties: a term for one side's loss, unweighted.

    weight: a number or a schedule of the images seen. interval: the penalty is added in every `interval`-th update,
    `interval` times as strong (lazy regularization, arXiv:1912.04958, section 3.1). side: "d" or "g".

    A subclass defines `forward(batch)`, which returns a scalar. It keeps state, if any, in buffers. It lists in
    `needs_input_grad` which of "real" and "fake" must require a gradient before D's forward, and names in `trains` the
    setting of D whose layers it trains, such as ("condition", "ac"). ValueError for a setting out of range.
    """

    needs_input_grad: frozenset[str] = frozenset()
    trains: ClassVar[tuple[str, str] | None] = None
    factor: Tensor

    def __init__(self, weight: Schedule, interval: int, side: str) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        if side not in ("d", "g"):
            raise ValueError(f"side must be d or g, got {side!r}")
        if not callable(weight) and weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight}")
        self.weight, self.interval, self.side = weight, interval, side
        # The present weight times the interval; the clock writes it before each update.
        self.register_buffer("factor", torch.tensor(value(weight, 0.0) * interval), persistent=False)

    def term(self, step: int = 0, **batch: Any) -> Tensor:
        """Return the term for a loop of one's own: weight * interval * value in every `interval`-th step, else 0.

        batch: fields of `Batch`, plain tensors and callables: `penalty.term(step, D=D, real=images)`. A weight that is
        a schedule has its value at the start.
        """
        return self.factor * self(Batch(**batch)) if step % self.interval == 0 else torch.zeros_like(self.factor)

    def latents(self, batch: Batch) -> Tensor:
        """Return the latents (b z_dim) that G is given in an update of this side: `batch.z`, or moved ones.

        Called before the fakes are made, with G, D, z and fake_y in the batch.
        """
        assert batch.z is not None
        return batch.z

    def after_step(self, D: nn.Module) -> None:
        """Called after each optimizer step of D, for constraints on its weights."""

    def net(self, batch: Batch) -> nn.Module:
        """Return the net of this penalty's side: `batch.G`, or `batch.D` or its attribute `module`."""
        net = batch.G if self.side == "g" else batch.D
        module = net if isinstance(net, nn.Module) else getattr(net, "module", None)
        if not isinstance(module, nn.Module):
            raise TypeError(f"{type(self).__name__} works on weights: batch.D must be a net or have one as `module`")
        return cast(nn.Module, module)

    def trained_discriminator(self, batch: Batch) -> Discriminator:
        """Return `batch.D` without its augmentation; ValueError if it has not the layers that this penalty trains."""
        D = getattr(batch.D, "module", batch.D)
        setting, value = self.trains or ("", "")
        if not isinstance(D, Discriminator) or D.trained_by_penalties().get(setting) != value:
            raise ValueError(f"{type(self).__name__} needs a discriminator with {setting}={value}")
        return D

    def gradient(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Return d sum(outputs) / d inputs; see `gradients`."""
        return self.gradients(outputs, [inputs])[0]

    def gradients(self, outputs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return d sum(outputs) / d each input from one backward pass, in fp32 at least, with a graph.

        RuntimeError if the outputs do not depend on an input, or if a gradient came back without a graph (some
        compiled nets do that): the penalty would silently train nothing.
        """
        name, found = type(self).__name__, []
        for grad in torch.autograd.grad(outputs.sum(), inputs, create_graph=True, allow_unused=True):
            if grad is None:
                raise RuntimeError(f"{name}: the outputs do not depend on the inputs it differentiates by")
            if not grad.requires_grad:
                raise RuntimeError(
                    f"{name}: the gradient lost its graph, so the penalty would train nothing; "
                    "is the net compiled, or frozen?"
                )
            found.append(at_least_float32(grad))
        return found


PenaltyModule = Penalty  # its name in version 0.1
