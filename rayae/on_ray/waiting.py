"""Home of waiting for nodes: said each minute, and given up after a time when not one worker found its place.

What is asked of Ray is what makes its autoscaler add nodes: placement groups that find no room. (Tasks would do as
well, but Ray 2.60 ends the process when one is cancelled by force in the moment in which it ends.)
"""

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ray.exceptions import RayError
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from rayae.errors import ClusterError
from rayae.on_ray.capacity import Capacity, Workers, capacity
from rayae.terminal import say

SECONDS_BETWEEN_WORDS, SECONDS_BETWEEN_LOOKS = 60.0, 5.0
SECONDS_BETWEEN_QUESTIONS = 0.2
PATIENCE_S = 2.0
"""Before the first word: a process that starts on a node that is there takes about as long."""


def wait_for_one(workers: Workers, wait_s: float) -> None:
    """Return when there is room for one of the workers; the nodes of all of them are asked for meanwhile.

    ClusterError when there is none after `wait_s`.
    """
    missing = max(1, workers.count - capacity().hold_now(workers))
    with _asked([1] * missing, workers) as rooms:
        _wait(rooms, workers, wait_s, "one of them")


def wait_for_all(workers: Workers, wait_s: float) -> None:
    """Return when there is room for all workers, or for the fewest, at the same time.

    ClusterError when there is not after `wait_s`.
    """
    with _asked([workers.count], workers) as rooms:
        _wait(rooms, workers, wait_s, "all of them" if workers.most is None else f"{workers.count} of them")


@contextmanager
def _asked(sizes: Sequence[int], workers: Workers) -> Iterator[list[PlacementGroup]]:
    """Ask for rooms, each for so many workers; they are given back in the end."""
    bundle = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    rooms = [placement_group([bundle] * size) for size in sizes]
    try:
        yield rooms
    finally:
        for room in rooms:
            remove_placement_group(room)


def _is_one_ready(rooms: Sequence[PlacementGroup], within_s: float) -> bool:
    """Whether one of the rooms is ready, or becomes so in time."""
    end = time.monotonic() + within_s
    while True:
        known = placement_group_table()
        if any(known.get(room.id.hex(), {}).get("state") == "CREATED" for room in rooms):
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(SECONDS_BETWEEN_QUESTIONS)


def _wait(rooms: Sequence[PlacementGroup], workers: Workers, wait_s: float, whom: str) -> None:
    """Wait for the first of the rooms, in which there is room for `whom`; said at once, and each minute."""
    give_up, pause = time.monotonic() + wait_s, PATIENCE_S
    while not _is_one_ready(rooms, max(0.0, min(pause, give_up - time.monotonic()))):
        gc.collect()  # a dataset of this process that an error has ended holds its actors until it is collected
        have, pause = capacity(), SECONDS_BETWEEN_WORDS
        busy = ", and others work on them" if have.hold_now(workers) else ""
        if time.monotonic() >= give_up:
            raise ClusterError(
                f"{workers.in_words()} of {workers.cpus:g} CPUs and {workers.gpus:g} GPUs were asked for, and in "
                f"{wait_s:g} s there was no room for {whom}: {have}{busy}. Look at what keeps the nodes away (quota, "
                "no spot capacity, other jobs), or wait longer with `resources.wait_s=`, and run the same command "
                "again."
            )
        say(lacking(have, workers) or f"waiting for room: {have}{busy}")


def lacking(have: Capacity, workers: Workers, decoders: int = 0) -> str:
    """The workers, and CPUs for decoding, that have no node now, in words; nothing when all have one."""
    there = have.hold_now(workers)
    cpus = max(0, int(have.cpus_now() - there * workers.cpus))
    parts = [
        f"{workers.count - there} of {workers.count} workers" if there < workers.count else "",
        f"{decoders - cpus} of {decoders} decoders" if cpus < decoders else "",
    ]
    return f"waiting for {' and '.join(filter(None, parts))}: {have}" if any(parts) else ""


@contextmanager
def lacking_told(workers: Workers, decoders: int = 0) -> Iterator[None]:
    """Say what has no node when that changes, and each minute while it lasts."""
    ended = threading.Event()

    def tell() -> None:
        told, since = "", time.monotonic()
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            try:
                words = lacking(capacity(), workers, decoders)
            except (RayError, RuntimeError, OSError):  # the cluster is gone, which whoever works on it finds out
                return
            if words == told and (not words or time.monotonic() - since < SECONDS_BETWEEN_WORDS):
                continue
            say(words or f"all {workers.count} workers have a node")
            told, since = words, time.monotonic()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
