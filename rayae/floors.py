"""Home of the floors: what a picture scores without a trained network, from a few arrays of the training pictures.

A detector that does not rank above them has learnt nothing that a linear model, or a look at the nearest training
picture, does not know.

All three look at thumbnails of 32 x 32 pixels, the means of what they cover in whole grey levels, so that a picture
that was trained on has distance 0 whatever it was stored as.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rayae.components import principal_components, project

FLOOR_NAMES = ("pca_error", "nearest_distance", "hash_distance")
SIDE = 32
COMPONENTS = 16
MOST_IMAGES = 2000
"""Training pictures that are kept, drawn at random: 2 MB of grey thumbnails, and 0.13 ms a picture on one core."""
HASH_SIDE = 8
LUMA = (0.299, 0.587, 0.114)


def fit(pixels: NDArray[np.uint8], seed: int) -> dict[str, NDArray[np.generic]]:
    """The arrays that `Floors` measures with, from `[N, H, W, C]` training pixels; at least two pictures.

    `thumbnails` `[M, 32, 32, C]` uint8 of at most 2,000 of them, `mean` `[D]` and `components` `[K, D]` float32 of
    the thumbnails in [0, 1], D = 32 * 32 * C, K = 16 or less where there are fewer pictures or fewer directions.
    """
    kept = np.sort(np.random.default_rng(seed).permutation(len(pixels))[:MOST_IMAGES])
    small = torch.cat(
        [thumbnails(torch.from_numpy(pixels[rows])) for rows in np.array_split(kept, len(kept) // 64 + 1)]
    )
    mean, components = principal_components(small.flatten(1).float() / 255, COMPONENTS)
    return {"thumbnails": small.numpy(), "mean": mean.numpy(), "components": components.numpy()}


class Floors:
    """The arrays of `fit` on a device, ready to measure pictures of any size there."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], device: torch.device) -> None:
        held = {name: torch.from_numpy(np.array(array)).to(device) for name, array in arrays.items()}
        self.mean, self.components = held["mean"], held["components"]
        self.directions = directions(held["thumbnails"])
        self.hashes = perceptual_hash(held["thumbnails"])

    def measure(self, pixels: Tensor) -> dict[str, Tensor]:
        """The floors of `[B, H, W, C]` uint8 pixels: a float32 `[B]` each by `FLOOR_NAMES`, higher is stranger.

        `pca_error` is the mean squared error of the thumbnail in [0, 1] against its projection on the components.
        `nearest_distance` is 1 less the highest correlation with a training thumbnail, between 0 and 2, and 1 where
        the picture is flat. `hash_distance` is the lowest number of the 64 bits of the perceptual hash that differ
        from those of a training thumbnail.
        """
        with torch.autocast(pixels.device.type, enabled=False):  # bf16 knows a correlation to 1 in 256
            small = thumbnails(pixels)
            values = small.flatten(1).float() / 255
            correlation = (directions(small) @ self.directions.T).amax(1)
            agreement = (perceptual_hash(small) @ self.hashes.T).amax(1)
            return {
                "pca_error": (values - project(values, self.mean, self.components)).square().mean(1),
                "nearest_distance": (1 - correlation).clamp(min=0),
                "hash_distance": (HASH_SIDE**2 - agreement) / 2,
            }


def thumbnails(pixels: Tensor) -> Tensor:
    """`[B, H, W, C]` uint8 pixels as `[B, 32, 32, C]` uint8: the mean of what each covers, rounded."""
    means = functional.adaptive_avg_pool2d(pixels.permute(0, 3, 1, 2).float(), SIDE)
    return means.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def directions(small: Tensor) -> Tensor:
    """`[B, 32, 32, C]` thumbnails as `[B, D]` float32 vectors of mean 0 and length 1; flat ones are all 0.

    The product of two is their normalised cross-correlation.
    """
    values = small.flatten(1).float()
    centred = values - values.mean(1, keepdim=True)
    return functional.normalize(centred, dim=1)


def perceptual_hash(small: Tensor) -> Tensor:
    """The 64 bits of `[B, 32, 32, C]` thumbnails as `[B, 64]` float32 of -1 and 1; a product counts agreement.

    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, 3.2.1: the signs of the 8 x 8
    lowest frequencies of the discrete cosine transform of the luma, without those of frequency 0, against their median.
    """
    colours = small.float()
    grey = colours[..., 0] if small.shape[3] == 1 else colours @ torch.tensor(LUMA, device=small.device)
    rows = _cosines(small.device)
    lowest = (rows @ (grey - grey.mean((1, 2), keepdim=True)) @ rows.T).flatten(1)
    return torch.where(lowest > lowest.median(1, keepdim=True).values, 1.0, -1.0)


@lru_cache(maxsize=8)
def _cosines(device: torch.device) -> Tensor:
    """The `[8, 32]` matrix of the discrete cosine transform for the frequencies 1 to 8."""
    with torch.inference_mode(False):
        frequencies = torch.arange(1, HASH_SIDE + 1)[:, None]
        angles = torch.pi * frequencies * (torch.arange(SIDE) + 0.5) / SIDE
        cosines: Tensor = (angles.double().cos() * (2 / SIDE) ** 0.5).float()
        return cosines.to(device)
