"""Home of what is measured per image: errors between a picture and its reconstruction, and the picture itself.

All in float32, of pixels in [0, 1].
"""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from rayae.results import PIXEL_STATISTICS

SCORE_NAMES = ("mse", "mae", "mse_worst1", "ssim_error")
WORST_ONE_IN = 100
DARKEST_ONE_IN = 100
SSIM_SIGMA = 1.5
SSIM_RADIUS = 5
SMOOTHING_SIGMA = 2.0
SMOOTHING_RADIUS = 6


def measure(images: Tensor, reconstructions: Tensor) -> dict[str, Tensor]:
    """All scores of `[B, C, H, W]` float32 pictures in [0, 1]: a float32 `[B]` each, higher is worse.

    `mse` and `mae` are means over pixels and channels. `mse_worst1` is the mean of the worst 1 % of the squared error
    after smoothing. `ssim_error` is 1 - mean SSIM, between 0 and 2.
    """
    squared = (images - reconstructions).square()
    return {
        "mse": squared.mean((1, 2, 3)),
        "mae": (images - reconstructions).abs().mean((1, 2, 3)),
        "mse_worst1": worst_share(smooth(squared.mean(1, keepdim=True))),
        "ssim_error": ssim_error(images, reconstructions),
    }


def describe(pixels: Tensor) -> dict[str, Tensor]:
    """What needs no model: mean, standard deviation and 1st percentile of `[B, H, W, C]` uint8 pixels, in [0, 1].

    A float32 `[B]` each, over pixels and channels together, by the names of `results.PIXEL_STATISTICS`.
    """
    values = pixels.flatten(1)
    centred = values.float()
    mean = centred.mean(1, keepdim=True)
    centred -= mean
    deviation = centred.square_().mean(1).sqrt()
    described = (mean[:, 0], deviation, darkest_share(values))
    return {name: value.float() / 255 for name, value in zip(PIXEL_STATISTICS, described, strict=True)}


def darkest_share(values: Tensor) -> Tensor:
    """The lowest of `[B, N]` uint8 values that at least 1 % are no higher than, `[B]`."""
    rank = math.ceil(values.shape[1] / DARKEST_ONE_IN)
    if values.is_cuda:
        return values.kthvalue(rank, dim=1).values
    # On a CPU `kthvalue` costs 10 % of `measure` and `topk` 5 to 7 %, counting 1 % (128 pixels, one core).
    counts = torch.stack([row.bincount(minlength=256) for row in values]) if len(values) else values.new_empty(0, 256)
    return (counts.cumsum(1) < rank).sum(1)


def error_map(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Smoothed squared error, `[B, H, W]`: where a picture differs from its reconstruction."""
    return smooth((images - reconstructions).square().mean(1, keepdim=True))[:, 0]


def worst_share(maps: Tensor) -> Tensor:
    """Mean over the highest 1 % of the values of each `[B, 1, H, W]` map, at least one value."""
    values = maps.flatten(1)
    return values.topk(math.ceil(values.shape[1] / WORST_ONE_IN), dim=1).values.mean(1)


def smooth(maps: Tensor) -> Tensor:
    """Gaussian smoothing of sigma 2 pixels; the border is mirrored, so size and mean level stay."""
    padded = functional.pad(maps, (SMOOTHING_RADIUS,) * 4, mode="reflect")
    return blur(padded, SMOOTHING_SIGMA, SMOOTHING_RADIUS)


def ssim_error(a: Tensor, b: Tensor) -> Tensor:
    """1 - mean structural similarity, `[B]`, of `[B, C, H, W]` pictures in [0, 1]; a mean over channels.

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
    return (luminance + structure - luminance * structure).mean((1, 2, 3))


def blur(maps: Tensor, sigma: float, radius: int) -> Tensor:
    """Gaussian filter of each channel of `[B, C, H, W]`, only where the window lies inside: `[B, C, H-2r, W-2r]`.

    As two products with banded matrices: on a CPU, with its gradient, 20 times as fast as `conv2d` at 128 pixels.
    """
    rows = _band(maps.shape[-2], sigma, radius, maps.device)
    columns = _band(maps.shape[-1], sigma, radius, maps.device)
    with torch.autocast(maps.device.type, enabled=False):  # in bf16 the variances of SSIM are noise
        return rows @ maps @ columns.T


@lru_cache(maxsize=32)
def _band(size: int, sigma: float, radius: int, device: torch.device) -> Tensor:
    """The `[size - 2r, size]` matrix that filters a line of `size` values where the window lies inside."""
    with torch.inference_mode(False):  # made once, and used in training too
        offsets = torch.arange(size) - torch.arange(size - 2 * radius)[:, None] - radius
        weights = torch.exp(-offsets.double().square() / (2 * sigma**2)) * (offsets.abs() <= radius)
        return (weights / weights.sum(1, keepdim=True)).float().to(device)
