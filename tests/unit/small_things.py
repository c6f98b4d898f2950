"""Small real things that tests share: a network of 32 x 32 pixels, its bundle, pictures and manifests."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from rayae import bundle, detector
from rayae.augmentation import Augmentation
from rayae.losses import Weights
from rayae.manifest import complete
from rayae.networks import weights
from rayae.networks.custom import CustomNetwork
from rayae.preprocess import Preprocess
from rayae.scores import PICTURE_SCORES
from rayae.training import TrainingPlan

SIDE = 32
GREY = Preprocess("grey", SIDE, SIDE)
NETWORK = {"kind": "convolutional", "channels": 1, "height": SIDE, "width": SIDE, "base_width": 8, "latent": 4}
DETECTOR = {
    "task": "copy",
    "head": None,
    "latent": None,
    "places": None,
    "components": None,
    "textures": None,
    "nearest": None,
    "region": False,
    "standard": None,
}
PLAN = TrainingPlan(
    network=NETWORK,
    detector=DETECTOR,
    epochs=4,
    batch_size=8,
    accumulation=1,
    patience=10,
    seed=0,
    precision="float32",
    learning_rate=3e-3,
    weight_decay=1e-4,
    gradient_clip=1.0,
    loss=Weights(l2=0.5, ssim=0.5),
    head_weight=1.0,
    augmentation=Augmentation(),
)
"""A short training of that network, which copies pictures as they are."""
TRAINING = {"images": {"train": 1200, "validation": 7, "calibration": 9}, "best_epoch": 3, "epochs_done": 5}
TRAINING_IMAGES = pa.table(
    {"uri": ["a.png"], "size_bytes": [1], "digest": ["00"], "group": ["g"], "split": ["train"]},
)


def detector_around(network):
    """A detector without head and statistics around a network that gives pictures and no more."""
    return detector.Detector(CustomNetwork(network, "tests:Network"), DETECTOR, 1, SIDE, SIDE).eval()


def small_weights(seed=0, network=NETWORK):
    torch.manual_seed(seed)
    return weights.save(detector.build(network, DETECTOR))


def small_bundle(folder, **changed):
    """A bundle with random weights, in float32."""
    parts = {
        "weights": small_weights(),
        "network": NETWORK,
        "detector": DETECTOR,
        "preprocess": GREY,
        "scores": PICTURE_SCORES,
        "choice": bundle.Choice("mse", "as asked", {}),
        "precision": "float32",
        "training": TRAINING,
        "training_images": TRAINING_IMAGES,
    }
    return bundle.create(str(folder), **parts | changed)


def pictures(count, seed=0, side=SIDE, channels=1):
    """Smooth random pictures, `[N, H, W, C]` uint8, all of one kind: a few numbers say all of each."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(6 * x * a + 3 * y * b + c) for a, b, c in random.uniform(0.5, 1.5, (count, 3))]
    grey = np.rint(127.5 + 100 * np.stack(waves)).astype(np.uint8)
    return np.repeat(grey[..., None], channels, axis=3)


def save_pictures(folder, count, seed=0):
    """The same as PNG files; their paths."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [Path(folder) / f"{number:03d}.png" for number in range(count)]
    for path, pixels in zip(paths, pictures(count, seed), strict=True):
        Image.fromarray(pixels[..., 0]).save(path)
    return paths


def manifest_of(paths):
    return complete({"uri": [str(path) for path in paths]})
