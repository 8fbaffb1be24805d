"""What the functions ask of their arguments."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

ArrayLike = Tensor | np.ndarray


def as_float64(values: ArrayLike) -> Tensor:
    """A tensor of float64 without a graph."""
    return torch.as_tensor(values).detach().to(torch.float64)


def need_matrix(name: str, values: Tensor, rows: int) -> None:
    """Raise ValueError unless `values` has the shape (n, d) with n >= rows."""
    if values.ndim != 2 or values.shape[0] < rows:
        raise ValueError(f"{name} needs the shape (n, d) with n >= {rows}, not {tuple(values.shape)}")


def all_finite(x: Tensor) -> bool:
    """Whether x (n ...) holds neither NaN nor infinity, without a temporary of its size."""
    return all(bool(torch.isfinite(part).all()) for part in x.split(4096))
