"""The base class of augmentations."""

from collections.abc import Callable

from torch import Tensor, nn

from gan_lab.schedules import Schedule

Fakes = Callable[[int], tuple[Tensor, Tensor | None]]  # n -> images (n c h w) and their classes (n)


class Augment(nn.Module):
    """Base of augmentations: images (b c h w, in [-1, 1]) -> images of the same shape, differentiable twice.

    strength: a schedule of the images seen, whose value the clock writes into the buffer `p` before each update,
    clamped to [0, `largest`]. With None the augmentation sets its own `p`, if it has one.
    """

    strength: Schedule | None = None
    largest: float = 1.0
    p: Tensor

    def observe(self, real_sign: Tensor, images: int) -> None:
        """Called after each update of D with the mean sign of its logits on `images` reals (a scalar tensor)."""

    def reals(self, real: Tensor, y: Tensor | None, fakes: Fakes) -> tuple[Tensor, Tensor | None]:
        """Return what an update of D takes for reals: the reals (b c h w) and their classes (b), or changed ones.

        fakes: draws images of the present G, with their classes.
        """
        return real, y
