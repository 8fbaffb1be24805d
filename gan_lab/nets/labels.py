"""How classes y (b, int64) enter nets.

Generators also take shares of classes (b num_classes, floats), to interpolate between classes. With several labels a
sample y is a vector of 0 and 1 (b num_classes, float): for StyleGAN2, R3GAN and BigGAN, and for projections of any D.

- G, with `conditional=True`: by class-conditional batch norms (`norms/activation.py`; DCGAN, SN-GAN's plain and
  residual nets), by an embedding appended to z (R3GAN), or in the mapping network (StyleGAN2).
- D, with a `condition`: by a class head (`heads.py`). The projections of R3GAN and StyleGAN2 are their own:
  the logit is a product with an embedding of y.
"""

import torch
from torch import Tensor


def conditional_classes(conditional: bool, num_classes: int) -> int:
    """Return the `num_classes` of the data for a conditional net, else 0; ValueError if the data has no classes."""
    if conditional and num_classes < 1:
        raise ValueError(f"a conditional net needs num_classes, got {num_classes}")
    return num_classes if conditional else 0


def require_classes(y: Tensor | None) -> Tensor:
    """Return y; ValueError if a conditional net is called without it."""
    if y is None:
        raise ValueError("this net is conditional and needs classes: call it with (input, y)")
    return y


def class_arguments(num_classes: int, y: Tensor | None) -> tuple[Tensor, ...]:
    """Return (y,), which conditional norms take after x; () for an unconditional net. ValueError without y."""
    return (require_classes(y),) if num_classes else ()


def one_hot(y: Tensor | None, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Return classes (b) as b num_classes, shares of classes (b num_classes) as they are; as `require_classes`."""
    y = require_classes(y)
    if y.is_floating_point():
        return y.to(dtype)
    return torch.eye(num_classes, dtype=dtype, device=y.device)[y]  # F.one_hot waits for y's values on some devices
