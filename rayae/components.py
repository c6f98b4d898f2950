"""Home of the principal components of pictures: the linear model of what is normal, fitted without training."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ROUNDING = 1e-12
"""Variance of a value in [0, 1] below which it is a rounding error of float32."""
MOST_VALUES = 2**15
"""Pixels times channels that a picture is reduced to: 128 x 128 in grey stays, and 64 components take 8 MB at most."""
MOST_COMPONENTS = 64


class Components(nn.Module):
    """Mean and principal components of pictures of `channels` x `height` x `width`, which are made smaller if large.

    `mean` is `[D]` and `basis` `[K, D]`, orthonormal, float32.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, channels: int, height: int, width: int, count: int) -> None:
        super().__init__()
        self.size = (channels, height, width)
        self.factor = math.ceil(math.sqrt(max(1, channels * height * width / MOST_VALUES)))
        values = channels * (height // self.factor) * (width // self.factor)
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("basis", torch.zeros(count, values))

    def fitted(self, small: Tensor) -> "Components":
        """The same with the components of `[N, C, h, w]` pictures that are `reduced` already; N is 1 or more."""
        mean, basis = principal_components(small.flatten(1), MOST_COMPONENTS)
        found = Components(*self.size, len(basis)).to(small.device)
        found.mean.copy_(mean)
        found.basis.copy_(basis)
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, C, H, W]` pictures made smaller, and what the components can say of them, in [0, 1]."""
        small = self.reduced(images)
        said = project(small.flatten(1), self.mean, self.basis)
        return small, said.clamp(0, 1).reshape(small.shape)

    def reduced(self, images: Tensor) -> Tensor:
        """The means of squares of `factor` pixels a side."""
        return images if self.factor == 1 else functional.avg_pool2d(images, self.factor)


def principal_components(values: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Mean `[D]` and the first orthonormal principal directions `[K, D]` of `[N, D]` float32 values.

    K is `most` or less: N - 1, D, or how many directions the values vary in. From the eigenvectors of the Gram matrix
    [N, N] (Sirovich and Kirby 1987), since pictures have more pixels than there are pictures: of 600 pictures of
    128 x 128 it takes a fifth of the time of a singular value decomposition.
    """
    mean = values.mean(0)
    centred = values - mean
    strength, vectors = torch.linalg.eigh((centred @ centred.T).double())
    varies = int((strength > (strength[-1] * 1e-6).clamp(min=ROUNDING * values.numel())).sum())
    count = min(most, len(values) - 1, values.shape[1], varies)
    chosen = vectors[:, -count:].flip(1) if count else vectors[:, :0]
    basis, _ = torch.linalg.qr(centred.T @ chosen.float())
    return mean, basis.T.contiguous()


def project(values: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """`[B, D]` values as the components `[K, D]` can say them."""
    return (values - mean) @ components.T @ components + mean
