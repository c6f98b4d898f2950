"""What share of the work of scoring are the floors?

    python benchmarks/floors.py [side=128] [rounds=9]

Processor time of one thread for a picture in batches of 32, the parts in turn, the median of the rounds: decoding a
JPEG, the detector of `rayae train` with its defaults in float32, its scores and the pixel statistics, and of these the
floors: the components' scores, the distance to the nearest of 2,000 training pictures, and the statistics.
"""

import io
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image

from rayae import detector
from rayae.components import MOST_COMPONENTS, Components
from rayae.detector import Detector
from rayae.nearest import MOST_IMAGES, Nearest
from rayae.pixels import as_images
from rayae.preprocess import Preprocess
from rayae.score_names import COMPONENT_SCORES, NEAREST_SCORES, TEXTURE_SCORES
from rayae.scores import Textures, describe
from rayae.scores.textures import texture_maps
from rayae.settings import TrainSettings
from rayae.terminal import show_table
from rayae.verbs.train_plan import training_plan

BATCH = 32
FIRST = 128
"""Training pictures that the components are those of; scoring costs the same for more."""
FLOORS = ("scores by components", "scores by textures", "nearest training picture", "pixel statistics")
PASS = ("decoding", "network", "scores, floors among them", "pixel statistics")
Work = Callable[[], object]


def pictures(count: int, side: int, seed: int) -> torch.Tensor:
    """Grey noise on a slope, `[N, H, W, 1]` uint8."""
    slope = np.linspace(60, 180, side)[None, :, None, None]
    noise = np.random.default_rng(seed).normal(0, 20, (count, side, side, 1))
    return torch.from_numpy((slope + noise).clip(0, 255).astype(np.uint8))


def detector_for(side: int) -> Detector:
    """The defaults with random weights, and with the statistics of training pictures."""
    plan = training_plan(TrainSettings(images="", out=""), Preprocess("grey", side, side))
    model = detector.build(plan.network, plan.detector).eval()
    images = as_images(pictures(FIRST, side, 1))
    components, nearest = Components(1, side, side, 0), Nearest.blank(1, torch.device("cpu"))
    model.components = components.fitted(components.reduced(images))
    model.nearest = nearest.fitted(nearest.coded(images).repeat(MOST_IMAGES // FIRST + 1, 1)[:MOST_IMAGES])
    model.textures = Textures.fit(texture_maps(images), 1, side, side)
    assert len(model.components.basis) == MOST_COMPONENTS
    return model


def parts(side: int) -> dict[str, Work]:
    """What is measured, a batch each."""
    model, pixels = detector_for(side), pictures(BATCH, side, 0)
    preprocess, files = Preprocess("grey", side, side), [jpeg(one) for one in pixels]
    images = as_images(pixels)
    seen = model.look(images)
    return {
        "decoding": lambda: [preprocess.decode(data) for data in files],
        "network": lambda: model.look(images),
        "scores, floors among them": lambda: model.measure(images, seen, model.score_names()),
        "scores by components": lambda: model.measure(images, seen, COMPONENT_SCORES),
        "scores by textures": lambda: model.measure(images, seen, TEXTURE_SCORES),
        "nearest training picture": lambda: model.measure(images, seen, NEAREST_SCORES),
        "pixel statistics": lambda: describe(pixels),
    }


def jpeg(pixels: torch.Tensor) -> bytes:
    """A file of a picture of `[H, W, 1]`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0].numpy()).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def medians(work: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Milliseconds a picture, after one round that warms up."""
    spent = defaultdict(list)
    for _ in range(rounds + 1):
        for name, do in work.items():
            began = time.process_time()
            do()
            spent[name].append(time.process_time() - began)
    return {name: 1000 * statistics.median(seconds[1:]) / BATCH for name, seconds in spent.items()}


@torch.inference_mode()
def compare(side: int, rounds: int) -> None:
    """Print what each part takes, and its share of the pass."""
    found = medians(parts(side), rounds)
    whole = sum(found[name] for name in PASS)
    found["all floors"] = sum(found[name] for name in FLOORS)
    rows = [[name, f"{spent:.2f}", f"{spent / whole:.3f}"] for name, spent in found.items()]
    title = f"{side} x {side}, grey, one thread: {whole:.1f} ms a picture"
    show_table(title, ("part", "ms a picture", "share of the pass"), rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    compare(*(int(given.get(key, default)) for key, default in (("side", 128), ("rounds", 9))))
