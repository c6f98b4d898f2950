"""Home of smooth fields: noise of any grain, and blurring, both as products with small matrices.

A product of matrices is the fastest that both a CPU and a GPU have: bicubic upsampling and windows that slide took half
the time of a defect.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from rayae.dice import Dice

OCTAVES_A_FIELD = 0.7
"""Standard deviation of the grains in one field of noise, in octaves around that field's own grain."""


@lru_cache(maxsize=64)
def upsampling(cells: int, size: int, device: torch.device) -> Tensor:
    """The matrix `[size, cells]` of bicubic interpolation from `cells` numbers to `size`."""
    unit = torch.eye(cells, device=device)[None, None]
    return functional.interpolate(unit, (size, cells), mode="bicubic", align_corners=False)[0, 0]


def noise(count: int, channels: int, height: int, width: int, cells: Sequence[int], dice: Dice) -> Tensor:
    """Fields `[count, channels, H, W]` of mean 0 and a variance of about 1, each of a grain of its own.

    A grain is a number of cells along the shorter side; each field mixes the given ones around one of them.
    """
    grain = dice.uniform(count, 1, high=len(cells)) - 0.5
    steps = torch.arange(len(cells), device=dice.device) - grain
    weights = functional.normalize((-0.5 * (steps / OCTAVES_A_FIELD).square()).exp(), dim=1)
    field = torch.zeros(count, channels, height, width, device=dice.device)
    for weight, number in zip(weights.T, cells, strict=True):
        field += _octave(weight[:, None, None, None], channels, height, width, number, dice)
    return field


def _octave(weight: Tensor, channels: int, height: int, width: int, cells: int, dice: Dice) -> Tensor:
    side, count = min(height, width), len(weight)
    if cells >= side:
        return dice.normal(count, channels, height, width) * weight
    down, across = (max(2, round(cells * length / side)) for length in (height, width))
    coarse = dice.normal(count, channels, down, across) * weight
    return upsampling(down, height, dice.device) @ coarse @ upsampling(across, width, dice.device).T


def blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Pictures `[B, C, H, W]` under Gaussians of `sigma` `[B]` pixels; beyond the border nothing is assumed."""
    down, across = (_gaussian(size, sigma) for size in pictures.shape[2:])
    return down[:, None] @ pictures @ across.mT[:, None]


def _gaussian(size: int, sigma: Tensor) -> Tensor:
    """Matrices `[B, size, size]` whose rows are Gaussians of sum 1."""
    pixels = torch.arange(size, device=sigma.device)
    bells = bell((pixels[:, None] - pixels) / sigma[:, None, None])
    return bells / bells.sum(2, keepdim=True)


def bell(deviations: Tensor) -> Tensor:
    """exp(-d^2 / 2), of 1e-13 and not less far away: numbers below 1e-38 make a CPU ten times slower."""
    return (-0.5 * deviations.square()).clamp(min=-30).exp()
