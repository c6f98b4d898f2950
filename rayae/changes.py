"""Home of the change from one decision to the next: the images that are newly flagged, and those that are released."""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rayae import storage
from rayae.flags import Thresholds, anomalies, columns_of
from rayae.run import Run
from rayae.statistics import Bools

Change = Literal["newly flagged", "released"]
CHANGES: tuple[Change, ...] = get_args(Change)
SCHEMA = pa.schema(
    [
        ("image_id", pa.int64()),
        ("uri", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("score", pa.float32()),
        ("change", pa.string()),
    ]
)


def write_changes(run: Run, uri: str, before: Thresholds, after: Thresholds) -> None:
    """Write the rows of a run that one of the two flags and the other does not, in the order of its files, to Parquet.

    Both are asked of the scores that are there now, so that nothing has to be joined.
    """
    columns = tuple(dict.fromkeys([*columns_of(before), *columns_of(after), "uri", "label", "group"]))
    with storage.open_write(uri) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for rows in run.result_tables(columns):
            was, now = anomalies(rows, before), anomalies(rows, after)
            if (was != now).any():
                writer.write_table(_changed(rows, was, now))


def _changed(rows: pa.Table, was: Bools, now: Bools) -> pa.Table:
    change = np.where(now, *CHANGES)
    whole = rows.append_column("change", pa.array(change, pa.string())).select(SCHEMA.names).cast(SCHEMA)
    return whole.filter(pa.array(was != now))


def count_changes(uri: str) -> dict[str | None, Counter[Change]]:
    """How many images of each label have changed, and how; in the order of the labels, those without one last."""
    found = dict[str | None, Counter[Change]]()
    for table in _groups(uri):
        for label, change in zip(table["label"].to_pylist(), table["change"].to_pylist(), strict=True):
            found.setdefault(label, Counter())[change] += 1
    return dict(sorted(found.items(), key=lambda item: (item[0] is None, item[0] or "")))


def _groups(uri: str) -> Iterator[pa.Table]:
    with storage.open_read(uri) as file:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        for number in range(parquet.num_row_groups):
            yield parquet.read_row_group(number, ["label", "change"], use_threads=False)
