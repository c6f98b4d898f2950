"""Home of what is put to the test. A detector is two functions deep: fit on normal pictures, then score any.

These are the floors; rayae's own stand in `trained`.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayae.components import principal_components, project
from rayae.nearest import MOST_IMAGES, Nearest
from rayae.pixels import as_images
from rayae.scores import TEXTURE_SCORES, Textures, describe, measure
from rayae.scores.places import grid_of, gridded
from rayae.scores.textures import texture_maps
from rayae.trial import MOST_FOR_COMPONENTS

Pixels = NDArray[np.uint8]
Columns = dict[str, NDArray[np.float32]]
Score = Callable[[Pixels], Columns]
"""Pixels `[N, H, W, C]` -> scores `[N]` by name, finite, higher for a defect."""
Fit = Callable[[Pixels, Pixels, int, float], Score]
"""Training pixels, calibration pixels, seed, minutes that training may take -> what scores.

The minutes are CPU-minutes of this process.
"""
PCA_COMPONENTS = (8, 16, 32, 64)
AT_ONCE = 64
CPU = torch.device("cpu")


def in_batches(pixels: Pixels, score: Callable[[Tensor], Mapping[str, Tensor]]) -> Columns:
    """The scores of all pixels, some pictures at a time."""
    with torch.inference_mode():
        parts = [score(torch.from_numpy(pixels[at : at + AT_ONCE])) for at in range(0, len(pixels), AT_ONCE)]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def fit_statistics(train: Pixels, calibration: Pixels, seed: int, minutes: float) -> Score:
    """Statistics of the picture alone; nothing is fitted."""
    return lambda pixels: in_batches(pixels, describe)


def fit_nearest(train: Pixels, calibration: Pixels, seed: int, minutes: float) -> Score:
    """The distance to the nearest training picture, as every bundle has it."""
    kept = np.random.default_rng(seed).permutation(len(train))[:MOST_IMAGES]
    blank = Nearest.blank(train.shape[3], CPU)
    nearest = blank.fitted(blank.coded(as_images(torch.from_numpy(train[kept]))))
    return lambda pixels: in_batches(pixels, lambda some: {"nearest_distance": nearest(as_images(some))})


def fit_textures(train: Pixels, calibration: Pixels, seed: int, minutes: float) -> Score:
    """What the principal components of brightness and edges at each place cannot say, as every bundle has it."""
    kept = np.random.default_rng(seed).permutation(len(train))[:MOST_FOR_COMPONENTS]
    height, width, channels = train.shape[1:]
    parts = [
        gridded(texture_maps(as_images(torch.from_numpy(train[kept[at : at + AT_ONCE]]))), *grid_of(height, width))
        for at in range(0, len(kept), AT_ONCE)
    ]
    textures = Textures.fit([torch.cat(parts)], channels, height, width)

    def score(pixels: Tensor) -> dict[str, Tensor]:
        images = as_images(pixels)
        return measure(images, images, textures=textures, names=TEXTURE_SCORES)

    return lambda pixels: in_batches(pixels, score)


def fit_pca(train: Pixels, calibration: Pixels, seed: int, minutes: float) -> Score:
    """Reconstruction from principal components of all pixels, by the scores of the autoencoder: `mse k=8` and so on."""
    values = torch.from_numpy(train).flatten(1).float() / 255
    mean, components = principal_components(values, max(PCA_COMPONENTS))

    def score(pixels: Tensor) -> dict[str, Tensor]:
        flat = pixels.flatten(1).float() / 255
        found: dict[str, Tensor] = {}
        for count in PCA_COMPONENTS:
            back = project(flat, mean, components[:count]).clamp(0, 1)
            images, twins = (some.reshape(pixels.shape).permute(0, 3, 1, 2) for some in (flat, back))
            found |= {f"{name} k={count}": column for name, column in measure(images, twins).items()}
        return found

    return lambda pixels: in_batches(pixels, score)


FLOORS: dict[str, Fit] = {
    "statistics/none": fit_statistics,
    "nearest/none": fit_nearest,
    "textures/pca": fit_textures,
    "reconstruction/pca": fit_pca,
}
"""What runs each time, and needs no minutes."""
