"""Home of what differs between two manifests: images new, gone, changed, relabelled, or in another order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.manifest import COLUMNS, Manifest

PART_ROWS = 1_500_000
"""Images that are compared at a time; a larger manifest is gone through once for every so many."""
CONTENT = ("size_bytes", "etag", "place")
LABELS = ("label", "group", "split")
ROW = "\0row"
"""A name that no column of anybody has."""
Mask = NDArray[np.bool_]


@dataclass
class Comparison:
    """What became of the images of one manifest in a later one: a truth value a row, 8 bytes an image in all."""

    new: Mask
    """Rows of the later manifest that the earlier one lacks."""
    changed: Mask
    """Rows of the later manifest whose size or etag is another."""
    relabelled: Mask
    """Rows of the later manifest with another label, group, split or column of the user's own."""
    gone: Mask
    """Rows of the earlier manifest that the later one lacks."""
    places: NDArray[np.int64]
    """For each row of the later manifest its row in the earlier one, or -1."""
    added: list[str]
    """The user's own columns that only the later one has."""
    lost: list[str]
    """The user's own columns that only the earlier one has."""

    @property
    def is_reordered(self) -> bool:
        return bool((np.diff(self.places[self.places >= 0]) < 0).any())


def compare(was: Manifest, asked: Manifest) -> Comparison:
    """What differs between two manifests, found a part of the images at a time."""
    own, own_now = ([name for name in one.schema.names if name not in COLUMNS.names] for one in (was, asked))
    nothing = np.zeros(asked.rows, dtype=bool)
    found = Comparison(
        new=nothing.copy(),
        changed=nothing.copy(),
        relabelled=nothing.copy(),
        gone=np.zeros(was.rows, dtype=bool),
        places=np.full(asked.rows, -1, dtype=np.int64 if was.rows > 2**31 - 1 else np.int32),
        added=[name for name in own_now if name not in own],
        lost=[name for name in own if name not in own_now],
    )
    kept = [name for name in own if name in own_now]
    parts = max(-(-max(was.rows, asked.rows) // PART_ROWS), 1)
    for part in range(parts):
        before, now = (_part(one, [*CONTENT, *LABELS, *kept], part, parts) for one in (was, asked))
        _compare_part(before, now, kept, found)
    return found


def changes(was: Manifest, asked: Manifest) -> list[str]:
    """How a later manifest differs from an earlier one, in words, a line each."""
    return in_words(was, asked, compare(was, asked))


def in_words(was: Manifest, asked: Manifest, found: Comparison) -> list[str]:
    """A line for each way in which two manifests differ, with the number of images and the first of them."""
    lines = [
        _counted(asked, found.new, "new"),
        _counted(was, found.gone, "gone"),
        _counted(asked, found.changed, "changed in size or time"),
        _counted(asked, found.relabelled, "labelled otherwise"),
        f"columns of your own that are new: {', '.join(found.added)}" if found.added else "",
        f"columns of your own that are gone: {', '.join(found.lost)}" if found.lost else "",
        "the images stand in another order" if found.is_reordered else "",
    ]
    return [line for line in lines if line]


def rows_of(manifest: Manifest, wanted: Mask) -> Iterator[pa.Table]:
    """The rows of a manifest that are wanted, block by block."""
    first = 0
    for table in manifest.batches():
        here = wanted[first : first + table.num_rows]
        first += table.num_rows
        if here.any():
            yield table.filter(pa.array(here))


def _part(manifest: Manifest, names: list[str], part: int, parts: int) -> pa.Table:
    """The images of one part, told by a hash of their URI, with the number of their row."""
    pieces, first = [], 0
    for table in manifest.columns(["uri", *names]):
        rows = np.arange(first, first + table.num_rows, dtype=np.int64)
        first += table.num_rows
        numbered = table.append_column(ROW, pa.array(rows))
        if parts > 1:
            hashes = np.fromiter(map(hash, table["uri"].to_pylist()), np.int64, table.num_rows)
            numbered = numbered.filter(pa.array(hashes % parts == part))
        pieces.append(numbered)
    kinds = {name: manifest.schema.field(name).type for name in ("uri", *names)} | {ROW: pa.int64()}
    return pa.concat_tables(pieces) if pieces else pa.schema(list(kinds.items())).empty_table()


def _compare_part(was: pa.Table, asked: pa.Table, own: list[str], found: Comparison) -> None:
    place = pc.index_in(asked["uri"], value_set=was["uri"])
    is_known = place.is_valid()
    found.new[asked[ROW].filter(pc.invert(is_known)).to_numpy()] = True
    found.gone[was[ROW].filter(pc.invert(pc.is_in(was["uri"], value_set=asked["uri"]))).to_numpy()] = True
    rows, before = asked[ROW].filter(is_known).to_numpy(), place.drop_null()
    found.places[rows] = was[ROW].take(before).to_numpy()
    for mask, names in ((found.changed, CONTENT), (found.relabelled, (*LABELS, *own))):
        for name in names:  # column by column, as each takes a copy
            mask[rows] |= _differ(was[name].take(before), asked[name].filter(is_known))


def _differ(before: pa.ChunkedArray, now: pa.ChunkedArray) -> Mask:
    old, new = (pc.cast(values, pa.string()) for values in (before, now))
    unequal = pc.fill_null(pc.not_equal(old, new), False)
    differs: Mask = pc.or_(unequal, pc.xor(old.is_null(), new.is_null())).to_numpy()
    return differs


def _counted(manifest: Manifest, which: Mask, what: str) -> str:
    count = int(which.sum())
    if not count:
        return ""
    first = manifest.read(int(which.argmax()), 1)["uri"][0].as_py()
    return f"{count:,} image(s) {what}, the first is {first}"
