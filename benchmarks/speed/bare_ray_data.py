"""The least that a program on Ray Data costs: a cluster of this machine, and a pool of actors that import torch.

    python -m benchmarks.speed.bare_ray_data ACTORS OUT

`OUT/ready.txt` is written when the first row has gone through an actor.
"""

import importlib
import sys
from pathlib import Path

import pyarrow as pa
import ray
import ray.data


class Actor:
    """Imports torch, and does nothing else."""

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")

    def __call__(self, rows: pa.Table) -> pa.Table:
        return rows


def main(actors: int, out: str) -> None:
    """Send a row through each actor, and stop them."""
    ray.init("local", num_cpus=actors, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([{"number": number} for number in range(actors)], override_num_blocks=actors)
    pool = ray.data.ActorPoolStrategy(size=actors)
    done = rows.map_batches(Actor, batch_size=1, batch_format="pyarrow", compute=pool, num_cpus=1)
    for place, _ in enumerate(done.iter_rows()):
        if place == 0:
            Path(out, "ready.txt").write_text("ready\n")
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
