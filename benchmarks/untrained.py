"""Home of the bundle that speed is measured with: random weights, and the scores of a reconstruction alone."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import torch

from rayae import bundle, detector
from rayae.networks import weights
from rayae.preprocess import Preprocess
from rayae.scores import PICTURE_SCORES

DETECTOR = dict.fromkeys(detector.KEYS) | {"task": "copy", "region": False}


def network_of(preprocess: Preprocess, base_width: int = 8, latent: int = 1) -> dict[str, Any]:
    """A convolutional autoencoder for such pictures; by default the smallest there is."""
    size = {key: getattr(preprocess, key) for key in ("channels", "height", "width")}
    return {"kind": "convolutional", **size, "base_width": base_width, "latent": latent}


def write(
    folder: str,
    network: Mapping[str, Any],
    preprocess: Preprocess,
    scores: tuple[str, ...] = PICTURE_SCORES,
    precision: str = "float32",
) -> None:
    """Write a bundle that is not trained and has no threshold; the first of its scores is the primary one."""
    torch.manual_seed(0)
    bundle.create(
        folder,
        weights=weights.save(detector.build(network, DETECTOR)),
        network=network,
        detector=DETECTOR,
        preprocess=preprocess,
        scores=scores,
        choice=bundle.Choice(scores[0], "as asked", {}),
        precision=precision,
        training={"images": {"train": 1, "validation": 1, "calibration": 1}, "best_epoch": 1, "epochs_done": 1},
        training_images=pa.table({name: ["a"] for name in ("uri", "digest", "group", "split")} | {"size_bytes": [1]}),
    )
