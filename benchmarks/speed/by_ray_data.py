"""The way that the documentation of Ray Data shows: images from a list, decoded in tasks, a pool of actors, a writer.

    python -m benchmarks.speed.by_ray_data LIST BUNDLE OUT

The rows are decoded and resized with Pillow, one after the other; the network is the same one in bfloat16.
"""

import io
import os
import sys
from typing import Any

import numpy as np
import ray
from PIL import Image
from ray.data.expressions import download

from benchmarks.speed.model import BATCH, SIDE, opened


def decoded(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the pixels in place of the bytes."""
    picture = Image.open(io.BytesIO(row["bytes"])).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    return {"uri": row["uri"], "pixels": np.asarray(picture)}


class Model:
    """An actor of the pool."""

    def __init__(self, bundle: str) -> None:
        self.score = opened(bundle)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {"uri": batch["uri"], "score": self.score(batch["pixels"])}


def main(images: str, bundle: str, out: str) -> None:
    """A pool of as many actors as there are cores, which share them with the tasks that download and decode.

    Ray is told of more cores: with those that there are the pool leaves none for the tasks, and nothing goes on.
    """
    cores = len(os.sched_getaffinity(0))
    ray.init("local", num_cpus=3 * cores, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.read_parquet(images).with_column("bytes", download("uri"))
    pixels = rows.map(decoded).map_batches(
        Model,
        fn_constructor_args=(bundle,),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=cores),
        num_cpus=0.5,
    )
    pixels.write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
