"""Home of the model that all programs score with: one bundle, opened as plain PyTorch.

It imports no more of rayae than the network, since Daft needs an environment of its own.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rayae import detector
from rayae.preprocess import Preprocess

SIDE = 128
BATCH = 32
SCORE = "mse"
PREPROCESS = Preprocess("rgb", SIDE, SIDE)
PRECISION = "bf16"
Score = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def opened(folder: str) -> Score:
    """What gives the mean squared error `[N]` of `[N, H, W, 3]` uint8 pixels, in bfloat16, on one core."""
    torch.set_num_threads(1)
    record = json.loads(Path(folder, "bundle.json").read_text())
    weights = Path(folder, "weights.safetensors").read_bytes()
    loaded = detector.load(record["network"], record["detector"], weights)
    model = detector.on_device(loaded, torch.device("cpu")).eval()

    @torch.inference_mode()
    def score(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = (
            torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(0, 3, 1, 2).float().div_(255)
        )
        with torch.autocast("cpu", torch.bfloat16):
            made = model.look(images)
        found: NDArray[np.float32] = (images - made.pictures).square().mean((1, 2, 3)).numpy()
        return found

    return score
