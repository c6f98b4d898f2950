"""Home of the split by group: images of one group (module, camera, line, patient) never stand on two sides."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MOST_IN_A_RUN = 64
RUNS_WANTED = 20


def groups_of(table: pa.Table) -> NDArray[np.int64]:
    """A number for the group of each image. Images without one are grouped with their neighbours in the listing.

    Neighbours in a listing are often photographs of the same thing, so runs of up to 64 consecutive images (fewer in
    a small set, which has at least 20 runs) stay together.
    """
    names = table["group"].combine_chunks().dictionary_encode()
    known: NDArray[np.int64] = names.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone = np.flatnonzero(known < 0)
    length = max(1, min(MOST_IN_A_RUN, len(alone) // RUNS_WANTED))
    known[alone] = len(names.dictionary) + np.arange(len(alone)) // length
    return known


def split_by_group(groups: NDArray[np.int64], shares: Mapping[str, float], rest: str, seed: int) -> NDArray[np.object_]:
    """Give each image the name of its side: groups in seeded random order fill the sides one after the other.

    `shares` are fractions of the images; what is left goes to `rest`. A side takes the group that brings it nearest
    to its share, so sizes are right to about half a group; one that would get none takes the next of `rest`, as
    long as that keeps one.
    """
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    middle = np.cumsum(counts[order]) - counts[order] / 2
    sides = np.full(len(names), rest, dtype=object)
    begin = 0.0
    for side, share in shares.items():
        end = begin + share * len(groups)
        own = order[(middle >= begin) & (middle < end)]
        free = order[sides[order] == rest]
        if share > 0 and not len(own) and len(free) > 1:
            own = free[:1]
        sides[own] = side
        begin = end
    return sides[inverse]


def assign_sides(table: pa.Table, calibration: float, validation: float, seed: int) -> NDArray[np.object_]:
    """The side of each image in training: `train`, `validation`, `calibration`, `test`, or None for none.

    The column `split` decides where it says anything; else `calibration` is the share kept out of all images. The
    share `validation` of what is left to train on is kept out for early stopping, unless the column names some.
    """
    groups = groups_of(table)
    if table["split"].null_count < table.num_rows:
        sides = np.array(table["split"].to_pylist(), dtype=object)
    else:
        sides = split_by_group(groups, {"calibration": calibration}, "train", seed)
    training = np.flatnonzero(sides == "train")
    if not (sides == "validation").any() and len(training):
        sides[training] = split_by_group(groups[training], {"validation": validation}, "train", seed + 1)
    return sides
