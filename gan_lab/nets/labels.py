"""How classes y (b, int64) enter nets, in those that have `conditional=True`.

Generators also take shares of classes (b num_classes, floats), to interpolate between classes.

- R3GAN (`r3gan.py`): G appends an embedding of y to z; D's logit is a product with an embedding of y.
- ResNet (`resnet.py`): G's blocks have class-conditional batch norms (`norms/activation.py`); D has a projection head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def one_hot(y: Tensor | None, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Return classes (b) as b num_classes, shares of classes (b num_classes) as they are; as `require_classes`."""
    y = require_classes(y)
    return (y if y.is_floating_point() else F.one_hot(y, num_classes)).to(dtype)
