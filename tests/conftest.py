"""Small real things that several tests use: a folder of textured pictures, and a bundle trained on them."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from rayae.cli import main

os.environ.setdefault("RAYAE_ALLOW", "loopback")  # where the servers of the tests are, and no list may lead unasked
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as Ray's workers have it: the last digits of scores depend on it
SIDE = 48

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")


def write_pictures(folder: Path, count: int, seed: int = 0, defects: int = 0) -> Path:
    """Write `count` textured PNGs of 48 px, and `defects` more with a bright scratch, into folder/good and /scratch."""
    random = np.random.default_rng(seed)
    for number in range(count + defects):
        kind = "good" if number < count else "scratch"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
        phase, slope = random.uniform(0, 6.3), random.uniform(0.5, 1.5)
        picture = 120 + 50 * np.sin(12 * rows + phase) * slope + 30 * columns + random.normal(0, 4, (SIDE, SIDE))
        if kind == "scratch":
            at = random.integers(8, SIDE - 8)
            picture[at : at + 3, 5:-5] = 250
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / kind / f"part{number:04}.png")
    return folder


SMALL_TRAINING = [
    "preprocess.mode=grey",
    "preprocess.height=32",
    "preprocess.width=32",
    "network.base_width=8",
]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 normal pictures and 24 with a scratch."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), 240, defects=24)


@pytest.fixture(scope="session")
def bundle(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained on the pictures for three epochs, without Ray."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    words = ["train", f"images={pictures}", "labels=folder", f"out={out}", "epochs=3", "placement=inline"]
    assert main([*words, *SMALL_TRAINING]) == 0
    return out
