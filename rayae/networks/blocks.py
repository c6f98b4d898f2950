"""Home of the blocks that several networks are built of.

They normalise by groups of channels (Wu and He, "Group normalization", 2018) and never by the batch: the statistics of
a batch would make the scores of a picture depend on its neighbours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS_A_GROUP = 8


def normalised(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """A convolution, GroupNorm over groups of 8 channels, and SiLU."""
    channels = convolution.out_channels
    return nn.Sequential(convolution, nn.GroupNorm(channels // CHANNELS_A_GROUP, channels), nn.SiLU())


def convolved_twice(inside: int, outside: int) -> nn.Sequential:
    """Two normalised 3 x 3 convolutions that keep height and width."""
    return nn.Sequential(
        normalised(nn.Conv2d(inside, outside, 3, padding=1, bias=False)),
        normalised(nn.Conv2d(outside, outside, 3, padding=1, bias=False)),
    )


def in_float32(layer: nn.Module, values: Tensor) -> Tensor:
    """What the layer makes of the values in float32, under autocast too."""
    with torch.autocast(values.device.type, enabled=False):
        made: Tensor = layer(values.float())
    return made


class Levels(nn.Module):
    """Down through levels of half the size each and up again, where each level sees what went down at its size.

    Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", 2015, with borders kept and
    nearest-neighbour upsampling. Height and width are multiples of 2 to the number of halvings.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        ways_down = zip([channels, *widths], widths, strict=False)
        self.down = nn.ModuleList([convolved_twice(inside, outside) for inside, outside in ways_down])
        ways_up = zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.up = nn.ModuleList([convolved_twice(below + beside, beside) for below, beside in ways_up])

    def forward(self, values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`[B, channels, H, W]` as `[B, widths[0], H, W]`, and what went down: `[B, widths[k], H / 2^k, W / 2^k]`."""
        went_down = [self.down[0](values)]
        for level in self.down[1:]:
            went_down.append(level(functional.max_pool2d(went_down[-1], 2)))
        made = went_down[-1]
        for level, beside in zip(self.up, went_down[-2::-1], strict=True):
            made = level(torch.cat([functional.interpolate(made, scale_factor=2.0, mode="nearest"), beside], dim=1))
        return made, went_down
