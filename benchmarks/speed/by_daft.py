"""Daft, with its native runner: download, decode and resize by its own functions, the network in a class for batches.

    python -m benchmarks.speed.by_daft LIST BUNDLE OUT

It runs in an environment of its own (`make peers`), whose Daft asks for another pyarrow than Ray does.
"""

import os
import sys

import daft
import numpy as np
from daft import DataType, Series
from daft.functions import decode_image, download, resize

from benchmarks.speed.model import BATCH, SIDE, opened

CORES = len(os.sched_getaffinity(0))


@daft.cls(max_concurrency=CORES, use_process=True)
class Model:
    """The network, once in each of as many processes as there are cores."""

    def __init__(self, bundle: str) -> None:
        self.score = opened(bundle)

    @daft.method.batch(return_dtype=DataType.float32(), batch_size=BATCH)
    def of(self, pictures: Series) -> Series:
        return Series.from_numpy(self.score(np.stack(pictures.to_pylist())))


def main(images: str, bundle: str, out: str) -> None:
    """From the list to Parquet."""
    daft.set_runner_native()
    rows = daft.read_parquet(images)
    pictures = resize(decode_image(download(daft.col("uri")), mode="RGB"), SIDE, SIDE)
    scored = rows.with_column("picture", pictures).with_column("score", Model(bundle).of(daft.col("picture")))
    scored.select("uri", "score").write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
