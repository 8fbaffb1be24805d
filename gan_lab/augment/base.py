"""What augmentations have in common."""

from __future__ import annotations

from torch import Tensor, nn

from gan_lab.schedules import Schedule


class Augment(nn.Module):
    """Base of augmentations: called with images (b c h w, in [-1, 1]), returns as many, differentiable twice.

    strength: a schedule of the images seen that the clock writes into the buffer `p` before each update; None leaves
    `p` to the augmentation.
    """

    strength: Schedule | None = None
    p: Tensor

    def observe(self, real_sign: Tensor, images: int) -> None:
        """Called after each update of D with the mean sign of its logits on `images` reals (a scalar tensor)."""
