"""Home of waiting for nodes: said each minute, and given up after a time when not one worker found its place.

What is asked of Ray is what makes its autoscaler add nodes: placement groups that find no room. (Tasks would do as
well, but Ray 2.60 ends the process when one is cancelled by force in the moment in which it ends.)
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
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
    now = capacity().hold_now(workers)
    if now and _is_free(workers):
        return
    with _asked([1] * max(1, workers.count - now), workers) as rooms:
        _wait(rooms, workers, wait_s)


def wait_for_all(workers: Workers, wait_s: float) -> None:
    """Return when there is room for all workers at the same time; ClusterError when there is not after `wait_s`."""
    with _asked([workers.count], workers) as rooms:
        _wait(rooms, workers, wait_s)


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


def _is_free(workers: Workers) -> bool:
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    return bool(free.get("CPU", 0) >= workers.cpus and free.get("GPU", 0) >= workers.gpus)


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


def _wait(rooms: Sequence[PlacementGroup], workers: Workers, wait_s: float) -> None:
    """Wait for the first of the rooms; said at once, and each minute."""
    give_up, pause = time.monotonic() + wait_s, PATIENCE_S
    while not _is_one_ready(rooms, max(0.0, min(pause, give_up - time.monotonic()))):
        have, pause = capacity(), SECONDS_BETWEEN_WORDS
        if time.monotonic() >= give_up:
            raise ClusterError(
                f"{workers.count} worker(s) of {workers.cpus:g} CPUs and {workers.gpus:g} GPUs were asked for, and in "
                f"{wait_s:g} s {have.hold_now(workers)} found a place: {have}. Look at what keeps the nodes away "
                "(quota, no spot capacity, other jobs), or wait longer with `resources.wait_s=`, and run the same "
                "command again."
            )
        say(lacking(have, workers) or f"waiting for room: {have}, and others work on them")


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
            words = lacking(capacity(), workers, decoders)
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
        teller.join(1)
