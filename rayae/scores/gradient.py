"""Home of the gradient magnitudes: where edges and texture of a picture differ from those of its reconstruction."""

import torch
from torch import Tensor
from torch.nn import functional

from rayae.scores.filters import grey

SCALES = 3
CONTRAST = 170 / 255**2
"""The constant c of Xue et al., which is for pixels in [0, 255], for pixels in [0, 1]."""
PREWITT_SUM = 3
"""What the weights of a side of the Prewitt filter add up to; Xue et al. divide by it."""
SMALLEST_SQUARE = 1e-12
"""Added to squared magnitudes, so that their square root has a finite gradient where a picture is flat."""


def gradient_errors(a: Tensor, b: Tensor) -> Tensor:
    """1 - gradient magnitude similarity at each pixel of `[B, C, H, W]` pictures in [0, 1]: `[B, 1, H, W]`, in [0, 1].

    Xue et al., "Gradient Magnitude Similarity Deviation", 2014, at several scales as Zavrtanik et al., "Reconstruction
    by inpainting for visual anomaly detection", 2021: Prewitt filters of the grey picture (the mean of the channels,
    with its outermost pixels repeated beyond the border) at full, half and quarter size, each the mean of 2 x 2 pixels
    of the one before; the three maps at full size again, each value repeated, and their mean.

    Their similarity (2 g h + c) / (g^2 + h^2 + c) of the magnitudes g and h is 1 - (g - h)^2 / (g^2 + h^2 + c). So
    written, equal pictures have no error at all in float32.
    """
    return _summed_errors(torch.cat([grey(a), grey(b)]), SCALES) / SCALES


def _summed_errors(pairs: Tensor, scales: int) -> Tensor:
    """The sum of the errors at so many scales, `[B, 1, h, w]`, of `[2B, 1, h, w]`: all pictures, then all others."""
    errors = _errors(pairs)
    if scales == 1:
        return errors
    enlarged = functional.interpolate(_summed_errors(halved(pairs), scales - 1), scale_factor=2, mode="nearest")
    return errors + enlarged[..., : pairs.shape[-2], : pairs.shape[-1]]


def _errors(pairs: Tensor) -> Tensor:
    """The error at one scale."""
    squares = _squared_sums(pairs) + SMALLEST_SQUARE
    squares_a, squares_b = squares.chunk(2)
    sums_a, sums_b = squares.sqrt().chunk(2)
    return (sums_a - sums_b).square() / (squares_a + (squares_b + CONTRAST * PREWITT_SUM**2))


def _squared_sums(pictures: Tensor) -> Tensor:
    """Squared lengths of the gradients at each pixel of `[B, 1, H, W]`, by Prewitt filters whose weights are 1."""
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 2:] - padded[..., :-2]
    along = padded[..., 2:, :] - padded[..., :-2, :]
    across = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :]
    along = along[..., :-2] + along[..., 1:-1] + along[..., 2:]
    return torch.addcmul(across.square(), along, along)


def halved(pictures: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column is its own mean. A third of the time of `avg_pool2d`."""
    height, width = pictures.shape[-2:]
    if height % 2 or width % 2:
        pictures = functional.pad(pictures, (0, width % 2, 0, height % 2), mode="replicate")
    rows = pictures[..., ::2, :] + pictures[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4
