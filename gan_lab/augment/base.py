"""The base class of augmentations."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.schedules import Schedule


class Augment(nn.Module):
    """Base of augmentations: images (b c h w, in [-1, 1]) -> images of the same shape, differentiable twice.

    strength: a schedule of the images seen, whose value the clock writes into the buffer `p` before each update. With
    None the augmentation sets its own `p`, if it has one.
    """

    strength: Schedule | None = None
    p: Tensor

    def observe(self, real_sign: Tensor, images: int) -> None:
        """Called after each update of D with the mean sign of its logits on `images` reals (a scalar tensor)."""
