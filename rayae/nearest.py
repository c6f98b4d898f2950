"""Home of the distance to the nearest training picture, which needs no training.

A detector that does not rank above it has learnt nothing that a look at the most similar training picture does not
know.

The pictures themselves are not kept, but 512 bits of each: on which side of so many random hyperplanes its thumbnail
lies (Charikar, "Similarity estimation techniques from rounding algorithms", 2002). The share of bits in which two
differ is an estimate of the angle between the thumbnails, over pi. The bits are no secret-keeping: whoever has them and
the principal components of the training pictures as well can make a blurred picture of most.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 32
"""Pixels on each side of a thumbnail."""
BITS = 512
"""Of a code: the angle is known to 0.02 of pi. Eight times fewer numbers than the thumbnails, and as good."""
MOST_IMAGES = 2000
"""Training pictures that are kept: 1 MB of codes."""


class Nearest(nn.Module):
    """The codes of `count` training pictures of `channels` channels, as int8 buffers of -1 and 1.

    `hyperplanes` is `[512, 32 * 32 * C]` and `codes` `[count, 512]`.
    """

    hyperplanes: Tensor
    codes: Tensor

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("hyperplanes", torch.ones(BITS, SIDE**2 * channels, dtype=torch.int8))
        self.register_buffer("codes", torch.ones(count, BITS, dtype=torch.int8))

    @classmethod
    def blank(cls, channels: int, device: torch.device) -> "Nearest":
        """One that holds no picture, with the same random hyperplanes wherever it is made."""
        made = cls(channels, 0)
        drawn = torch.randint(2, made.hyperplanes.shape, generator=torch.Generator().manual_seed(0))
        made.hyperplanes.copy_(drawn * 2 - 1)
        return made.to(device)

    def fitted(self, codes: Tensor) -> "Nearest":
        """The same with the `[N, 512]` int8 codes of N training pictures."""
        found = Nearest(self.channels, len(codes)).to(codes.device)
        found.hyperplanes.copy_(self.hyperplanes)
        found.codes.copy_(codes)
        return found

    def coded(self, images: Tensor) -> Tensor:
        """The code of each of `[B, C, H, W]` float32 pictures in [0, 1]: `[B, 512]` int8 of -1 and 1."""
        with torch.autocast(images.device.type, enabled=False):
            sides = thumbnails(images) @ self.hyperplanes.float().T
        return ((sides > 0).to(torch.int8) * 2 - 1).contiguous()

    def forward(self, images: Tensor) -> Tensor:
        """The least share of bits in which each picture differs from a training picture: float32 `[B]`, in [0, 1].

        It is 0 for a picture that is kept, near to 0 whatever its brightness and contrast unless it is all but flat,
        and about 0.5 for one that is like none. Flat pictures have one code, whatever their brightness.
        """
        with torch.autocast(images.device.type, enabled=False):
            agreement = self.coded(images).float() @ self.codes.float().T
            return (1 - agreement.amax(1) / BITS) / 2


def thumbnails(images: Tensor) -> Tensor:
    """`[B, C, H, W]` pictures in [0, 1] as `[B, 32 * 32 * C]` thumbnails in grey levels, less their mean.

    The levels are whole, so that the same picture has the same thumbnail whatever it was stored as, and a flat one is 0
    without an error of rounding.
    """
    levels = (functional.adaptive_avg_pool2d(images, SIDE) * 255).round().flatten(1)
    return levels - levels.mean(1, keepdim=True)
