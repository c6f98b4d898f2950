"""Home of the dice: random numbers of the usual distributions, all from one generator."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dice:
    """Draws where the generator lives and gives tensors on `device`: one on the CPU may serve pictures on a GPU."""

    generator: torch.Generator
    device: torch.device
    where: Tensor | None = None
    """Weights of the pixels of a picture, `[H, W]` on `device`, that `place` chooses by; None for all alike."""

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float32 numbers in [low, high)."""
        drawn = torch.rand(size, generator=self.generator, device=self.generator.device)
        return self.sent(drawn * (high - low) + low)

    def log_uniform(self, *size: int, low: float, high: float) -> Tensor:
        """Float32 numbers in [low, high), as many in each octave as in any other; `low` is above 0."""
        return self.uniform(*size, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *size: int) -> Tensor:
        """Float32 numbers of mean 0 and variance 1."""
        drawn = torch.randn(size, generator=self.generator, device=self.generator.device)
        return self.sent(drawn)

    def below(self, bound: int, *size: int) -> Tensor:
        """Int64 numbers in [0, bound)."""
        drawn = torch.randint(bound, size, generator=self.generator, device=self.generator.device)
        return self.sent(drawn)

    def place(self, height: int, width: int, *size: int) -> tuple[Tensor, Tensor]:
        """Float32 distances from the upper and from the left border, in pixels, of points in a picture of that size."""
        if self._cumulative is None:
            return self.uniform(*size, high=height), self.uniform(*size, high=width)
        drawn = self.uniform(*size).double() * self._cumulative[-1]
        pixels = torch.searchsorted(self._cumulative, drawn, right=True)  # what has no weight is passed over
        rows, columns = pixels // width, pixels % width
        return rows + self.uniform(*size), columns + self.uniform(*size)

    @cached_property
    def _cumulative(self) -> Tensor | None:
        """In float64: its sums of zeros and ones are exact, in whatever order a GPU adds up."""
        return None if self.where is None else self.where.double().flatten().cumsum(0)

    def chance(self, probability: float, *size: int) -> Tensor:
        """Booleans that hold with this probability."""
        return self.uniform(*size) < probability

    def sign(self, *size: int) -> Tensor:
        """-1 or 1, each as often, as int64."""
        return self.below(2, *size) * 2 - 1

    def sent(self, drawn: Tensor) -> Tensor:
        """What was drawn, on `device`; a GPU is not waited for."""
        return drawn.to(self.device, non_blocking=True)
