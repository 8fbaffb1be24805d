"""Images of a generator that is not being trained at the moment."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from gan_lab.distributed.randomness import mix, own_randomness
from gan_lab.errors import UserError
from gan_lab.nets.base import Generator
from gan_lab.norms import bake

STANDING_BATCH = 100  # images, where an evaluation does not say it


@torch.no_grad()
def generate(G: Generator, z: Tensor, y: Tensor | None = None, **settings: Any) -> Tensor:
    """G's images (b c h w, fp32) in evaluation mode, leaving its mode and weights as they were."""
    was_training = G.training
    G.eval()
    try:
        return G(z, y, **settings).float()  # type: ignore[no-any-return]
    finally:
        G.train(was_training)


def batch_norms(G: Generator) -> list[_BatchNorm]:
    """Return the layers that have running statistics; UserError if there are none."""
    norms = [m for m in G.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        raise UserError(f"standing_statistics: {type(G).__name__} has no batch norms; leave it at 0")
    return norms


@torch.no_grad()
def with_standing_statistics(G: Generator, batches: int, batch_size: int = STANDING_BATCH, seed: int = 0) -> Generator:
    """Return a copy of G whose batch norms have standing statistics: means over `batches` batches of its own images.

    Each running mean and (unbiased) variance becomes the mean of those of batches of `batch_size` images in training
    mode, instead of a moving average of the course of training (arXiv:1809.11096, appendix C). The draws depend on the
    `seed` only. The copy's weight norms are baked in. With 0 batches G itself, with its running statistics. UserError
    for a generator without batch norms.
    """
    if not batches:
        return G
    device, G = next(G.parameters()).device, bake(copy.deepcopy(G))
    for norm in batch_norms(G):
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the mean over all batches
        norm.synchronize = False  # type: ignore[assignment]  # every process draws the same
    G.train()
    with own_randomness(mix(seed, "standing statistics"), device):
        for _ in range(batches):
            G(G.sample_z(batch_size, device), G.sample_y(batch_size, device))
    return G.eval()


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
