"""Home of the U-Net that repairs pictures: it must not be asked to copy them."""

import torch
from torch import Tensor, nn

from rayae.networks.blocks import Levels, in_float32
from rayae.networks.reconstructed import Reconstructed

WIDTHS = (1, 2, 4, 6)
"""Channels of the levels, from half the size of the picture down to a sixteenth, in multiples of `base_width`."""


class UNet(nn.Module):
    """An autoencoder with skip connections from half the size of the picture down.

    What it takes it can give back unchanged, so it learns nothing from whole pictures: it is for pictures in which
    something was damaged or left out, and is to give what belongs there. Height and width are multiples of 16,
    `base_width` of 8. `latent` holds the mean and the maximum over all places of each feature below the first level:
    D = 24 times `base_width`. `features` are what went down at a quarter and an eighth of the size. In training mode
    the pictures are not kept in [0, 1], where a gradient would end.
    """

    def __init__(self, channels: int, base_width: int) -> None:
        super().__init__()
        self.stem = nn.PixelUnshuffle(2)
        self.levels = Levels(channels * 4, [base_width * multiple for multiple in WIDTHS])
        self.out = nn.Sequential(nn.Conv2d(base_width, channels * 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, images: Tensor) -> Reconstructed:
        made, features = self.levels(self.stem(images))
        pictures = in_float32(self.out, made)  # the steps of bf16 between 0.5 and 1 are those of 8-bit pixels
        pictures = pictures if self.training else pictures.clamp(0, 1)
        return Reconstructed(pictures, _pooled(features[1:]), features=tuple(features[1:3]))


def _pooled(features: list[Tensor]) -> Tensor:
    """Mean and maximum over places of each feature, `[B, D]`."""
    values = [feature.float() for feature in features]
    return torch.cat([pooled for value in values for pooled in (value.mean((2, 3)), value.amax((2, 3)))], dim=1)
