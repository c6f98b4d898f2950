"""A seeded loop that kills something in every scoring run, starts again what ended, and counts the rows.

    python -m tests.faults.chaos rounds=200 seed=7           more rounds than CI has
    python -m tests.faults.chaos rounds=1 first=13 seed=7    the thirteenth of them again

A round is one run on a Ray cluster of two nodes, which lives as long as the loop. At a random moment a random one of
VICTIMS gets SIGKILL. A driver that has ended is started again with the same command, a node is replaced. The round is
passed when `rayae verify` finds the run whole and its rows are those of the undisturbed run, to the last bit.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rayae.cli import main as rayae
from rayae.run import Run
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.faults.processes import descendants, start, wait_for

VICTIMS = ("actor", "worker", "node", "driver")
IMAGES, CHUNK_IMAGES = 640, 8
CHUNKS = IMAGES // CHUNK_IMAGES
STARTS = 5
"""Times that the same command may be given before a round counts as failed; each driver that ended was killed."""
WHILE_STARTING = 0.25
"""Share of the rounds that kill before the first chunk is there."""
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of a node that takes its own life when they end; that of the head is not promised to be survived."""
STARTING_S, MOMENT_S, NODE_AWAY_S = 8.0, 0.3, 3.0


@dataclass
class Machines:
    """A Ray cluster of two nodes with a CPU each, both on this machine; the second may die."""

    cluster: Any
    second: Any

    def kill_node(self) -> str:
        """SIGKILL to all processes of the second node."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None
        return "the second node"

    def mend(self) -> None:
        """A new second node, when there is none."""
        if self.second is None:
            self.second = self.cluster.add_node(**node())


def node() -> dict[str, Any]:
    return {"num_cpus": 1, "object_store_memory": 100 * 1024**2}


@contextmanager
def machines() -> Iterator[Machines]:
    """The cluster while the block lasts; drivers join it by RAY_ADDRESS."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "RAY_prestart_worker_first_driver": "0"}
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**node(), "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield Machines(cluster, cluster.add_node(**node()))
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


@dataclass
class Round:
    """One run, and what is done to it: all of it follows from the seed and the number."""

    number: int
    seed: int
    folder: Path
    words: list[str]

    def __post_init__(self) -> None:
        self.random = random.Random(f"{self.seed}/{self.number}")
        self.victim = self.random.choice(VICTIMS)
        self.is_while_starting = self.random.random() < WHILE_STARTING
        self.after_chunks = self.random.randrange(CHUNKS - 10)
        self.wait_s = self.random.uniform(0, STARTING_S if self.is_while_starting else MOMENT_S)
        self.away_s = self.random.uniform(0, NODE_AWAY_S)
        self.run, self.log = self.folder / f"run-{self.number}", self.folder / f"log-{self.number}"
        self.said: list[str] = []

    def start(self) -> "subprocess.Popen[bytes]":
        return start(*self.words, f"out={self.run}", log=self.log.with_suffix(f".{len(self.said)}"))

    def written(self) -> int:
        return len(list(self.run.glob("chunks/chunk-*.parquet")))

    def play(self, cluster: Machines) -> None:
        """Start, kill, and start again until the command ends well."""
        driver = self.start()
        if not self.is_while_starting:
            wait_for(lambda: self.written() >= self.after_chunks or driver.poll() is not None, "chunks")
        time.sleep(self.wait_s)
        if driver.poll() is None:
            self.said.append(f"{self.kill(cluster, driver)} killed at {self.written()} of {CHUNKS} chunks")
        else:
            self.said.append(f"the run was over before the {self.victim} could be killed")
        time.sleep(self.away_s if cluster.second is None else 0)
        cluster.mend()
        while (code := driver.wait(timeout=300)) != 0:
            self.said.append(f"ended with {code}, started again at {self.written()}")
            assert len(self.said) <= STARTS, self.tell()
            driver = self.start()

    def kill(self, cluster: Machines, driver: "subprocess.Popen[bytes]") -> str:
        """SIGKILL to the victim; what it was. Where there is none of its kind yet it is the driver."""
        if self.victim == "node":
            return cluster.kill_node()
        names = {"actor": ("ray::MapWorker", "ray::ScoringActor"), "worker": ("ray::", "default_worker.py")}
        found = sorted(
            (pid, line)
            for pid, line in descendants(os.getpid()).items()
            if line.startswith(names.get(self.victim, ())) and not line.startswith(AGENTS)
        )
        pid, line = self.random.choice(found) if found else (driver.pid, "the driver")
        os.kill(pid, signal.SIGKILL)
        return line.split()[0] if found else line

    def check(self, undisturbed: pa.Table) -> None:
        assert rayae(["verify", str(self.run)]) == 0, self.tell()
        assert Run.open(str(self.run)).results().equals(undisturbed), f"other rows than undisturbed: {self.tell()}"

    def tell(self) -> str:
        return f"round {self.number}: " + "; ".join(self.said)


def play(rounds: int, first: int, seed: int, bundle: str | None, folder: Path) -> list[str]:
    """Play rounds; what happened in each. AssertionError, with how to do it again, at the first that fails."""
    images = write_pictures(folder / "images", IMAGES, seed=seed)
    bundle = bundle or _small_bundle(images, folder / "bundle")
    words = ["score", f"images={images}", f"bundle={bundle}", f"chunk_images={CHUNK_IMAGES}"]
    assert rayae([*words, f"out={folder / 'undisturbed'}", "placement=inline"]) == 0
    undisturbed = Run.open(str(folder / "undisturbed")).results()
    told = []
    with machines() as cluster:
        for number in range(first, first + rounds):
            began, one = time.monotonic(), Round(number, seed, folder, [*words, "workers=2"])
            try:
                one.play(cluster)
                one.check(undisturbed)
            except BaseException:
                logs = "".join(
                    f"\n--- {log.name}\n{log.read_text()}" for log in sorted(folder.glob(one.log.name + "*"))
                )
                say(f"FAILED {one.tell()}; again: rounds=1 first={number} seed={seed}{logs}")
                raise
            told.append(one.tell())
            say(f"{one.tell()}; whole after {time.monotonic() - began:.0f} s")
    return told


def _small_bundle(images: Path, out: Path) -> str:
    words = ["train", f"images={images}", f"out={out}", "epochs=1", "placement=inline"]
    assert rayae([*words, *SMALL_TRAINING]) == 0
    return str(out)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> None:
    """Read `key=value`, and play."""
    given = dict(word.split("=", 1) for word in words)
    seed = int(given.pop("seed", random.randrange(2**31)))
    rounds, first, bundle = int(given.pop("rounds", 20)), int(given.pop("first", 1)), given.pop("bundle", None)
    assert not given, f"there is no {', '.join(given)}; there are rounds, first, seed, bundle"
    say(f"seed={seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rayae-chaos-") as folder:
        play(rounds, first, seed, bundle, Path(folder))
    say(f"{rounds} rounds, every run whole and equal to the undisturbed one, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
