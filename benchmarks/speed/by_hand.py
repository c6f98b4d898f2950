"""The loop that one would write by hand: a process a core, each reads, decodes and scores its share of the images.

    python -m benchmarks.speed.by_hand LIST BUNDLE OUT

No fault of an image is expected, nothing can be started again, and no thread takes turns with another: what this
machine can do at most, with the decoder and the network of rayae.
"""

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.speed.model import BATCH, SIDE, opened
from rayae.preprocess import Preprocess


def share(rank: int, processes: int, images: str, bundle: str, out: str) -> None:
    """Score every image whose place leaves this rank over."""
    uris = pq.read_table(images)["uri"].to_pylist()[rank::processes]
    score, preprocess = opened(bundle), Preprocess("rgb", SIDE, SIDE)
    scores = []
    for first in range(0, len(uris), BATCH):
        pictures = [preprocess.decode(Path(uri).read_bytes()).pixels for uri in uris[first : first + BATCH]]
        scores.append(score(np.stack([picture for picture in pictures if picture is not None])))
    pq.write_table(pa.table({"uri": uris, "score": np.concatenate(scores)}), f"{out}/{rank}.parquet")


def main(images: str, bundle: str, out: str) -> None:
    """Start a process a core, and wait for all of them."""
    cores, context = len(os.sched_getaffinity(0)), multiprocessing.get_context("spawn")
    processes = [context.Process(target=share, args=(rank, cores, images, bundle, out)) for rank in range(cores)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process of the loop by hand failed")


if __name__ == "__main__":
    main(*sys.argv[1:])
