"""Checks of the arguments."""

import numpy as np
import torch
from torch import Tensor

ArrayLike = Tensor | np.ndarray


def as_float64(values: ArrayLike) -> Tensor:
    """Convert to a detached float64 tensor."""
    return torch.as_tensor(values).detach().to(torch.float64)


def need_matrix(name: str, values: Tensor, rows: int) -> None:
    """Raise ValueError unless `values` has the shape (n, d) with n >= rows."""
    if values.ndim != 2 or values.shape[0] < rows:
        raise ValueError(f"{name} needs the shape (n, d) with n >= {rows}, not {tuple(values.shape)}")


def need_features(name: str, values: Tensor, rows: int) -> None:
    """Raise ValueError unless `values` has the shape (n, d) with n >= rows, and is finite."""
    need_matrix(name, values, rows)
    if not all_finite(values):
        raise ValueError("the features are not finite: some image or some weight of the backbone is NaN or inf")


def all_finite(x: Tensor) -> bool:
    """Return whether x (n ...) holds neither NaN nor infinity. Needs no temporary of the size of x."""
    return all(bool(torch.isfinite(part).all()) for part in x.split(4096))
