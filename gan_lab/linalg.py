"""Matrix decompositions in float64 on the CPU, with checked results.

CUDA's solvers may report success and return NaN: `torch.linalg.cholesky_ex` of a slightly indefinite matrix gave
`info = 0` and a factor full of NaN on an H200, where LAPACK gives `info = 64`. The matrices here are small (at most
2048 x 2048) and are decomposed rarely, so all of them go to LAPACK.
"""

import torch
from torch import Tensor


def float64_device(device: torch.device | str) -> torch.device:
    """Return the device, or the CPU for Apple's MPS, which has no float64."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


def as_float64(tensor: Tensor) -> Tensor:
    """Return a tensor without its graph in float64, on its device if that has float64, else on the CPU."""
    return tensor.detach().to(float64_device(tensor.device)).to(torch.float64)


def cholesky(matrix: Tensor) -> Tensor | None:
    """Return lower triangular L (d d) with L L^T = `matrix` (d d), on its device; None if not positive definite."""
    factor, info = torch.linalg.cholesky_ex(_on_cpu(matrix))
    return None if int(info) or not bool(torch.isfinite(factor).all()) else factor.to(matrix.device)


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (d), ascending, and eigenvectors (d d, columns) of a symmetric matrix, on its device."""
    values, vectors = torch.linalg.eigh(_on_cpu(matrix))
    return _checked(values).to(matrix.device), _checked(vectors).to(matrix.device)


def eigvalsh(matrix: Tensor) -> Tensor:
    """Return the eigenvalues (d), ascending, of a symmetric matrix (d d), on its device."""
    return _checked(torch.linalg.eigvalsh(_on_cpu(matrix))).to(matrix.device)


def svdvals(matrix: Tensor) -> Tensor:
    """Return the singular values (min(m, n)), descending, of a matrix (m n), on its device."""
    return _checked(torch.linalg.svdvals(_on_cpu(matrix))).to(matrix.device)


def _on_cpu(matrix: Tensor) -> Tensor:
    return matrix.detach().cpu().to(torch.float64)


def _checked(result: Tensor) -> Tensor:
    """Return the result of a decomposition; ArithmeticError if the solver returned NaN or infinity."""
    if not bool(torch.isfinite(result).all()):
        raise ArithmeticError("a matrix decomposition returned numbers that are not finite")
    return result
