"""Home of how bright and how rough each place of a picture is, and of how far those of another picture are from that.

It needs no network: statistics of brightness and edges, whitened by their scatter at each place (as Defard et al.,
"PaDiM", 2020, do with the features of a pretrained network), and of these what the principal components of the
training pictures cannot say.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rayae import collective
from rayae.components import principal_components, project
from rayae.scores.filters import grey
from rayae.scores.gradient import halved
from rayae.scores.places import Places, PlaceSums, grid_of
from rayae.scores.region import Region, worst_share

MOST_COMPONENTS = 128
SCALES = 3
"""At which there are edges: full, half and quarter size."""


class Textures(nn.Module):
    """What is usual at each place of pictures of `channels` x `height` x `width`.

    `places` has the distributions of the D statistics at each of P places. `mean` is `[P * D]` and `basis`
    `[K, P * D]`, orthonormal, float32: the principal components of the whitened statistics.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, channels: int, height: int, width: int, count: int) -> None:
        super().__init__()
        rows, columns = grid_of(height, width)
        numbers = channels + 3 + 3 * SCALES
        self.places = Places(numbers, rows, columns)
        self.register_buffer("mean", torch.zeros(rows * columns * numbers))
        self.register_buffer("basis", torch.zeros(count, rows * columns * numbers))

    @classmethod
    def fit(cls, maps: list[Tensor], channels: int, height: int, width: int) -> "Textures":
        """Of the pictures of all workers, from the `texture_maps` of those of this one.

        DataError when nothing varies, or something is not finite.
        """
        sums = PlaceSums(maps, *grid_of(height, width))
        sums.add(maps)
        places = sums.fitted()
        whitened = collective.gathered(places.whitened(maps).flatten(1))
        mean, basis = principal_components(whitened, MOST_COMPONENTS)
        found = cls(channels, height, width, len(basis)).to(whitened.device)
        found.places = places
        found.mean.copy_(mean)
        found.basis.copy_(basis)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """How far each place of `[B, C, H, W]` pictures is from what is usual: `[B, 1, rows, columns]`."""
        with torch.autocast(images.device.type, enabled=False):
            whitened = self.places.whitened(texture_maps(images))
            flat = whitened.flatten(1)
            unsaid = flat - project(flat, self.mean, self.basis)
            return self.places.lengths(unsaid.reshape(whitened.shape))


def texture_maps(images: Tensor) -> list[Tensor]:
    """The statistics of `[B, C, H, W]` pictures in [0, 1], as maps whose means over a place are the statistics there.

    The levels, the square of the grey level, and the differences to the next pixel to the right and below, signed at
    full size, and by amount and together at each scale.
    """
    level = grey(images)
    across, along = _edges(level)
    maps = [torch.cat([images, level.square(), across, along, *_amounts(across, along)], 1)]
    for _ in range(SCALES - 1):
        level = halved(level)
        maps.append(torch.cat(_amounts(*_edges(level)), 1))
    return maps


def texture_scores(distances: Tensor, region: Region | None) -> dict[str, Tensor]:
    """`texture_worst1` of `[B, 1, rows, columns]` distances, `[B]`: the mean of the highest 1 %, of at least one."""
    region = None if region is None else region.resized(*distances.shape[-2:])
    return {"texture_worst1": worst_share(distances, region)}


def _edges(level: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of `[B, 1, h, w]` to the next pixel to the right and to that below; 0 where there is none."""
    across = functional.pad(level[..., 1:] - level[..., :-1], (0, 1))
    along = functional.pad(level[..., 1:, :] - level[..., :-1, :], (0, 0, 0, 1))
    return across, along


def _amounts(across: Tensor, along: Tensor) -> list[Tensor]:
    return [across.abs(), along.abs(), torch.hypot(across, along)]
