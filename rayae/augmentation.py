"""Home of small changes of the training pictures that a normal picture may have anyway."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rayae.dice import Dice


@dataclass(frozen=True)
class Augmentation:
    """What may be changed, at random, in each picture of each epoch; nothing by zeros and False."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    shift: int = 0
    """Largest shift along each side, in pixels; the border is repeated."""
    brightness: float = 0.0
    """Largest change of brightness, of white: 0.05 adds up to 5 % of it, or takes it away."""
    contrast: float = 0.0
    """Largest change of contrast around the mean of the picture: 0.1 stretches or squeezes it by up to 10 %."""
    noise: float = 0.0
    """Largest standard deviation of Gaussian noise, of white: cameras differ in it."""


def augment(pictures: Tensor, changes: Augmentation, generator: torch.Generator) -> Tensor:
    """The `[B, C, H, W]` pictures in [0, 1], each changed at random."""
    dice, one_each = Dice(generator, pictures.device), (len(pictures), 1, 1, 1)
    if changes.flip_horizontal:
        pictures = torch.where(dice.chance(0.5, *one_each), pictures.flip(3), pictures)
    if changes.flip_vertical:
        pictures = torch.where(dice.chance(0.5, *one_each), pictures.flip(2), pictures)
    if changes.shift:
        pictures = _shifted(pictures, changes.shift, dice)
    if changes.brightness or changes.contrast:
        mean = pictures.mean((1, 2, 3), keepdim=True)
        stretch = 1 + dice.uniform(*one_each, low=-changes.contrast, high=changes.contrast)
        level = mean + dice.uniform(*one_each, low=-changes.brightness, high=changes.brightness)
        pictures = ((pictures - mean) * stretch + level).clamp(0, 1)
    if changes.noise:
        sigma = dice.uniform(*one_each, high=changes.noise)
        pictures = (pictures + sigma * dice.normal(*pictures.shape)).clamp(0, 1)
    return pictures


def _shifted(pictures: Tensor, most: int, dice: Dice) -> Tensor:
    """Each picture moved by its own whole number of pixels, up to `most`, along both sides."""
    count, height, width = len(pictures), *pictures.shape[2:]
    down, right = dice.below(2 * most + 1, 2, count, 1) - most
    rows = (torch.arange(height, device=pictures.device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=pictures.device) + right).clamp(0, width - 1)
    which = torch.arange(count, device=pictures.device)
    moved = pictures.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
