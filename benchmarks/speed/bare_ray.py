"""The least that a program on Ray costs: a cluster of this machine, and actors that import torch.

    python -m benchmarks.speed.bare_ray ACTORS OUT

`OUT/ready.txt` is written when all actors are there.
"""

import importlib
import sys
from pathlib import Path

import ray


@ray.remote(num_cpus=1)
class Actor:
    """Imports torch, and does nothing else."""

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")

    def version(self) -> str:
        return str(self.torch.__version__)


def main(actors: int, out: str) -> None:
    """Start the actors, and stop them."""
    ray.init("local", num_cpus=actors, include_dashboard=False, log_to_driver=False)
    started = [Actor.remote() for _ in range(actors)]
    ray.get([actor.version.remote() for actor in started])
    Path(out, "ready.txt").write_text("ready\n")
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
