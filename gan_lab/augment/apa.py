"""Adaptive pseudo augmentation (arXiv:2111.06849)."""

import torch
from torch import Tensor

from gan_lab.augment.adaptive import Adaptive
from gan_lab.augment.base import Fakes
from gan_lab.distributed.randomness import uniform


class APA(Adaptive):
    """Show D fakes in place of reals, each with probability p; images themselves are not changed.

    arXiv:2111.06849, section 3.2: a D that is sure of its few reals is deceived about some of them. `p`, `target`,
    `interval` and `ramp_images`: see `Adaptive`. As in the reference code the mean sign that p follows is that of all
    that D took for real, the replacements too, and so are its penalties on reals. Replacements have the classes that
    they were generated with.

    Deviation: the replacements are drawn for this; the reference code takes the fakes of an earlier update.
    """

    diagnostic = "apa/p"

    def forward(self, images: Tensor) -> Tensor:
        return images

    def reals(self, real: Tensor, y: Tensor | None, fakes: Fakes) -> tuple[Tensor, Tensor | None]:
        fake, fake_y = fakes(len(real))
        replaced = uniform((len(real),), device=real.device) < self.p
        real = torch.where(replaced[:, None, None, None], fake.to(real), real)
        if y is not None and fake_y is not None:
            y = torch.where(replaced.view(-1, *[1] * (y.dim() - 1)), fake_y, y)
        return real, y
