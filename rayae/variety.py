"""Home of the variety of a training: the variance of pictures and of their reconstructions, added up over batches."""

import torch
from torch import Tensor

from rayae import collective
from rayae.scores import Region
from rayae.verdicts import Variety

ALIKE = 1e-12
"""Share of the mean square up to which a variance is what rounding leaves of pictures that are all the same."""


class VarietySums:
    """What a `Variety` follows from, added up in float64 over the pictures of this worker; `found` over those of all.

    The variance is that of each value over the pictures, summed over the values, each as much as its pixel weighs in
    the region. For a linear autoencoder at its optimum, the principal components, kept and explained are the same
    share.
    """

    def __init__(self, channels: int, height: int, width: int, device: torch.device, region: Region | None) -> None:
        self.region = region
        self.sums = torch.zeros(2, channels, height, width, dtype=torch.float64, device=device)
        """Of the pictures and of their reconstructions."""
        self.totals = torch.zeros(4, dtype=torch.float64, device=device)
        """How many pictures; the squares of both and of their difference, weighted and summed over the values."""

    def add(self, pictures: Tensor, reconstructions: Tensor) -> None:
        """Take in some pictures `[B, C, H, W]` and what is made of them; what is outside the region has no part."""
        given, made = (self._inside(values).double() for values in (pictures, reconstructions))
        self.sums += torch.stack([given.sum(0), made.sum(0)])
        squares = [self._weighted(values.square().sum(0)) for values in (given, made, given - made)]
        self.totals += torch.stack([self.totals.new_full((), len(pictures)), *squares])

    def found(self) -> Variety:
        """The variety of the pictures of all workers; None and None when they are alike, or when there are none."""
        shape, size = self.sums.shape, self.sums.numel()
        told = collective.summed(torch.cat([self.sums.flatten(), self.totals]))
        count, *squares = told[size:].tolist()
        if not count:
            return Variety(None, None)
        of_means = self._weighted((told[:size].view(shape) / count).square()).tolist()
        given, made, error = (square / count for square in squares)
        variance = given - of_means[0]
        if variance <= ALIKE * given:
            return Variety(None, None)
        return Variety(max(0.0, made - of_means[1]) / variance, 1 - error / variance)

    def _inside(self, values: Tensor) -> Tensor:
        return values if self.region is None else values.masked_fill(self.region.outside, 0)

    def _weighted(self, maps: Tensor) -> Tensor:
        """The sum of each `[..., C, H, W]` over its values, as they weigh: `[...]`."""
        return (maps if self.region is None else maps * self.region.weights).sum((-3, -2, -1))
