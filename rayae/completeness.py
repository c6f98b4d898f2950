"""Home of the question whether rows in any order are those of a manifest: each there once, with its values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.compaction import sort_keys
from rayae.result_files import read_groups
from rayae.run import Run

BLOCK_ROWS = 65_536
"""Images that share one sum over their values, so that a difference is found in a block and not in the whole."""
FIRST_NAMED = 3
NULL = "\0null"


class Ledger:
    """What was seen of the rows of a compacted run: a mark an image, a sum a block of images, the last sort key.

    A byte an image is all that it holds, whatever the size of the rows.
    """

    def __init__(self, rows: int, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.seen = np.zeros(rows, dtype=bool)
        self.twice: list[int] = []
        self.sums = np.zeros(rows // BLOCK_ROWS + 1, dtype=np.uint64)
        self.last_key = -1

    def add(self, table: pa.Table) -> list[str]:
        """Enter rows; what is wrong with their order or their image_ids, a sentence a kind."""
        found, ids = [], table["image_id"].to_numpy(zero_copy_only=False)
        if table["image_id"].null_count or ((ids < 0) | (ids >= len(self.seen))).any():
            return ["it has rows of images that the manifest does not have."]
        keys = sort_keys(table)
        ascends = bool((keys[1:] > keys[:-1]).all()) and (not len(keys) or int(keys[0]) > self.last_key)
        if not ascends:
            found.append("its rows are not sorted by score, or some are there twice.")
        self.last_key = int(keys[-1]) if len(keys) else self.last_key
        new, counts = np.unique(ids, return_counts=True)
        self.twice += [*new[(counts > 1) | self.seen[new]].tolist()][: FIRST_NAMED - len(self.twice)]
        self.seen[ids] = True
        np.add.at(self.sums, ids // BLOCK_ROWS, hashes(table, self.columns))
        return found

    def compare(self, run: Run) -> list[str]:
        """What the rows lack or have wrong, held against the manifest of the run, a sentence a kind.

        DataError when the manifest is not the one that was written.
        """
        expected = np.zeros_like(self.sums)
        lost: list[str] = []
        for block in run.manifest.batches():
            ids = block["image_id"].to_numpy()
            np.add.at(expected, ids // BLOCK_ROWS, hashes(block, self.columns))
            if len(lost) < FIRST_NAMED and not self.seen[ids].all():
                lost += named(block.filter(pa.array(~self.seen[ids])).slice(0, FIRST_NAMED - len(lost)))
        missing = int((~self.seen).sum())
        found = [f"{missing:,} of {run.rows:,} rows are missing; the first: {', '.join(lost)}."] if missing else []
        if self.twice:
            found.append(f"some images have more than one row; the first: {', '.join(map(str, self.twice))}.")
        differing = np.flatnonzero(expected != self.sums)
        if len(differing) and not found:
            found.append(_difference(run, int(differing[0]), self.columns))
        return found


def named(images: pa.Table) -> list[str]:
    """Images by their number and their uri."""
    return [f"{row['image_id']} ({row['uri']})" for row in images.select(["image_id", "uri"]).to_pylist()]


def hashes(table: pa.Table, columns: Sequence[str]) -> NDArray[np.uint64]:
    """A number for the values of each row, that differs where they differ; sums of it do not depend on the order."""
    found = np.zeros(table.num_rows, dtype=np.uint64)
    for name in columns:
        texts = _texts(table, name)
        found = found * np.uint64(0x9E3779B97F4A7C15) + pd.util.hash_array(texts, categorize=False)
    mixed: NDArray[np.uint64] = found ^ (found >> np.uint64(29))
    return mixed


def _difference(run: Run, block: int, columns: Sequence[str]) -> str:
    """The first image of a block whose row differs from the manifest, and the column in which it does."""
    first = block * BLOCK_ROWS
    expected = run.manifest.read(first, min(BLOCK_ROWS, run.rows - first))
    pieces = []
    for uri in run.result_files():
        for table in read_groups(uri, columns):
            ids = table["image_id"].to_numpy()
            pieces.append(table.filter(pa.array((ids >= first) & (ids < first + BLOCK_ROWS))))
    rows = pa.concat_tables(pieces).sort_by("image_id")
    for name in columns:
        was, now = (_texts(table, name) for table in (expected, rows))
        differs = np.flatnonzero(was != now)
        if len(differs):
            return f"the row of the image {first + differs[0]} differs from the manifest in its column {name}."
    return f"rows of the images {first:,} to {first + BLOCK_ROWS - 1:,} differ from the manifest."


def _texts(table: pa.Table, name: str) -> NDArray[Any]:
    texts: NDArray[Any] = pc.fill_null(pc.cast(table[name], pa.string()), NULL).to_numpy(zero_copy_only=False)
    return texts
