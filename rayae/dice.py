"""Home of the dice: random numbers of the usual distributions, all from one generator."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dice:
    """Draws where the generator lives and gives tensors on `device`: one on the CPU may serve pictures on a GPU."""

    generator: torch.Generator
    device: torch.device

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float32 numbers in [low, high)."""
        drawn = torch.rand(size, generator=self.generator, device=self.generator.device)
        return (drawn * (high - low) + low).to(self.device, non_blocking=True)

    def log_uniform(self, *size: int, low: float, high: float) -> Tensor:
        """Float32 numbers in [low, high), as many in each octave as in any other; `low` is above 0."""
        return self.uniform(*size, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *size: int) -> Tensor:
        """Float32 numbers of mean 0 and variance 1."""
        drawn = torch.randn(size, generator=self.generator, device=self.generator.device)
        return drawn.to(self.device, non_blocking=True)

    def below(self, bound: int, *size: int) -> Tensor:
        """Int64 numbers in [0, bound)."""
        drawn = torch.randint(bound, size, generator=self.generator, device=self.generator.device)
        return drawn.to(self.device, non_blocking=True)

    def chance(self, probability: float, *size: int) -> Tensor:
        """Booleans that hold with this probability."""
        return self.uniform(*size) < probability

    def sign(self, *size: int) -> Tensor:
        """-1 or 1, each as often, as int64."""
        return self.below(2, *size) * 2 - 1
