"""What does decoding in other processes cost with pictures of a camera's size, and does holding it back cost time?

    python benchmarks/apart.py [counts=500,2500] [rounds=2]

JPEGs of 512 x 512 and 1024 x 768, all the same one, scaled to 128 x 128 for the smallest network there is, so that
fetching and decoding are what is paid for. Each figure is of a process of its own, CPU of all its children included;
what starting costs falls out between the two counts.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from threading import Event

import numpy as np
import untrained
from PIL import Image as Picture
from scale import cpu_seconds, write_list

from rayae.cli import main
from rayae.preprocess import Preprocess
from rayae.reader import NEVER, Fetched, Image, Reader
from rayae.results import Status
from rayae.terminal import say, show_table
from rayae.verbs import score

PICTURES = ("512x512", "1024x768")
PLACEMENTS = {"inline": [], "together": ["workers=2"], "apart": ["workers=1", "resources.decoders=1"]}
SIDE = 128
PREPROCESS = Preprocess("rgb", SIDE, SIDE)


def one_jpeg(size: str) -> bytes:
    """A picture with as much in it as a photograph of a surface."""
    width, height = map(int, size.split("x"))
    random = np.random.default_rng(0)
    rough = Picture.fromarray(random.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    rough.resize((width, height), Picture.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


class SamePicture(Reader):
    """Reads nothing: every image is the one of the environment."""

    def read(self, image: Image, stop: Event = NEVER) -> Fetched:
        return Fetched(JPEG, Status.SCORED, None, len(JPEG))


JPEG = one_jpeg(os.environ.get("PICTURE", PICTURES[0]))


def measure(count: int, placement: str, folder: str) -> None:
    """Score `count` images in this process and print its seconds of CPU and of scoring, as JSON."""
    from apart import SamePicture as Same  # not of `__main__`, so that workers import it

    score.reader_of = lambda settings, workers=1: Same()
    untrained.write(f"{folder}/bundle", untrained.network_of(PREPROCESS), PREPROCESS)
    write_list(Path(folder) / "list.parquet", count)
    words = ["score", f"images={folder}/list.parquet", f"bundle={folder}/bundle", f"out={folder}/run"]
    before = cpu_seconds()
    assert main([*words, f"placement={placement}", "chunk_images=50", *PLACEMENTS[placement]]) == 0
    cpu = cpu_seconds() - before
    statistics = json.loads(Path(folder, "run", "_SUCCESS.json").read_text())["statistics"]
    say("RESULT" + json.dumps([cpu, statistics["wall_seconds"]]))


def found(count: int, placement: str, picture: str) -> list[float]:
    """CPU seconds, and seconds of scoring, of a run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, __file__, "measure", str(count), placement, folder],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PICTURE": picture},
        )
    seconds: list[float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))[6:])
    return seconds


def compare(few: int, many: int, rounds: int) -> None:
    """Measure all placements in turn, and print what an image costs in each."""
    costs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for picture in PICTURES:
            for placement in PLACEMENTS:
                first, last = found(few, placement, picture), found(many, placement, picture)
                each = [(b - a) / (many - few) * 1e6 for a, b in zip(first, last, strict=True)]
                costs.setdefault((picture, placement), []).append((each[0], each[1]))
                say(f"{picture}, {placement}: {each[0]:,.0f} us of CPU, {each[1]:,.0f} us of time an image")
    rows = []
    for (picture, placement), all_of_it in costs.items():
        cpu, wall = (median(one[at] for one in all_of_it) for at in (0, 1))
        beside = median(one[0] for one in costs[picture, "together"])
        rows.append([f"{picture}, {placement}", f"{cpu:,.0f}", f"{cpu / beside:.2f}", f"{wall:,.0f}"])
    columns = ("picture, placement", "CPU us an image", "to together", "us of time an image")
    show_table(f"{few} to {many} images, median of {rounds} rounds, {os.cpu_count()} cores", columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        given = dict(word.split("=", 1) for word in sys.argv[1:])
        least, most = map(int, given.get("counts", "500,2500").split(","))
        compare(least, most, int(given.get("rounds", "2")))
