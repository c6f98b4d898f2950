"""How many images a CPU-second reach a device, when the network costs nothing?

    python -m benchmarks.feed [side=128] [images=6000] [rounds=3] [delay_ms=30]

The reader and the decoder of `rayae score placement=inline` bring JPEGs to pixels of 128 x 128, which are laid into
micro-batches: from a disk, by a loop by hand on one core (each image read and decoded, no thread), from an S3 server on
this machine (rclone, behind haproxy), and from there with `delay_ms` before each answer. Each way is a process of its
own; its CPU seconds are without the server's, with which it shares the cores. `fetch` is the CPU that a way takes an
image beyond the disk in the same round. Needs haproxy, and rclone from `make servers`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.speed.images import make
from benchmarks.speed.model import BATCH, PREPROCESS
from benchmarks.speed.ratios import spread
from rayae.cli import main as rayae
from rayae.loader import Loader
from rayae.manifest import Manifest
from rayae.settings import RunnerSettings
from rayae.terminal import say, show_table
from rayae.verbs.score import decode_threads, reader_of
from tests.servers import haproxy, rclone

DEFAULTS = {"side": 128, "images": 6000, "rounds": 3, "delay_ms": 30}
COLUMNS = ("way", "images/s", "to the disk", "images a CPU-second", "CPU ms an image", "fetch, CPU ms")
DISK, BY_HAND, SERVER = "disk", "disk, by hand on one core", "S3"


@dataclass(frozen=True)
class Fed:
    """What delivering all images took."""

    images: int
    wall_s: float
    cpu_s: float

    @property
    def rate(self) -> float:
        return self.images / self.wall_s

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / self.images


def delivered(way: str, manifest: str) -> Fed:
    """Bring all images of a manifest into micro-batches, in this process."""
    images = Manifest.open(manifest).read()
    uris = images["uri"].to_pylist()
    if way == BY_HAND:
        pictures = (PREPROCESS.decode(Path(uri).read_bytes()).pixels for uri in uris)
    else:
        settings = RunnerSettings(placement="inline")
        loading = Loader(reader_of(settings), PREPROCESS, decode_threads(settings)).load(images)
        pictures = (loaded.picture.pixels for loaded in loading)
    return fed(pictures)


def fed(pictures: Iterator[np.ndarray | None]) -> Fed:
    """Lay pictures into a micro-batch, one after the other."""
    batch, count = np.empty((BATCH, PREPROCESS.height, PREPROCESS.width, PREPROCESS.channels), np.uint8), 0
    wall, cpu = time.perf_counter(), time.process_time()
    for picture in pictures:
        if picture is None:
            raise SystemExit("an image could not be had")
        batch[count % BATCH] = picture
        count += 1
    return Fed(count, time.perf_counter() - wall, time.process_time() - cpu)


def of_its_own(way: str, manifest: str, environment: dict[str, str]) -> Fed:
    """The same in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.feed", way, manifest]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment).stdout
    return Fed(**json.loads(said.splitlines()[-1]))


def listed(images: str, out: str) -> str:
    """The manifest of some images."""
    if rayae(["index", f"images={images}", f"out={out}"]) != 0:
        raise SystemExit(f"{images} could not be listed")
    return out


def compare(side: int, count: int, rounds: int, delay_ms: int) -> None:
    """Let the ways take turns, and print a table."""
    far, found = f"{SERVER}, {delay_ms} ms", list[dict[str, Fed]]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = make(folder / "served" / "pictures", side, count)
        with rclone(folder / "served") as server, haproxy(server) as front:
            environment = front.environment()
            os.environ.update(environment)
            near = listed(images.list, f"{folder}/near.parquet")
            there = listed(f"s3://pictures/{side}", f"{folder}/there.parquet")
            for place in range(rounds + 1):  # the first fills caches
                one = {DISK: of_its_own(DISK, near, {}), BY_HAND: of_its_own(BY_HAND, near, {})}
                for way, delay in ((SERVER, 0), (far, delay_ms)):
                    front.set(delay_ms=delay)
                    one[way] = of_its_own(SERVER, there, environment)
                say(f"round {place}: " + ", ".join(f"{way} {fed.rate:,.0f} images/s" for way, fed in one.items()))
                found += [one] if place else []
    rows = [row(way, found) for way in (DISK, BY_HAND, SERVER, far)]
    show_table(f"{count:,} JPEGs of {side} x {side}, {rounds} rounds", COLUMNS, rows)
    ratios = [one[far].rate / one[SERVER].rate for one in found]
    say(f"{far}: {spread(ratios)} of the rate without")


def row(way: str, found: list[dict[str, Fed]]) -> list[str]:
    """The line of a way: medians, and ratios within each round."""
    own, disk = [one[way] for one in found], [one[DISK] for one in found]
    beyond = [one.cpu_ms - other.cpu_ms for one, other in zip(own, disk, strict=True)]
    return [
        way,
        f"{median(one.rate for one in own):,.0f}",
        spread([one.rate / other.rate for one, other in zip(own, disk, strict=True)]),
        f"{median(1000 / one.cpu_ms for one in own):,.0f}",
        f"{median(one.cpu_ms for one in own):.3f}",
        f"{median(beyond):+.3f}",
    ]


if __name__ == "__main__":
    if "=" in "".join(sys.argv[1:]) or len(sys.argv) == 1:
        given = DEFAULTS | {key: int(value) for key, value in (word.split("=", 1) for word in sys.argv[1:])}
        compare(**{"count" if key == "images" else key: value for key, value in given.items()})
    else:
        say(json.dumps(vars(delivered(*sys.argv[1:]))))
