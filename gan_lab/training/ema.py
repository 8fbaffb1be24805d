"""Exponential moving average of G's weights, with its half-life in images."""

import torch
from torch import Tensor, nn


def ema_decay(halflife_images: float, images_per_step: int, images_seen: float, rampup: float) -> float:
    """The factor that halves a weight's share after `halflife_images` images.

    At the start the half-life is at most `rampup` times the images seen, so that the first, useless weights are
    forgotten (arXiv:1912.04958's reference code). A half-life of 0 copies G.
    """
    halflife = halflife_images if rampup <= 0 else min(halflife_images, rampup * images_seen)
    return 0.5 ** (images_per_step / halflife) if halflife > 0 else 0.0


@torch.no_grad()
def update_ema(G_ema: nn.Module, G: nn.Module, decay: float | Tensor) -> None:
    """`G_ema <- decay * G_ema + (1 - decay) * G` for parameters and BatchNorm's statistics; other buffers are copied.

    The statistics belong to the weights, so averaged weights need averaged ones; u and v of a spectral norm are unit
    vectors, whose average is none.
    """
    averages: list[Tensor] = list(G_ema.parameters())
    currents: list[Tensor] = list(G.parameters())
    sources = dict(G.named_buffers())
    copies: dict[str, Tensor] = {}
    for name, buffer in G_ema.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            averages.append(buffer)
            currents.append(sources[name])
        else:
            copies[name] = buffer
    if copies:
        torch._foreach_copy_(list(copies.values()), [sources[name] for name in copies])
    torch._foreach_lerp_(averages, currents, 1.0 - float(decay))
