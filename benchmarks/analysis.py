"""What do the verbs that ask a finished run cost at ten million rows, and do they fit into memory?

    python benchmarks/analysis.py [rows=10000000] [chunk_rows=2048] [verbs=top,flag,evaluate,drift,query,report]

The run is synthetic, but its files are those that scoring writes, `chunk_rows` rows each: seven scores, of which
defects have higher ones, a hundred groups, one image in a thousand missing, one in five hundred labelled, a tenth of
them defects. Each verb runs in a process of its own, whose wall clock, CPU time and peak memory are shown. `query` asks
three questions of every day, the last of which joins the flags of a decision with the rows. The kernel may have the
files in its cache: what is measured is the work, and not the disk.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import untrained

from rayae import bundle, storage
from rayae.bundle import Bundle
from rayae.manifest import Chunk, complete, write_manifest
from rayae.preprocess import Preprocess
from rayae.results import PIXEL_STATISTICS, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import MANIFEST, Run, total
from rayae.scores import PICTURE_SCORES
from rayae.settings import RunnerSettings
from rayae.terminal import say, show_table
from rayae.threshold import conformal
from rayae.verbs.score import fingerprint, plan_run

DEFAULTS = {"rows": "10000000", "chunk_rows": "2048", "verbs": "top,flag,evaluate,drift,query,report"}
CALIBRATION = 10_000
LISTED_ROWS = 1_000_000
LABELLED, DEFECT, MISSING = 0.002, 0.1, 0.001
GROUPS = 100
QUESTIONS = {
    "query, flags by group": 'SELECT "group", count(*), sum(is_anomaly::INT) FROM results GROUP BY 1 ORDER BY 3 DESC',
    "query, failures by reason": "SELECT status, count(*), any_value(uri) FROM failures GROUP BY 1",
    "query, a decision joined": 'SELECT r."group", count(*) FROM flags f JOIN results r USING (image_id) '
    "WHERE f.is_anomaly AND NOT r.is_anomaly GROUP BY 1 ORDER BY 2 DESC",
}
ONE_VERB = """
import re, sys
from pathlib import Path
from rayae.cli import main
code = main(sys.argv[1:])
print("PEAK", re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(code)
"""
"""`ru_maxrss` of a child counts what its parent held when it was forked; the high-water mark begins anew."""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def listed(rows: int) -> Iterator[pa.Table]:
    """The images, as a listing gives them."""
    for first in range(0, rows, LISTED_ROWS):
        numbers = np.arange(first, min(first + LISTED_ROWS, rows))
        rng = np.random.default_rng([1, first])
        label = np.where(rng.random(len(numbers)) < DEFECT, "scratch", "good").astype(object)
        yield complete(
            {
                "uri": [f"s3://archive/line-{number % GROUPS:02}/{number:09}.jpg" for number in numbers.tolist()],
                "size_bytes": rng.integers(20_000, 60_000, len(numbers)),
                "label": pa.array(label, pa.string(), mask=rng.random(len(numbers)) >= LABELLED),
                "group": [f"line-{number % GROUPS:02}" for number in numbers.tolist()],
            }
        ).drop_columns("image_id")


def rows_of(run: Run, chunk: Chunk, judge: Judge) -> pa.Table:
    """The result rows of a chunk."""
    images = run.manifest.read(chunk.first, chunk.rows)
    rng = np.random.default_rng([2, chunk.number])
    labels = np.array(images["label"].to_pylist(), dtype=object)
    lost = rng.random(chunk.rows) < MISSING
    strange = (labels == "scratch") | (rng.random(chunk.rows) < 1e-3)
    scores = {name: np.exp(rng.normal(-6, 0.4, chunk.rows) + 1.5 * strange) for name in PICTURE_SCORES}
    pixels = {name: rng.random(chunk.rows) for name in PIXEL_STATISTICS}
    side = [None if gone else 512 for gone in lost]
    outcome = Outcome(
        status=[Status.MISSING if gone else Status.SCORED for gone in lost],
        error=["There is no such file." if gone else None for gone in lost],
        width=side,
        height=side,
        size_bytes=images["size_bytes"].to_pylist(),
        scores={name: values.astype(np.float32) for name, values in (scores | pixels).items()},
    )
    return result_table(images, outcome, judge)


def calibrated(folder: str) -> Bundle:
    """A bundle with calibration scores that the normal images of the run are like."""
    preprocess = Preprocess("grey", 32, 32)
    untrained.write(folder, untrained.network_of(preprocess), preprocess)
    made = Bundle.open(folder)
    known = np.exp(np.random.default_rng(0).normal(-6, 0.4, CALIBRATION)).astype(np.float32)
    names = [f"s3://calibration/{number}.jpg" for number in range(CALIBRATION)]
    columns: dict[str, Any] = {
        "uri": names,
        "group": [f"lot-{number % 40}" for number in range(CALIBRATION)],
        "digest": names,
    }
    pixels = np.random.default_rng(1).random((len(PIXEL_STATISTICS), CALIBRATION), np.float32)
    columns |= dict(zip(PIXEL_STATISTICS, pixels, strict=True))
    table = pa.table({**columns, "mse": known, "score": known, "chose_score": np.zeros(CALIBRATION, bool)})
    return bundle.calibrated(made, table, conformal(known, score="mse", alpha=0.001, bundle_id=made.bundle_id))


def write_run(folder: str, rows: int, chunk_rows: int) -> str:
    """A finished run; its URI."""
    judging = calibrated(f"{folder}/bundle")
    uri = f"{folder}/run"
    manifest = write_manifest(listed(rows), storage.join(uri, MANIFEST))
    firsts = list(range(0, rows, chunk_rows))
    found = fingerprint(manifest.content_hash, rows, judging, firsts, RunnerSettings())
    run = plan_run(uri, judging, firsts, found, {"images": "s3://archive", "settings": {}})
    judge = Judge("mse", judging.bundle_id, judging.threshold, judging.calibration)
    summaries = []
    for chunk in run.chunks:
        table = rows_of(run, chunk, judge)
        summaries.append(summarise(chunk.number, table, {"model": 1.0}))
        data = chunk_bytes(table, summaries[-1], run.record["fingerprint_hash"])
        storage.write_bytes(run.chunk_uri(chunk.number), data)
    run.finish(total(summaries) | {"wall_seconds": 1.0, "images_per_second": float(rows)})
    return uri


def cost_of(words: list[str]) -> Cost:
    """What a verb takes in a process of its own; its exit code has to be 0."""
    started = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command, alone = [sys.executable, "-c", ONE_VERB, *words], os.environ | {"OMP_NUM_THREADS": "1"}
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=alone).stdout
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, int(said.rpartition("PEAK ")[2]) / 1024)


def compare(rows: int, chunk_rows: int, verbs: list[str]) -> None:
    """Write the run, ask it, and print the table."""
    asked = {
        "top n=50": ["top", "n=50"],
        "flag fdr=0.05": ["flag", "fdr=0.05", "borderline=0"],
        "evaluate": ["evaluate"],
        "drift": ["drift"],
        **{name: ["query", f"sql={sql}"] for name, sql in QUESTIONS.items()},
        "report worst=0": ["report", "worst=0"],
    }
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        run = write_run(folder, rows, chunk_rows)
        size = sum(path.stat().st_size for path in Path(run).rglob("*.parquet")) / 1e6
        say(f"{rows:,} rows, {size:,.0f} MB, written in {time.monotonic() - started:.0f} s")
        lines = []
        for name, (verb, *more) in asked.items():
            if verb not in verbs:
                continue
            cost = cost_of([verb, run, *more])
            lines.append((name, f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_mb:,.0f}"))
            say("  ".join(lines[-1]))
    columns = ("verb", "wall s", "CPU s", "peak MB")
    title = f"{rows:,} rows in files of {chunk_rows:,}, {size:,.0f} MB, {os.cpu_count()} cores"
    show_table(title, columns, lines)


if __name__ == "__main__":
    given = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    compare(int(given["rows"]), int(given["chunk_rows"]), given["verbs"].split(","))
