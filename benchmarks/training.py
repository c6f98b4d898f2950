"""How near is training to a plain loop of PyTorch, what does streaming cost, and what do two workers bring?

    python benchmarks/training.py [side=128] [images=256] [rounds=3]

One thread each. In one process, in turn: a loop of ten lines over pictures in memory (uint8), with the network, task,
losses and optimizer of `rayae.training.fit`; `fit` itself; `fit` over the same pictures streamed from PNG files. Of two
epochs the second counts. Then, in turn, `fit` in one process and in two that share each batch by gloo, and `rayae
train` on Ray with one worker and with two, by the images a second of their `metrics.jsonl` without the first epoch.

`images/s` is by the clock, and `per CPU second` is what one core would do alone, which other work on the machine
lengthens least; `fit` also looks at a held-out picture, which is counted. A ratio is of two that ran one after the
other, the median of the rounds, with the lowest and the highest.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from PIL import Image

from rayae import detector
from rayae.batches import Pictures, Streamed
from rayae.loader import Loader
from rayae.losses import head_loss, reconstruction_loss
from rayae.manifest import complete
from rayae.preprocess import Preprocess
from rayae.reader import Reader
from rayae.settings import TrainSettings
from rayae.tasks import posed
from rayae.terminal import show_table
from rayae.training import TrainingPlan, fit
from rayae.verbs.train_plan import training_plan

HELD_OUT = 1
EPOCHS_ON_RAY = 3
CPU = torch.device("cpu")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Speed:
    """Images a second, and a CPU second; None where nobody counts it."""

    by_clock: float
    by_cpu: float | None


def pictures(count: int, side: int) -> Pixels:
    """Grey textures with noise, `[N, H, W, 1]`."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(9 * x * a + 7 * y * b + c) for a, b, c in random.uniform(0.5, 3, (count, 3))]
    noisy = 120 + 60 * np.stack(waves) + random.normal(0, 8, (count, side, side))
    return noisy.clip(0, 255).astype(np.uint8)[..., None]


def saved(pixels: Pixels, folder: Path, side: int) -> Streamed:
    """The same pictures as PNG files, streamed."""
    folder.mkdir()
    paths = [folder / f"{number:05}.png" for number in range(len(pixels))]
    for path, picture in zip(paths, pixels, strict=True):
        Image.fromarray(picture[..., 0]).save(path)
    rows = complete({"uri": [str(path) for path in paths]})
    return Streamed(rows, Loader(Reader(), Preprocess("grey", side, side), threads=3))


def plan_for(side: int) -> TrainingPlan:
    """The defaults of `rayae train` in float32, without what a plain loop would not do to pictures."""
    augment = {"brightness": 0, "contrast": 0, "noise": 0}
    settings = TrainSettings(images="", out="", epochs=2, precision="float32", augment=augment)
    return training_plan(settings, Preprocess("grey", side, side))


def of_fit(plan: TrainingPlan, train: Pictures) -> Speed:
    """The second epoch of `fit`; with several processes, CPU seconds are those of this one, and images those of all."""
    spent: list[float] = []
    count = len(train) * (dist.get_world_size() if dist.is_initialized() else 1)
    told = fit(plan, train, train[:HELD_OUT], device=CPU, after_epoch=lambda _: spent.append(time.process_time()))
    return Speed(told.history[1].images_per_second, count / (spent[1] - spent[0]))


def of_plain_loop(plan: TrainingPlan, pixels: Pixels) -> Speed:
    """The second epoch of the loop that one would write by hand."""
    model = detector.build(plan.network, plan.detector).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), plan.learning_rate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        started = time.monotonic(), time.process_time()
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
    return Speed(len(pixels) / (time.monotonic() - started[0]), len(pixels) / (time.process_time() - started[1]))


def of_processes(count: int, plan: TrainingPlan, pixels: Pixels) -> Speed:
    """The second epoch of `fit` in so many processes; CPU seconds are those of all of them."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_member, (count, folder, plan, pixels), count)
        found = [json.loads(Path(folder, str(rank)).read_text()) for rank in range(count)]
    return Speed(found[0]["by_clock"], 1 / sum(1 / one["by_cpu"] for one in found))


def _member(rank: int, count: int, folder: str, plan: TrainingPlan, pixels: Pixels) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count)
    speed = of_fit(plan, pixels[rank::count])
    Path(folder, str(rank)).write_text(json.dumps({"by_clock": speed.by_clock, "by_cpu": speed.by_cpu}))
    dist.destroy_process_group()


def of_workers(count: int, images: str, side: int) -> Speed:
    """`rayae train` with so many workers of a thread each."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"images={images}", f"out={folder}/bundle", f"workers={count}", f"epochs={EPOCHS_ON_RAY}",
                 "rule=none", "precision=float32", "preprocess.mode=grey", f"preprocess.height={side}",
                 f"preprocess.width={side}"]  # fmt: skip
        command = [sys.executable, "-m", "rayae", "train", *words]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        lines = Path(folder, "bundle", "training", "metrics.jsonl").read_text().splitlines()
    return Speed(statistics.median(json.loads(line)["images_per_second"] for line in lines[1:]), None)


def in_turn(works: dict[str, Callable[[], Speed]], rounds: int) -> list[list[str]]:
    """Rows of a table: each work as often, one after the other, beside the first of them in the same round."""
    found = [{name: work() for name, work in works.items()} for _ in range(rounds)]
    first, *_ = works
    return [
        [
            name,
            f"{statistics.median(one[name].by_clock for one in found):.1f}",
            _beside([one[name].by_clock / one[first].by_clock for one in found]),
            *_by_cpu([one[name].by_cpu for one in found], [one[first].by_cpu for one in found]),
        ]
        for name in works
    ]


def _by_cpu(found: list[float | None], first: list[float | None]) -> tuple[str, str]:
    if None in found:
        return "-", "-"
    pairs = [(one, other) for one, other in zip(found, first, strict=True) if one and other]
    return f"{statistics.median(one for one, _ in pairs):.1f}", _beside([one / other for one, other in pairs])


def _beside(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def run(side: int, count: int, rounds: int) -> None:
    """Take turns, and print a table of each kind."""
    torch.set_num_threads(1)
    plan, pixels = plan_for(side), pictures(count, side)
    with tempfile.TemporaryDirectory() as folder:
        streamed, images = saved(pixels, Path(folder, "images"), side), f"{folder}/images"
        of_plain_loop(plan, pixels[:32])  # what the first call of a network costs, once
        kinds: dict[str, dict[str, Callable[[], Speed]]] = {
            "one process": {
                "plain loop, in memory": lambda: of_plain_loop(plan, pixels),
                "rayae, in memory": lambda: of_fit(plan, pixels),
                "rayae, streamed": lambda: of_fit(plan, streamed),
            },
            "processes": {f"{number}": lambda n=number: of_processes(n, plan, pixels) for number in (1, 2)},
            "workers on Ray": {f"{number}": lambda n=number: of_workers(n, images, side) for number in (1, 2)},
        }
        for kind, works in kinds.items():
            title = f"{kind}: {count} pictures of {side} x {side}, {rounds} rounds"
            show_table(
                title, ("what", "images/s", "ratio to the first", "per CPU second", "ratio"), in_turn(works, rounds)
            )


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    run(*(int(given.get(key, default)) for key, default in (("side", 128), ("images", 256), ("rounds", 3))))
