"""What does it cost to list a million objects, and ten million rows? CPU of the client, and its memory.

    python benchmarks/listing.py [keys=200000] [rows=10000000]

Measured is the CPU, user and system, of the whole process of `rayae index` less that of one over a single key (median
of three), with a moto server on loopback (`big_bucket.py`), which is slow: the seconds are the server's. Beside it the
loop of obstore's manual, one page after the other, which keeps nothing. Then simulated rows, from a source of pages
that makes them up, into a manifest on disk; and an update of it after one object in a thousand has changed.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae import objects
from rayae.cli import main
from rayae.terminal import say, show_table

HERE = Path(__file__).parent
PORT = 50_917
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
PLAIN_LOOP = f"""
import sys
from obstore.store import S3Store
store = S3Store("archive", endpoint="{ENVIRONMENT["AWS_ENDPOINT_URL"]}", client_options={{"allow_http": True}})
print(sum(page.num_rows for page in store.list(sys.argv[1], return_arrow=True, chunk_size=1000)))
"""


@contextmanager
def bucket(keys: int, layout: str) -> Iterator[None]:
    """A server with the keys in it, ended by its pid."""
    with subprocess.Popen([sys.executable, HERE / "big_bucket.py", str(PORT), str(keys), layout]) as server:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/archive?list-type=2&max-keys=1").close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield
        finally:
            server.kill()


def cost(words: list[str], environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """CPU-seconds and seconds of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def real_keys(keys: int, folder: str) -> list[list[str]]:
    """Rows of the table: rayae over each layout of keys, and the plain loop."""
    rows = []
    for layout in ("sequential", "random", "dates"):
        with bucket(keys, layout):
            programs = {"rayae index": [sys.executable, "-m", "rayae", "index", f"out={folder}/m.parquet"]}
            if layout == "sequential":
                programs["plain obstore loop"] = [sys.executable, "-c", PLAIN_LOOP]
            for name, words in programs.items():
                one, many = (
                    [*words, *([f"images=s3://archive/{below}"] if name == "rayae index" else [below])]
                    for below in ("one", "raw")
                )
                start = statistics.median(cost(one, ENVIRONMENT)[0] for _ in range(3))
                total, seconds = cost(many, ENVIRONMENT)
                each = (total - start) / keys
                rows.append(
                    [f"{name}, {layout} keys", f"{each * 1e6:.2f}", f"{1 / each:,.0f}", f"{seconds:.0f}", "", ""]
                )
                say(", ".join(rows[-1]))
    plain = next(float(row[1]) for row in rows if row[0].startswith("plain"))
    for row in rows:
        row[5] = f"{float(row[1]) / plain:.2f}"
    return rows


class MadeUp:
    """As many objects as are asked for, with pages that are made when they are read."""

    def __init__(self, count: int, changed: bool) -> None:
        self.count, self.changed = count, changed

    def key(self, number: int) -> str:
        return f"raw/IMG_{number:09}.jpg"

    def first_above(self, key: str) -> int:
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.key(middle) <= key else (low, middle)
        return low

    def pages(self, prefix_uri: str, after: str | None = None) -> Iterator[pa.RecordBatch]:
        at = 0 if after is None else self.first_above(after)
        while at < self.count:
            numbers = np.arange(at, min(at + 1000, self.count))
            texts = pa.array(numbers).cast(pa.string())
            names = pc.binary_join_element_wise("s3://archive/raw/IMG_", pc.utf8_lpad(texts, 9, "0"), ".jpg", "")
            etags = pc.binary_join_element_wise("d41d8cd98f00b204e9800998", texts, "")
            sizes = 100_000 + numbers % 9973 + (numbers % 1000 == 0) * self.changed
            times = pa.nulls(len(numbers), objects.PAGE.field("modified").type)
            yield pa.record_batch([names, pa.array(sizes), etags, times], schema=objects.PAGE)
            at += len(numbers)


def simulated(count: int, folder: str, is_update: bool) -> None:
    """List made-up objects into a manifest in this process, and print what it took."""
    objects.pages = MadeUp(count, changed=is_update).pages
    words = ["--update"] if is_update else ["images=s3://archive/raw"]
    began, spent = time.monotonic(), time.process_time()
    if main(["index", f"out={folder}/simulated.parquet", *words]):
        sys.exit(1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(f"TOOK {time.process_time() - spent} {time.monotonic() - began} {peak}")


def simulated_rows(count: int, folder: str) -> list[list[str]]:
    """Rows of the table: listing made-up objects, and updating; each in a process of its own."""
    rows = []
    for name in ("listed", "updated"):
        words = [sys.executable, __file__, "simulate", str(count), folder, name]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        cpu, seconds, peak = map(float, done.stdout.rpartition("TOOK")[2].split())
        each = cpu / count
        rows.append(
            [
                f"{count:,} simulated rows, {name}",
                f"{each * 1e6:.2f}",
                f"{1 / each:,.0f}",
                f"{seconds:.0f}",
                f"{peak:,.0f}",
                "",
            ]
        )
        say(", ".join(rows[-1]))
    return rows


def run(words: list[str]) -> None:
    """Print the table, and write it beside this file."""
    asked = {"keys": "200000", "rows": "10000000"} | dict(word.split("=", 1) for word in words)
    with tempfile.TemporaryDirectory(prefix="rayae-listing-") as folder:
        rows = real_keys(int(asked["keys"]), folder) + simulated_rows(int(asked["rows"]), folder)
    titles = ("what", "CPU us/key", "keys/CPU s", "seconds", "peak MB", "to plain")
    show_table(f"Listing {int(asked['keys']):,} keys of a moto server, and simulated rows", titles, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["simulate"]:
        simulated(int(sys.argv[2]), sys.argv[3], is_update=sys.argv[4] == "updated")
    else:
        run(sys.argv[1:])
