"""Home of the statistics of the training latents, and of how far a latent is from them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rayae.errors import DataError


class Gaussian(nn.Module):
    """The normal distribution that latents of `size` numbers were fitted with, as two float32 buffers.

    `mean` is `[D]`. `whitening` is `[D, D]`, a square root of the inverse covariance: a centred latent times it has the
    Mahalanobis distance for its length. With the inverse itself, differences of large terms in float32 would give
    small distances wrong, and negative squares. The state is that of any module, so it is kept as safetensors.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("whitening", torch.zeros(size, size))

    @classmethod
    def fit(cls, latents: NDArray[np.floating]) -> "Gaussian":
        """Fitted to `[N, D]` latents in float64; DataError when fewer than two, not finite, or all the same."""
        values = latents.astype(np.float64)
        _refuse_latents(values)
        mean = values.mean(0)
        gaussian = cls(values.shape[1])
        gaussian.mean.copy_(torch.from_numpy(mean))
        gaussian.whitening.copy_(torch.from_numpy(_whitening(values - mean)))
        return gaussian

    def forward(self, latents: Tensor) -> Tensor:
        """Mahalanobis distances of `[B, D]` float32 latents: `[B]`, the root of what scikit-learn calls by the name."""
        with torch.autocast(latents.device.type, enabled=False):
            whitened: Tensor = (latents - self.mean) @ self.whitening
            return whitened.square().sum(1).sqrt()


def _whitening(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the shrunk covariance; a direction in which nothing varies, and that shrinking leaves so, does not count."""
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    share = shrinkage(centred)
    variances = (1 - share) * variances + share * variances.mean()
    counts = variances > variances.max() * len(variances) * np.finfo(np.float64).eps
    return directions[:, counts] / np.sqrt(variances[counts]) @ directions[:, counts].T  # type: ignore[no-any-return]


def shrinkage(centred: NDArray[np.float64]) -> float:
    """How far the covariance of `[N, D]` values of mean 0 is to be drawn to a multiple of the identity, in [0, 1].

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004: b^2 / d^2, where
    d^2 is the squared distance between the two, and b^2 the part of it that the sampling error explains.
    """
    count, size = centred.shape
    covariance = centred.T @ centred / count
    squared_norm = np.square(covariance).sum()
    distance = squared_norm - np.trace(covariance) ** 2 / size
    error = (np.square(np.square(centred).sum(1)).mean() - squared_norm) / count
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 0.0


def _refuse_latents(latents: NDArray[np.float64]) -> None:
    problem = None
    if len(latents) < 2:
        problem = f"there are {len(latents)} of them"
    elif not np.isfinite(latents).all():
        problem = "some are not finite"
    elif not np.ptp(latents, axis=0).any():
        problem = "all are the same"
    if problem is not None:
        raise DataError(f"The distances to the training latents cannot be measured: {problem}; train another network.")
