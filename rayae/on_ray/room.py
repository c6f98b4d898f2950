"""Home of the room that a cluster has for the pictures of a training, which it holds twice.

Ray's object store holds them decoded, and each worker its share of them beside that.
"""

import math
from operator import attrgetter

from rayae.memory import SHARE, Room
from rayae.on_ray.capacity import Capacity, Workers

STORE_SHARE = 0.8
"""Of the object store: above it Ray begins to write to disk."""


def room_on(have: Capacity, workers: Workers) -> Room:
    """The room on a cluster, wherever on its nodes Ray puts the workers."""
    store = STORE_SHARE * have.most(attrgetter("store"))
    return Room(min(store, _beside(have, workers)), f"on {workers.count} worker{'s' if workers.count > 1 else ''}")


def _beside(have: Capacity, workers: Workers) -> float:
    """The bytes that the workers hold together when each may be on the node with least memory for it."""
    shares = [math.inf]
    for nodes in (*have.groups.kinds, *have.present):
        together = min(workers.count, nodes.each_holds(workers.cpus, workers.gpus))
        if together:
            shares.append(SHARE * nodes.memory / together)
    return min(shares) * workers.count
