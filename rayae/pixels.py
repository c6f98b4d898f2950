"""Home of pixels on their way into a network."""

from torch import Tensor


def as_images(pixels: Tensor) -> Tensor:
    """`[B, H, W, C]` uint8 as `[B, C, H, W]` float32 in [0, 1], laid out channels last."""
    return pixels.permute(0, 3, 1, 2).float().div_(255)
