"""How long does it take to see what is left of a run, at 10^2, 10^3 and 10^4 chunks, beside the start of Ray?

    python benchmarks/resume.py [chunks=100,1000,10000] [folder=...]

Chunk files of 200 rows on disk, with footers as large as those of any chunk: only footers are read. Each figure is of a
process of its own, imports left out, and the best of three.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from rayae import storage
from rayae.manifest import chunks_at, complete, write_manifest
from rayae.results import PIXEL_STATISTICS, SCHEMA_VERSION, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import MANIFEST, Run, short_hash, total
from rayae.terminal import say, show_table

ROWS_A_CHUNK = 200
SCORES = ("mse", "mae", "mse_worst1", "ssim_error")
TRIES = 3


def make(folder: str, chunks: int) -> Run:
    """A run of so many chunks of which every second one is done."""
    rows = chunks * ROWS_A_CHUNK
    uris = [f"s3://archive/2026/line-{row % 7}/part-{row:09d}.png" for row in range(rows)]
    manifest = write_manifest(complete({"uri": uris}), storage.join(folder, MANIFEST))
    firsts = list(range(0, rows, ROWS_A_CHUNK))
    keys = ("preprocess", "precision", "primary_score")
    fingerprint = {
        "schema_version": SCHEMA_VERSION,
        "manifest": manifest.content_hash,
        "images": rows,
        "chunks": f"{len(firsts)} ({short_hash(firsts)})",
        "bundle": "b" * 12,
        "calibration": None,
        "threshold": None,
        **dict(zip(keys, ("p" * 12, "bf16", "mse"), strict=True)),
    }
    record = {
        "images": "s3://archive/2026/",
        "settings": {},
        "bundle": "s3://models/parts",
        "rows": rows,
        "chunks": firsts,
        "fingerprint": fingerprint,
        "fingerprint_hash": short_hash(fingerprint),
        "scores": list(SCORES),
        "primary_score": "mse",
        "threshold": None,
    }
    run = Run.create(folder, record)
    write(run, 0)
    return run


def write(run: Run, begin: int) -> None:
    """Every second chunk from `begin` on."""
    rng, judge = np.random.default_rng(begin), Judge("mse", "b" * 12, None, None)
    manifest = run.manifest.read()
    for chunk in chunks_at(run.record["chunks"], run.rows)[begin::2]:
        images = manifest.slice(chunk.first, chunk.rows)
        scores = {name: rng.lognormal(-5, 1, chunk.rows).astype(np.float32) for name in SCORES}
        scores |= dict.fromkeys(PIXEL_STATISTICS, scores["mse"])
        nothing, sides = [None] * chunk.rows, [512] * chunk.rows
        status = [Status.SCORED] * chunk.rows
        table = result_table(images, Outcome(status, nothing, sides, sides, sides, scores), judge)
        summary = summarise(chunk.number, table, {"wait": 1.0, "fetch": 2.0, "decode": 3.0, "model": 4.0})
        data = chunk_bytes(table, summary, run.record["fingerprint_hash"])
        Path(run.chunk_uri(chunk.number)).parent.mkdir(exist_ok=True)
        Path(run.chunk_uri(chunk.number)).write_bytes(data)  # without waiting for the disk, as `storage` would


def measure(folder: str) -> None:
    """What `rayae score` asks of a run before it begins with a chunk, and what `rayae status` reads; as JSON."""
    from rayae.verbs.status import look

    started = time.perf_counter()
    run = Run.open(folder)
    opened = time.perf_counter()
    run.success()
    left = run.chunks_left()
    listed = time.perf_counter()
    total(run.summaries())
    summed = time.perf_counter()
    look(run, {})
    looked = time.perf_counter()
    found = {"open": opened - started, "list": listed - opened, "sum": summed - listed, "status": looked - summed}
    say(json.dumps(found | {"left": len(left)}))


def best(folder: str) -> dict[str, float]:
    """The fastest of some processes, part by part."""
    words = [sys.executable, __file__, "measure", folder]
    tries = [json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout) for _ in range(TRIES)]
    return {name: min(one[name] for one in tries) for name in tries[0]}


def compare(counts: list[int], within: str | None) -> None:
    """Measure each number of chunks, half done and all done, and print the table."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory(dir=within) as folder:
            run = make(folder, count)
            for what in ("half of them done", "all done"):
                found = best(folder)
                decision = found["open"] + found["list"] + found["sum"]
                parts = (f"{found[name]:.3f}" for name in ("open", "list", "sum"))
                rows.append([f"{count:,} chunks, {what}", *parts, f"{decision:.2f}", f"{found['status']:.2f}"])
                write(run, 1)
    columns = ("run", "run.json s", "what is left s", "footers s", "resume decision s", "status s")
    show_table(f"resuming, files on a local disk, {os.cpu_count()} cores", columns, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2])
    else:
        given = dict(word.split("=", 1) for word in sys.argv[1:])
        compare([int(count) for count in given.get("chunks", "100,1000,10000").split(",")], given.get("folder"))
