"""Home of the textures: pictures that are made by code, as of things that are made in numbers."""

import torch
from torch import Tensor

from rayae.defects.smooth import noise
from rayae.dice import Dice


def textures(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """`[count, channels, H, W]` in [0, 1]: in turn brushed metal, a weave, a board of pads, and grainy stone."""
    dice = Dice(torch.Generator().manual_seed(seed), torch.device("cpu"))
    y, x = torch.arange(height)[:, None].float(), torch.arange(width).float()
    tint = 1 + 0.1 * dice.normal(count, channels, 1, 1)
    fine = noise(count, 1, height, width, (min(height, width),), dice)
    coarse = noise(count, 1, height, width, (4, 8), dice)
    brushed = 0.55 + 0.06 * fine.mean(3, keepdim=True) * width**0.5 + 0.02 * fine + 0.02 * coarse
    weave = 0.5 + 0.2 * (x * 0.8).sin() * (y * 0.8).cos() + 0.03 * fine
    pads = 0.3 + 0.45 * ((x % 22 > 8) & (y % 16 > 7)).float() + 0.02 * fine + 0.02 * coarse
    stone = 0.5 + 0.08 * coarse + 0.07 * fine
    kinds = torch.stack([brushed, weave, pads, stone])
    return (kinds[torch.arange(count) % 4, torch.arange(count)] * tint).clamp(0, 1)
