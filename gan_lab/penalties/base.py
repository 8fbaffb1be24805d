"""What penalties have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from gan_lab.types import Batch, Schedule


class PenaltyModule(nn.Module):
    """Base of our penalties: `weight`, `interval` and `side`, and state, if any, in buffers.

    A penalty's value is unweighted: the step multiplies by `weight(images_seen) * interval` when it is due.
    """

    needs_input_grad: frozenset[str] = frozenset()

    def __init__(self, weight: Schedule, interval: int, side: str) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        if side not in ("d", "g"):
            raise ValueError(f"side must be d or g, got {side!r}")
        if not callable(weight) and weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight}")
        self.weight, self.interval, self.side = weight, interval, side

    def net(self, batch: Batch) -> nn.Module:
        """The net of this penalty's side: `batch.G`, or `batch.D` or the `module` that it carries."""
        net = batch.G if self.side == "g" else batch.D
        module = net if isinstance(net, nn.Module) else getattr(net, "module", None)
        if not isinstance(module, nn.Module):
            raise TypeError(f"{type(self).__name__} works on weights: batch.D must be a net or carry one as `module`")
        return cast(nn.Module, module)

    def gradient(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """d sum(outputs) / d inputs in fp32 at least, with a graph; errors as `gradients`."""
        return self.gradients(outputs, [inputs])[0]

    def gradients(self, outputs: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """d sum(outputs) / d each input in one backward pass, in fp32 at least, with a graph.

        RuntimeError if an input has no part in the outputs, or if a gradient came back without a graph
        while one is being recorded (some compiled nets do that): the penalty would silently train nothing.
        """
        graph, name = torch.is_grad_enabled(), type(self).__name__
        found = []
        for grad in torch.autograd.grad(outputs.sum(), inputs, create_graph=graph, allow_unused=True):
            if grad is None:
                raise RuntimeError(f"{name}: the outputs do not depend on the inputs it differentiates by")
            if graph and not grad.requires_grad:
                raise RuntimeError(
                    f"{name}: the gradient lost its graph, so the penalty would train nothing; "
                    "is the net compiled, or frozen?"
                )
            found.append(grad.to(torch.promote_types(grad.dtype, torch.float32)))
        return found
