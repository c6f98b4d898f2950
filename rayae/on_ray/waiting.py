"""Home of waiting for nodes: said each minute, and given up after a time when not one worker found its place.

What is asked of Ray is what makes its autoscaler add nodes: tasks and placement groups that find no room.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from rayae.errors import ClusterError
from rayae.on_ray.capacity import Capacity, Workers, capacity
from rayae.terminal import say

SECONDS_BETWEEN_WORDS, SECONDS_BETWEEN_LOOKS = 60.0, 5.0
PATIENCE_S = 2.0
"""Before the first word: a process that starts on a node that is there takes about as long."""


def wait_for_one(workers: Workers, wait_s: float) -> None:
    """Return when there is room for one of the workers; the nodes of all of them are asked for meanwhile.

    ClusterError when there is none after `wait_s`.
    """
    now = capacity().hold_now(workers)
    if now and _is_free(workers):
        return
    rooms = [
        _room.options(num_cpus=workers.cpus, num_gpus=workers.gpus).remote() for _ in range(max(1, workers.count - now))
    ]
    try:
        _wait(rooms, workers, wait_s)
    finally:
        for room in rooms:
            ray.cancel(room, force=True)


def wait_for_all(workers: Workers, wait_s: float) -> None:
    """Return when there is room for all workers at the same time; ClusterError when there is not after `wait_s`."""
    bundle = {"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})}
    group = placement_group([bundle] * workers.count)
    try:
        _wait([group.ready()], workers, wait_s)
    finally:
        remove_placement_group(group)


@ray.remote(max_retries=0)
def _room() -> None:
    """Takes the place of a worker for a moment."""


def _is_free(workers: Workers) -> bool:
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    return bool(free.get("CPU", 0) >= workers.cpus and free.get("GPU", 0) >= workers.gpus)


def _wait(signs: list[Any], workers: Workers, wait_s: float) -> None:
    """Wait for the first of the signs that there is room; said at once, and each minute."""
    give_up, pause = time.monotonic() + wait_s, PATIENCE_S
    while not ray.wait(signs, timeout=max(0.0, min(pause, give_up - time.monotonic())))[0]:
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
