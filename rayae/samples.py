"""Home of the samples: a few held-out pictures, what the network makes of them, and where it differs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rayae.detector import Detector
from rayae.pixels import as_images


@dataclass(frozen=True)
class Sample:
    """A held-out picture and what the network makes of it."""

    name: str
    pixels: NDArray[np.uint8]
    """[H, W, 1 or 3]"""
    reconstruction: NDArray[np.uint8]
    """[H, W, 1 or 3], as the pixels"""
    error_map: NDArray[np.floating[Any]]
    """[H, W], in any unit that all samples share"""


@torch.inference_mode()
def samples_of(detector: Detector, pixels: NDArray[np.uint8], precision: str) -> list[Sample]:
    """What a detector in eval mode makes of `[N, H, W, C]` uint8 pixels."""
    device = next(detector.parameters()).device
    images = as_images(torch.from_numpy(pixels).to(device))
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        made = detector.look(images).pictures.clamp(0, 1)
    maps = detector.error_map(images, made).cpu().numpy()
    again = (made * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Sample(f"held_out_{number}", *one) for number, one in enumerate(zip(pixels, again, maps, strict=True), 1)]
