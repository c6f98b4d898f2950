"""Home of where to look: a region of the pictures, and what means and worst shares are within it."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from rayae.errors import ConfigError

WORST_ONE_IN = 100
SSIM_RADIUS = 5
"""Pixels on each side that the map of SSIM is without."""


@dataclass(frozen=True)
class Region:
    """Weights of the pixels, `[H, W]`, on the device of the pictures: 0 is outside, 1 counts in full.

    Made once and used for every batch: whatever has to be read back from a GPU is read here.
    """

    weights: Tensor
    worst: int = field(init=False)
    """Pixels that are the worst 1 % of those inside, a pixel counting as much as it weighs; rounded up."""
    _resized: dict[tuple[int, int], "Region"] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "worst", math.ceil(float(self.weights.double().sum()) / WORST_ONE_IN))

    @classmethod
    def of(cls, weights: Tensor) -> "Region":
        """The region of a mask; ConfigError when it is no float of `[H, W]` in [0, 1], or has nothing to look at."""
        problem = _problem(weights)
        if problem is not None:
            raise ConfigError(f"A region has one weight a pixel, in [0, 1], but {problem}; draw it again.")
        return cls(weights)

    @cached_property
    def inner(self) -> "Region":
        """The part around which the windows of SSIM lie inside the picture, `[H-10, W-10]`."""
        return Region(_inner(self.weights))

    @cached_property
    def log_weights(self) -> Tensor:
        """What is added to logits, so that their odds are multiplied by the weights: -inf outside."""
        return self.weights.log()

    @cached_property
    def outside(self) -> Tensor:
        """Where nothing is looked at, `[H, W]` bool."""
        return self.weights == 0

    def resized(self, height: int, width: int) -> "Region":
        """The region at another size: each weight the mean of those of the area that it stands for."""
        size = (height, width)
        if size == tuple(self.weights.shape):
            return self
        if size not in self._resized:
            self._resized[size] = Region(functional.adaptive_avg_pool2d(self.weights[None], size)[0])
        return self._resized[size]

    def filled(self, images: Tensor, reconstructions: Tensor) -> tuple[Tensor, Tensor]:
        """Both with the mean of the image inside, a channel, in place of all that is outside: no filter sees it.

        The mean, since any other value would make an edge in both that hides errors beside it from SSIM.
        """
        level = self._level(images)
        return torch.where(self.outside, level, images), torch.where(self.outside, level, reconstructions)

    def masked(self, images: Tensor) -> Tensor:
        """The images `[B, C, H, W]` alone, likewise."""
        return torch.where(self.outside, self._level(images), images)

    def _level(self, images: Tensor) -> Tensor:
        """The weighted mean inside, `[B, C, 1, 1]`."""
        inside = images.masked_fill(self.outside, 0) * self.weights
        return inside.sum((2, 3), keepdim=True) / self.weights.sum()


def average(maps: Tensor, region: Region | None) -> Tensor:
    """The mean of each of `[B, C, H, W]` over its channels and pixels, as these weigh: `[B]`."""
    if region is None:
        return maps.mean((1, 2, 3))
    return (maps * region.weights).mean((1, 2, 3)) / region.weights.mean()


def peak(maps: Tensor, region: Region | None) -> Tensor:
    """The highest of the values, times their weights, of each `[B, 1, H, W]` map: `[B]`."""
    return (maps if region is None else maps * region.weights).amax((1, 2, 3))


def worst_share(maps: Tensor, region: Region | None = None) -> Tensor:
    """Mean over the highest 1 % of the values of each `[B, 1, H, W]` map, at least one value: `[B]`.

    In a region it is 1 % of what is inside, and of the values times their weights.
    """
    if region is None:
        return highest(maps, math.ceil(maps.flatten(1).shape[1] / WORST_ONE_IN))
    return highest(maps * region.weights, region.worst)


def highest(maps: Tensor, count: int) -> Tensor:
    """Mean over the `count` highest values of each of `[B, 1, H, W]`: `[B]`."""
    return maps.flatten(1).topk(count, dim=1).values.mean(1)


def _inner(weights: Tensor) -> Tensor:
    return weights[SSIM_RADIUS:-SSIM_RADIUS, SSIM_RADIUS:-SSIM_RADIUS]


def _problem(weights: Tensor) -> str | None:
    if weights.ndim != 2 or not weights.is_floating_point():
        return f"this is {weights.dtype} of {weights.ndim} dimensions"
    if not bool(((weights >= 0) & (weights <= 1)).all()):
        return "some are not"
    if not bool((_inner(weights) > 0).any()):
        return f"none is above 0 further than {SSIM_RADIUS} pixels from the border"
    return None
