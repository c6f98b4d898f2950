"""How near is training to a plain loop of PyTorch, and what do two workers bring?

    python benchmarks/training.py [side=128] [images=256] [rounds=4]

One thread: an epoch of `rayae.training.fit`, by its own figure, and a loop of ten lines over the same pictures (uint8
in memory), network, task, loss and optimizer, in turn; the medians of the rounds. Then `rayae train` on Ray with one
worker and with two, of one thread each, by the images a second of their `metrics.jsonl` without the first epoch.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from rayae import detector
from rayae.losses import head_loss, reconstruction_loss
from rayae.preprocess import Preprocess
from rayae.settings import TrainSettings
from rayae.tasks import posed
from rayae.terminal import show_table
from rayae.training import TrainingPlan, fit
from rayae.verbs.train_plan import training_plan

HELD_OUT = 8
EPOCHS_ON_RAY = 4
CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


def pictures(count: int, side: int) -> Pixels:
    """Grey textures with noise, `[N, H, W, 1]`."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(9 * x * a + 7 * y * b + c) for a, b, c in random.uniform(0.5, 3, (count, 3))]
    noisy = 120 + 60 * np.stack(waves) + random.normal(0, 8, (count, side, side))
    return noisy.clip(0, 255).astype(np.uint8)[..., None]


def plan_for(side: int) -> TrainingPlan:
    """The defaults of `rayae train` in float32, without what a plain loop would not do to pictures."""
    augment = {"brightness": 0, "contrast": 0, "noise": 0}
    settings = TrainSettings(images="", out="", epochs=1, precision="float32", augment=augment)
    return training_plan(settings, Preprocess("grey", side, side))


def of_fit(plan: TrainingPlan, pixels: Pixels) -> float:
    """Images a second of an epoch, as it is told."""
    return fit(plan, pixels, pixels[:HELD_OUT], device=CPU).history[0].images_per_second


def of_plain_loop(plan: TrainingPlan, pixels: Pixels) -> float:
    """Images a second of the loop that one would write by hand."""
    model = detector.build(plan.network, plan.detector).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), plan.learning_rate)
    generator = torch.Generator().manual_seed(0)
    started = time.monotonic()
    order = np.random.default_rng(0).permutation(len(pixels))
    for first in range(0, len(order), plan.batch_size):
        images = torch.from_numpy(pixels[order[first : first + plan.batch_size]]).permute(0, 3, 1, 2).float() / 255
        pose = posed("repair", images, generator)
        seen = model(pose.seen)
        loss = reconstruction_loss(images, seen.pictures, plan.loss, places=pose.places)
        loss = loss + head_loss(seen.logits, pose.places)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(pixels) / (time.monotonic() - started)


def of_workers(count: int, images: str, folder: str, side: int) -> float:
    """Images a second of `rayae train` with so many workers of a thread each."""
    words = [f"images={images}", f"out={folder}/bundle-{count}", f"workers={count}", f"epochs={EPOCHS_ON_RAY}",
             "rule=none", "precision=float32", "preprocess.mode=grey", f"preprocess.height={side}",
             f"preprocess.width={side}"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rayae", "train", *words]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    lines = Path(f"{folder}/bundle-{count}/training/metrics.jsonl").read_text().splitlines()
    return statistics.median(json.loads(line)["images_per_second"] for line in lines[1:])


def run(side: int, count: int, rounds: int) -> None:
    """Take turns, and print the table."""
    torch.set_num_threads(1)
    plan, pixels = plan_for(side), pictures(count, side)
    works = {"plain loop": of_plain_loop, "rayae": of_fit}
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            rate = work(replace(plan, seed=number), pixels)
            if number:
                found[name].append(rate)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "images").mkdir()
        for number, picture in enumerate(pixels):
            Image.fromarray(picture[..., 0]).save(Path(folder, "images", f"{number:05}.png"))
        for workers in (1, 2):
            found[f"{workers} on Ray"] = [of_workers(workers, f"{folder}/images", folder, side)]
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    beside = {"plain loop": "plain loop", "rayae": "plain loop", "1 on Ray": "1 on Ray", "2 on Ray": "1 on Ray"}
    rows = [
        [name, f"{rate:,.1f}", f"{rate / medians[beside[name]]:.2f}", beside[name]] for name, rate in medians.items()
    ]
    show_table(f"{count} pictures of {side} x {side}", ("what", "images/s", "ratio", "to"), rows)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    run(*(int(given.get(key, default)) for key, default in (("side", 128), ("images", 256), ("rounds", 4))))
