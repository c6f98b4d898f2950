"""Home of what training minimises."""

from torch import Tensor

from rayae.scores import ssim_error


def reconstruction_loss(images: Tensor, reconstructions: Tensor, ssim_weight: float) -> Tensor:
    """Weighted sum of mean squared error and 1 - SSIM over `[B, C, H, W]` float32 pictures in [0, 1]."""
    squared = (images - reconstructions).square().mean()
    if ssim_weight == 0:
        return squared
    return (1 - ssim_weight) * squared + ssim_weight * ssim_error(images, reconstructions).mean()
