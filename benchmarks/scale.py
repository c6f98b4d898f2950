"""Does the cost of an image stay the same from 10^4 to 10^6 images, and the driver's memory flat?

    python benchmarks/scale.py [sizes=10000,100000,1000000] [placement=together]

The whole line, listing included, over images that need not be there: the reader gives every image the same small PNG,
and the network is the smallest there is. Each size runs in a process of its own, which then asks for the finished run
again.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import untrained
from PIL import Image as Picture

from rayae.cli import main
from rayae.preprocess import Preprocess
from rayae.reader import NEVER, Fetched, Image, Reader
from rayae.results import Status
from rayae.terminal import say, show_table
from rayae.verbs import score

SIDE = 32
PREPROCESS = Preprocess("grey", SIDE, SIDE)
WORKERS = 2


def one_png() -> bytes:
    """A small picture."""
    file = io.BytesIO()
    Picture.fromarray(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)).save(file, "PNG")
    return file.getvalue()


class SamePicture(Reader):
    """Reads nothing: every image is the same."""

    def read(self, image: Image, stop: Event = NEVER) -> Fetched:
        data = PNG
        return Fetched(data, Status.SCORED, None, len(data))


PNG = one_png()


def write_list(path: Path, count: int) -> None:
    """A list of images with names as an archive has them, written in parts."""
    schema = pa.schema([("uri", pa.string()), ("size_bytes", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, count, 65536):
            rows = range(first, min(first + 65536, count))
            uris = [f"s3://archive/2026/line-{row % 7}/part-{row:09d}.png" for row in rows]
            writer.write_table(pa.table({"uri": uris, "size_bytes": [len(PNG)] * len(rows)}, schema))


def measure(count: int, placement: str, folder: str) -> None:
    """Score `count` images in this process and print what that took, as JSON."""
    from scale import SamePicture as Same  # not of `__main__`, so that workers import it

    score.reader_of = lambda settings, workers=1: Same()
    untrained.write(f"{folder}/bundle", untrained.network_of(PREPROCESS), PREPROCESS)
    write_list(Path(folder) / "list.parquet", count)
    words = ["score", f"images={folder}/list.parquet", f"bundle={folder}/bundle", f"out={folder}/run"]
    before, started = cpu_seconds(), time.monotonic()
    assert main([*words, f"placement={placement}", f"workers={WORKERS}"]) == 0
    wall, cpu = time.monotonic() - started, cpu_seconds() - before
    statistics = json.loads(Path(folder, "run", "_SUCCESS.json").read_text())["statistics"]
    started = time.monotonic()
    assert main(["score", f"{folder}/run"]) == 0
    again = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"wall": wall, "cpu": cpu, "scoring": statistics["wall_seconds"], "peak_mb": peak, "again": again}
    say("RESULT" + json.dumps(found))


def cpu_seconds() -> float:
    """CPU seconds of this process and all below it, those of Ray included while it is up."""
    mine = psutil.Process()
    times = [process.cpu_times() for process in (mine, *mine.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def compare(sizes: list[int], placement: str) -> None:
    """Measure each size in a process of its own and print the table."""
    rows: list[list[str]] = []
    last: tuple[int, float] | None = None
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, __file__, "measure", str(count), placement, folder]
            alone = os.environ | {"OMP_NUM_THREADS": "1"}
            said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=alone)
            found = json.loads(next(line for line in said.stdout.splitlines() if line.startswith("RESULT"))[6:])
        each = "" if last is None else f"{(found['cpu'] - last[1]) / (count - last[0]) * 1e6:,.0f}"
        last = (count, found["cpu"])
        before = found["wall"] - found["scoring"]
        seconds = [f"{value:.1f}" for value in (found["wall"], before, found["cpu"])]
        rows.append([f"{count:,}", *seconds, each, f"{found['peak_mb']:,.0f}", f"{found['again']:.2f}"])
        say(f"{count:,} images: {found}")
    columns = (
        "images",
        "wall s",
        "of it before the first chunk",
        "CPU s",
        "CPU us an image beyond the row above",
        "driver peak MB",
        "finished run again s",
    )
    show_table(f"the whole line, placement={placement}, {WORKERS} workers, {os.cpu_count()} cores", columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    else:
        given = dict(word.split("=", 1) for word in sys.argv[1:])
        asked = given.get("sizes", "10000,100000,1000000").split(",")
        compare([int(size) for size in asked], given.get("placement", "together"))
