"""Home of the Poisson equation on a rectangle, solved exactly by sines."""

import math
from functools import lru_cache

import torch
from torch import Tensor


def solution(right: Tensor) -> Tensor:
    """The `[..., H, W]` whose Laplacian of five points is `right`, with zeros around the rectangle.

    Sines (DST-I) diagonalise that Laplacian: two products of matrices to their coefficients, a division by the
    eigenvalues, two products back (Buzbee, Golub, Nielson, "On direct methods for solving Poisson's equations", 1970).
    """
    (down, down_eigenvalues), (across, across_eigenvalues) = (_sines(size, right.device) for size in right.shape[-2:])
    coefficients = down @ right @ across
    return down @ (coefficients / (down_eigenvalues[:, None] + across_eigenvalues)) @ across


@lru_cache(maxsize=16)
def _sines(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The orthonormal, symmetric matrix of sines `[size, size]` and the eigenvalues `[size]` of second differences."""
    numbers = torch.arange(1, size + 1, dtype=torch.float64)
    angles = math.pi * numbers / (size + 1)
    sines = torch.sin(angles[:, None] * numbers) * math.sqrt(2 / (size + 1))
    return sines.float().to(device), (2 * angles.cos() - 2).float().to(device)
