"""Home of SSIM: where the structure of a picture differs from that of its reconstruction."""

import torch
from torch import Tensor

from rayae.scores.filters import blur
from rayae.scores.region import SSIM_RADIUS

SSIM_SIGMA = 1.5


def ssim_error(a: Tensor, b: Tensor) -> Tensor:
    """1 - mean structural similarity, `[B]`, of `[B, C, H, W]` pictures in [0, 1]; a mean over channels."""
    return structure_errors(a, b).mean((1, 2, 3))


def structure_errors(a: Tensor, b: Tensor) -> Tensor:
    """1 - structural similarity around each pixel of `[B, C, H, W]` pictures in [0, 1]: `[B, C, H-10, W-10]`.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004: Gaussian window of
    11 x 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, biased variances, and only where the window lies inside.

    With d = a - b their formula is (1 - l)(1 - s), l = mean(d)^2 / (mean(a)^2 + mean(b)^2 + c1) and
    s = var(d) / (var(a) + var(b) + c2). So written, and with the variances taken of what is left without the mean of
    the picture, float32 is within 1e-6 of skimage; as it is printed, flat bright pictures are 4e-4 off, more than
    the error of a good reconstruction.
    """
    c1, c2 = 0.01**2, 0.03**2
    difference = a - b
    level_a, level_d = a.mean((2, 3), keepdim=True), difference.mean((2, 3), keepdim=True)
    flat_a, flat_d = a - level_a, difference - level_d
    squares = flat_a.square() + (flat_a - flat_d).square()
    maps = blur(torch.cat([flat_a, flat_d, squares, flat_d.square()]), SSIM_SIGMA, SSIM_RADIUS)
    mean_a, mean_d, mean_squares, mean_square_d = maps.chunk(4)
    variances = mean_squares - mean_a.square() - (mean_a - mean_d).square()
    structure = (mean_square_d - mean_d.square()) / (variances + c2)
    mean_a, mean_d = mean_a + level_a, mean_d + level_d
    luminance = mean_d.square() / (mean_a.square() + (mean_a - mean_d).square() + c1)
    return luminance + structure - luminance * structure
