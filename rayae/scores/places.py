"""Home of how features lie at each place of a picture, and of how far those of another picture are from that.

Defard et al., "PaDiM: a patch distribution modeling framework for anomaly detection and localization", 2020; with the
features of the detector itself in place of those of a pretrained network, and random signs in place of a random choice
of features, since a sum of many loses less of what a few of them say (Achlioptas, "Database-friendly random
projections", 2003).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from rayae import collective
from rayae.errors import DataError
from rayae.scores.region import Region, average, worst_share

MOST_NUMBERS = 64
"""That the features of a place are reduced to."""
FINEST = 4
"""Pixels on each side of the smallest place: two steps of what has half the size of the picture."""
MOST_PLACES = 256
"""Of a picture: 16 x 16, whose distributions take 4 MB."""
FLOOR_SHARE = 0.01
"""Of the mean variance within places, which is added to each: what hardly varies must not decide."""


class Places(nn.Module):
    """A normal distribution of the features at each of P = `rows` x `columns` places, as float32 buffers.

    `projection` is `[C, D]`: what the C features are reduced to. `mean` is `[P, D]`, and `whitening` `[P, D, D]` a root
    of the inverse covariance: a centred row times it has the Mahalanobis distance for its length.
    """

    projection: Tensor
    mean: Tensor
    whitening: Tensor

    def __init__(self, features: int, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        numbers = min(features, MOST_NUMBERS)
        self.register_buffer("projection", torch.zeros(features, numbers))
        self.register_buffer("mean", torch.zeros(rows * columns, numbers))
        self.register_buffer("whitening", torch.zeros(rows * columns, numbers, numbers))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Distances in standard deviations, `[B, 1, rows, columns]`, of maps `[B, C_k, h_k, w_k]` with C in all."""
        return self.lengths(self.whitened(features))

    def whitened(self, features: Sequence[Tensor]) -> Tensor:
        """What the distances are the lengths of, `[B, P, D]`: of training pictures, of variance 1 at a place."""
        with torch.autocast(features[0].device.type, enabled=False):
            centred = reduced(features, self.projection, self.rows, self.columns) - self.mean
            return torch.einsum("bpd,pde->bpe", centred, self.whitening)

    def lengths(self, rows: Tensor) -> Tensor:
        """Those of `[B, P, D]`, as a map `[B, 1, rows, columns]`."""
        return rows.square().sum(2).sqrt().reshape(-1, 1, self.rows, self.columns)

    def spec(self) -> dict[str, int]:
        """That from which one of the same size is made."""
        return {"features": len(self.projection), "rows": self.rows, "columns": self.columns}


class PlaceSums:
    """What the distributions follow from, added up over the pictures of this worker; `fitted` over those of all.

    Every worker makes one with as many features, and with pictures of its own, before any goes on.
    """

    def __init__(self, features: Sequence[Tensor], rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.projection = _projection(gridded(features, rows, columns))
        first = reduced(features, self.projection, rows, columns).double()
        self.shift = collective.summed(first.mean(0)) / collective.count()
        self.count = 0
        self.sums = torch.zeros_like(self.shift)
        self.products = self.shift.new_zeros(*self.shift.shape, self.shift.shape[1])

    def add(self, features: Sequence[Tensor]) -> None:
        """Take in the maps `[B, C_k, h_k, w_k]` of some pictures."""
        values = (reduced(features, self.projection, self.rows, self.columns).double() - self.shift).float()
        self.count += len(values)
        self.sums += values.sum(0)
        self.products += torch.einsum("bpd,bpe->pde", values, values)

    def fitted(self) -> Places:
        """The distributions; DataError when nothing varies, or something is not finite."""
        count = collective.reduced(self.shift.new_tensor([self.count]))[0]
        mean = collective.summed(self.sums) / count
        scatter = collective.summed(self.products) / count - mean[:, :, None] * mean[:, None, :]
        found = Places(len(self.projection), self.rows, self.columns).to(self.projection.device)
        found.projection.copy_(self.projection)
        found.mean.copy_(mean + self.shift)
        found.whitening.copy_(_whitening(scatter, count))
        return found


def place_scores(distances: Tensor, region: Region | None) -> dict[str, Tensor]:
    """The scores of `[B, 1, rows, columns]` distances, `[B]` each, in standard deviations.

    `place_mean` is the root of their mean square, `place_worst1` the mean of the highest 1 %, of at least one.
    """
    region = None if region is None else region.resized(*distances.shape[-2:])
    return {
        "place_mean": average(distances.square(), region).sqrt(),
        "place_worst1": worst_share(distances, region),
    }


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of places in a picture, 256 at most in all: of 4, 8, 16, ... pixels a side, or somewhat less."""
    side = FINEST
    while math.ceil(height / side) * math.ceil(width / side) > MOST_PLACES:
        side *= 2
    return math.ceil(height / side), math.ceil(width / side)


def reduced(features: Sequence[Tensor], projection: Tensor, rows: int, columns: int) -> Tensor:
    """Maps `[B, C_k, h_k, w_k]` as the D numbers of each place, `[B, P, D]` float32."""
    return gridded(features, rows, columns).flatten(2).transpose(1, 2) @ projection


def gridded(features: Sequence[Tensor], rows: int, columns: int) -> Tensor:
    """Maps at the size of the grid, one below the other: `[B, C, rows, columns]` float32."""
    return torch.cat([_resized(one.float(), (rows, columns)) for one in features], dim=1)


def _resized(one: Tensor, size: tuple[int, int]) -> Tensor:
    """Means where there are more values than places, and between values where there are fewer."""
    if one.shape[-2] >= size[0] and one.shape[-1] >= size[1]:
        return functional.adaptive_avg_pool2d(one, size)
    return functional.interpolate(one, size, mode="bilinear", align_corners=False)


def _projection(grid: Tensor) -> Tensor:
    """`[C, D]`: each feature over its standard deviation, times random signs; without signs where there are D or fewer.

    The deviations are those of the first pictures. One that is small there by chance counts as a tenth of the usual.
    """
    values = grid.transpose(0, 1).flatten(1).double()
    ones = values.new_full((len(values),), values.shape[1])
    count, sums, squares = collective.summed(torch.stack([ones, values.sum(1), values.square().sum(1)]))
    variance = squares / count - (sums / count).square()
    least = (FLOOR_SHARE * variance.mean()).clamp(min=torch.finfo(torch.float32).tiny)
    scale: Tensor = variance.clamp(min=least).rsqrt().float()
    if len(scale) <= MOST_NUMBERS:
        return scale.diag()
    drawn = torch.randint(2, (len(scale), MOST_NUMBERS), generator=torch.Generator().manual_seed(0))
    signs = (drawn * 2 - 1).to(scale) / math.sqrt(MOST_NUMBERS)
    return scale[:, None] * signs


def _whitening(scatter: Tensor, count: float) -> Tensor:
    """Roots of the inverse covariances, from `[P, D, D]` float64 covariances of `count` pictures.

    Each is drawn to the mean of all places as if D more pictures had it, so that few pictures do for many numbers.
    """
    numbers = scatter.shape[1]
    pooled = scatter.mean(0)
    level = pooled.diagonal().mean()
    if not bool(torch.isfinite(scatter).all() & (level > 0)):
        raise DataError("The features are the same in all pictures, or are no numbers; train anew, or longer.")
    share = numbers / (numbers + count)
    floor = FLOOR_SHARE * level * torch.eye(numbers, dtype=scatter.dtype, device=scatter.device)
    root = torch.linalg.cholesky((1 - share) * scatter + share * pooled + floor)
    identity = torch.eye(numbers, dtype=root.dtype, device=root.device).expand_as(root)
    inverse: Tensor = torch.linalg.solve_triangular(root, identity, upper=False)
    return inverse.mT.float()
