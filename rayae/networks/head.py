"""Home of the discriminative head: where a picture and its reconstruction differ as a defect does.

Zavrtanik et al., "DRAEM: a discriminatively trained reconstruction embedding for surface anomaly detection", 2021.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rayae.errors import BundleError
from rayae.networks.blocks import CHANNELS_A_GROUP, Levels, in_float32
from rayae.networks.sizes import unfit

WIDTHS = (1, 2, 2, 2)
"""Channels of the levels, from half the size of the picture down to a sixteenth, in multiples of `base_width`."""
DIFFERENCE_GAIN = 4.0
"""Differences are small beside pixels, and would hardly be seen next to them."""


class Head(nn.Module):
    """From what `compared` gives of `[B, C, H, W]` pictures to logits of a defect, `[B, 1, H / 2, W / 2]` float32,
    and the features below the first level, `[B, C_k, h_k, w_k]` each.

    Height and width are multiples of 16, `base_width` of 8.
    """

    def __init__(self, channels: int, base_width: int) -> None:
        super().__init__()
        self.stem = nn.PixelUnshuffle(2)
        self.levels = Levels(3 * channels * 4, [base_width * multiple for multiple in WIDTHS])
        self.out = nn.Conv2d(base_width, 1, 3, padding=1)

    def forward(self, views: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        made, features = self.levels(self.stem(views))
        return in_float32(self.out, made), tuple(features[1:])


def compared(images: Tensor, pictures: Tensor) -> Tensor:
    """Images, their reconstructions and four times their absolute difference, `[B, 3C, H, W]` of `[B, C, H, W]` each.

    A gradient goes through to the reconstructions: who trains the head alone gives them detached.
    """
    return torch.cat([images, pictures, (images - pictures).abs() * DIFFERENCE_GAIN], dim=1)


def spec_beside(network: Mapping[str, Any]) -> dict[str, int]:
    """The spec of a head for a network of this spec: half as wide, and a multiple of 8."""
    half = network["base_width"] // 2 // CHANNELS_A_GROUP * CHANNELS_A_GROUP
    return {"channels": network["channels"], "base_width": max(CHANNELS_A_GROUP, half)}


def build(spec: Mapping[str, Any]) -> Head:
    """A head with fresh weights from its spec, `channels` and `base_width`; BundleError when it cannot be built."""
    wrong = unfit(spec, {"channels": 1, "base_width": CHANNELS_A_GROUP})
    if wrong:
        raise BundleError(f"the head {dict(spec)} cannot be built: this rayae does not take its {', '.join(wrong)}.")
    return Head(spec["channels"], spec["base_width"])
