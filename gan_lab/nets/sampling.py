"""Images of a generator that is not being trained at the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gan_lab.nets.base import Generator


@torch.no_grad()
def generate(G: Generator, z: Tensor, y: Tensor | None = None, **settings: Any) -> Tensor:
    """G's images (b c h w, fp32) in evaluation mode, leaving its mode and weights as they were."""
    was_training = G.training
    G.eval()
    try:
        return G(z, y, **settings).float()  # type: ignore[no-any-return]
    finally:
        G.train(was_training)


def sampler(G: Generator, device: torch.device, truncation: float = 1.0) -> Callable[[int], Any]:
    """A function of n that draws z, and for a conditional G classes, and returns n images (n c h w, in [-1, 1]).

    It returns (images, classes) for a conditional G. `truncation` below 1 is passed on to G (arXiv:1812.04948,
    appendix B).
    """
    settings = {} if truncation == 1 else {"truncation": truncation}

    def sample(n: int) -> Tensor | tuple[Tensor, Tensor]:
        z, y = G.sample_z(n, device), G.sample_y(n, device)
        images = generate(G, z, y, **settings)
        return images if y is None else (images, y)

    return sample
