"""Home of what training minimises."""

from dataclasses import asdict, dataclass
from math import isfinite

import torch
from torch import Tensor
from torch.nn import functional

from rayae.errors import ConfigError
from rayae.scores import Region, average, gradient_errors, structure_errors

FOCUS = 2.0
FOCAL_WEIGHT = 5.0
DICE_WEIGHT = 0.3
DICE_SMOOTHING = 1.0


@dataclass(frozen=True)
class Weights:
    """What each term of the loss counts; ConfigError when one is negative, or none of a picture is above 0."""

    l1: float = 0.0
    """Of the mean absolute error."""
    l2: float = 0.0
    """Of the mean squared error."""
    ssim: float = 0.0
    """Of 1 - mean SSIM."""
    gradient: float = 0.0
    """Of 1 - mean gradient magnitude similarity."""
    kl: float = 0.0
    """Of the divergence of a variational network, in nats a pixel and channel; other networks have no such term.

    Beside l2 = 1 it is twice the variance of the noise that the pictures are taken to have (Kingma and Welling,
    "Auto-Encoding Variational Bayes", 2014)."""

    def __post_init__(self) -> None:
        weights = asdict(self)
        wrong = [name for name, weight in weights.items() if not (isfinite(weight) and weight >= 0)]
        if wrong:
            raise ConfigError(f"The weight {wrong[0]} of the loss is {weights[wrong[0]]}; set it to 0 or more.")
        if not self.l1 + self.l2 + self.ssim + self.gradient > 0:
            raise ConfigError("All weights of the loss but kl are 0; set one of l1, l2, ssim and gradient above 0.")


def reconstruction_loss(
    images: Tensor,
    reconstructions: Tensor,
    weights: Weights,
    *,
    divergence: Tensor | None = None,
    places: Tensor | None = None,
    place_weight: float = 4.0,
    region: Region | None = None,
) -> Tensor:
    """Weighted sum of the errors of `[B, C, H, W]` float32 pictures in [0, 1], each a mean over pictures and pixels.

    Where `places` `[B, 1, H, W]` is 1 absolute and squared errors count `1 + place_weight` times. In a region the
    means are weighted, and what is outside has no part. `divergence` is `[B]`, in nats.
    """
    terms = []
    if divergence is not None and weights.kl:
        terms.append(weights.kl * divergence.mean() / images[0].numel())
    if region is not None:
        images, reconstructions = region.filled(images, reconstructions)
    counts = 1.0 if places is None else 1 + place_weight * places
    difference = images - reconstructions
    if weights.l1:
        terms.append(weights.l1 * average(difference.abs() * counts, region).mean())
    if weights.l2:
        terms.append(weights.l2 * average(difference.square() * counts, region).mean())
    if weights.ssim:
        inner = None if region is None else region.inner
        terms.append(weights.ssim * average(structure_errors(images, reconstructions), inner).mean())
    if weights.gradient:
        terms.append(weights.gradient * average(gradient_errors(images, reconstructions), region).mean())
    return torch.stack(terms).sum()


def head_loss(logits: Tensor, places: Tensor) -> Tensor:
    """How far float32 `[B, 1, h, w]` logits are from telling the `places`, `[B, 1, H, W]` of 0 and 1: 5 F + 0.3 D.

    A place of the logits is 1 where any of the pixels that it stands for is. F is the mean focal loss of gamma 2
    (Lin et al., "Focal Loss for Dense Object Detection", 2017), (1 - p)^2 (-ln p) for the probability p of what is
    true. D is the soft Dice loss 1 - 2 sum(p g) / (sum(p^2) + sum(g^2)) (Milletari et al., "V-Net", 2016) of the
    probabilities p of 1 and the places g of the whole batch, with 1 added to both sides of the fraction, so that a
    batch without any place has a loss.
    """
    truth = functional.adaptive_max_pool2d(places, logits.shape[-2:])
    towards = (2 * truth - 1) * logits
    focal = (torch.sigmoid(-towards) ** FOCUS * functional.softplus(-towards)).mean()
    return FOCAL_WEIGHT * focal + DICE_WEIGHT * _dice_loss(torch.sigmoid(logits), truth)


def _dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    shared = 2 * (probabilities * truth).sum() + DICE_SMOOTHING
    return 1 - shared / (probabilities.square().sum() + truth.square().sum() + DICE_SMOOTHING)
