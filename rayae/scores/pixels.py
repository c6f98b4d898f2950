"""Home of what is measured of a picture itself, without any model."""

import math

import torch
from torch import Tensor

from rayae.results import PIXEL_STATISTICS

DARKEST_ONE_IN = 100
LEVELS = 256


def describe(pixels: Tensor) -> dict[str, Tensor]:
    """What needs no model: mean, standard deviation, 1st percentile and sharpness of `[B, H, W, C]` uint8 pixels.

    A float32 `[B]` each in [0, 1], over pixels and channels together, by the names of `results.PIXEL_STATISTICS`. The
    1st percentile is the lowest level that at least 1 % are no higher than; sharpness is the root of the mean squared
    difference between pixels and those right of or below them.
    """
    described = by_picture(pixels) if pixels.device.type == "cpu" else at_once(pixels)
    return {name: value.float() / 255 for name, value in zip(PIXEL_STATISTICS, described, strict=True)}


def by_picture(pixels: Tensor) -> tuple[Tensor, ...]:
    """On a CPU: one after the other, each staying in its cache, and levels counted once for three of the four."""
    levels, values = torch.arange(LEVELS, dtype=torch.float64), pixels.flatten(1)
    counts = torch.zeros(len(pixels), LEVELS, dtype=torch.int64)
    squares = torch.zeros(len(pixels))
    for place, picture in enumerate(pixels):
        counts[place] = values[place].bincount(minlength=LEVELS)
        for one in _differences(picture.float()):
            squares[place] += one.flatten().dot(one.flatten())
    shares = counts.double() / max(1, values.shape[1])
    mean = shares @ levels
    deviation = ((levels - mean[:, None]).square() * shares).sum(1).sqrt()
    darkest = (counts.cumsum(1) < _darkest(values)).sum(1)
    return mean, deviation, darkest, (squares / _differing(pixels)).sqrt()


def at_once(pixels: Tensor) -> tuple[Tensor, ...]:
    """On a GPU, which counts slowly: all pictures in a few kernels."""
    values = pixels.flatten(1)
    centred = values.float()
    mean = centred.mean(1, keepdim=True)
    centred -= mean
    deviation = centred.square_().mean(1).sqrt()
    darkest = values.kthvalue(_darkest(values), dim=1).values
    down, right = (one.square().flatten(1).sum(1) for one in _differences(pixels.float()))
    return mean[:, 0], deviation, darkest, ((down + right) / _differing(pixels)).sqrt()


def _differences(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """What `[..., H, W, C]` differ by from row to row, and from column to column."""
    return pictures.diff(dim=-3), pictures.diff(dim=-2)


def _differing(pixels: Tensor) -> int:
    """How many differences a picture of `[B, H, W, C]` has; 1 for one that has none."""
    _, height, width, channels = pixels.shape
    return max(1, channels * ((height - 1) * width + height * (width - 1)))


def _darkest(values: Tensor) -> int:
    """How many of a picture's `[B, N]` values the darkest 1 % are."""
    return math.ceil(values.shape[1] / DARKEST_ONE_IN)
