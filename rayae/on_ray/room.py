"""Home of the room that a cluster has for the pictures of a training, which it holds twice.

Ray's object store holds them decoded, and each worker its share of them beside that.
"""

import math
from collections.abc import Iterable

from rayae.memory import SHARE, Room
from rayae.on_ray.capacity import Capacity, Nodes, Workers

STORE_SHARE = 0.8
"""Of the object store: above it Ray begins to write to disk."""
STORE_OF_MEMORY = 0.3
"""Of a node's memory, that Ray takes for its object store when nobody says how much."""


def room_on(have: Capacity, workers: Workers) -> Room:
    """The room on a cluster, wherever on its nodes Ray puts the workers.

    Of the nodes that may come those alone count that the workers need which have no place yet.
    """
    store = STORE_SHARE * (sum(node.store for node in have.present) + _store_to_come(have, workers))
    return Room(min(store, _beside(have, workers)), f"on {workers.count} worker{'s' if workers.count > 1 else ''}")


def _store_to_come(have: Capacity, workers: Workers) -> float:
    """The bytes of object store on as many nodes as the workers without a place need, of the kind that adds least."""
    missing = workers.count - have.hold_now(workers)
    if not missing:
        return 0.0
    known = min((node.store for node in _holding(have.present, workers)), default=0.0)
    adds = (
        math.ceil(missing / kind.each_holds(workers.cpus, workers.gpus)) * _store_of(kind, known)
        for kind in _holding(have.groups.kinds, workers)
    )
    return min(adds, default=0.0)


def _store_of(kind: Nodes, known: float) -> float:
    """The object store of a node to come: as is said, by its memory, or else as of a node that is there."""
    if math.isfinite(kind.store):
        return kind.store
    return STORE_OF_MEMORY * kind.memory if math.isfinite(kind.memory) else known


def _beside(have: Capacity, workers: Workers) -> float:
    """The bytes that the workers hold together when each may be on the node with least memory for it."""
    shares = [math.inf]
    for nodes in _holding((*have.groups.kinds, *have.present), workers):
        shares.append(SHARE * nodes.memory / min(workers.count, nodes.each_holds(workers.cpus, workers.gpus)))
    return min(shares) * workers.count


def _holding(nodes: Iterable[Nodes], workers: Workers) -> list[Nodes]:
    """Those on which a worker can lie."""
    return [one for one in nodes if one.each_holds(workers.cpus, workers.gpus)]
