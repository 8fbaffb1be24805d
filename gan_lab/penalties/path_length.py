"""StyleGAN2's path length regularization (arXiv:1912.04958, section 3.2)."""

import math

import torch
from torch import Tensor

from gan_lab.distributed import collectives
from gan_lab.distributed.randomness import normal
from gan_lab.errors import UserError
from gan_lab.penalties.base import Batch, Penalty
from gan_lab.schedules import Schedule


class PathLength(Penalty):
    """mean (|J^T y| - a)^2: a step in w should change the image by the same amount everywhere (arXiv:1912.04958,
    equation 4).

    - J = d synthesis(w) / dw. |J^T y| is the root of the mean over style layers of the sum of squares over w's
      channels.
    - y is normal noise of standard deviation 1 / sqrt(H W), so that path lengths do not grow with the number of pixels
      H W (channels are not counted). The division is that of NVlabs/stylegan2-ada-pytorch; equation 4 has variance one.
    - a is the running mean of |J^T y|. It moves by `decay` towards the batch's mean before it is used, and is a
      constant for the gradient; in NVlabs/stylegan2-ada-pytorch it carries a hundredth of the gradient.

    Only the first 1 / `batch_shrink` of the latents are used. `weight` 2 and `interval` 4 are that code's
    values, too.

    For any generator with `styles(z) -> b l d` and `synthesis(styles) -> images`; UserError for another. State: the
    buffer `mean_length`.
    """

    mean_length: Tensor

    def __init__(self, weight: Schedule = 2.0, interval: int = 4, decay: float = 0.01, batch_shrink: int = 2) -> None:
        super().__init__(weight, interval, "g")
        if not 0.0 < decay <= 1.0:
            raise ValueError(f"decay must be above 0 and at most 1, got {decay}")
        if batch_shrink < 1:
            raise ValueError(f"batch_shrink must be at least 1, got {batch_shrink}")
        self.decay, self.batch_shrink = decay, batch_shrink
        self.register_buffer("mean_length", torch.zeros(()))

    def forward(self, batch: Batch) -> Tensor:
        G = batch.G
        if not (hasattr(G, "styles") and hasattr(G, "synthesis")):
            raise UserError(
                f"the path length penalty needs styles, which {type(G).__name__} has none of; "
                "choose generator=stylegan2 or leave the penalty out"
            )
        assert batch.z is not None
        n = max(1, len(batch.z) // self.batch_shrink)
        styles = G.styles(batch.z[:n]) if batch.fake_y is None else G.styles(batch.z[:n], batch.fake_y[:n])
        lengths = self.lengths(styles, G.synthesis(styles))
        self.mean_length.lerp_(collectives.mean(lengths.detach().mean()).to(self.mean_length.dtype), self.decay)
        return (lengths - self.mean_length.clone()).square().mean()

    def lengths(self, styles: Tensor, images: Tensor) -> Tensor:
        """Return |J^T y| of each sample (b) for one random y; styles b l d, images b c h w."""
        noise = normal(images.shape, device=images.device, dtype=images.dtype)
        noise = noise / math.sqrt(images.shape[2] * images.shape[3])
        gradient = self.gradient(images * noise, styles)  # b l d
        return gradient.square().sum(2).mean(1).sqrt()
