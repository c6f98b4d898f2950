"""Home of the calibration scores that a run keeps beside its plan: of one bundle, or of each bundle of a set."""

import io
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae.assignment import ALL

Scores = NDArray[np.float32]
Calibrations = Mapping[str, Scores]
"""Primary scores of normal calibration images, ascending, by the value whose bundle has them (`ALL` for one alone)."""


def to_parquet(calibrations: Calibrations) -> bytes:
    """A row a score; the column `value` is left out where there is but one bundle, for all images."""
    scores = np.concatenate([np.empty(0, np.float32), *calibrations.values()]).astype(np.float32)
    table = pa.table({"score": scores})
    if set(calibrations) != {ALL}:
        values = [value for value, own in calibrations.items() for _ in own]
        table = table.append_column("value", pa.array(values, pa.string()))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def from_parquet(data: bytes) -> dict[str, Scores]:
    """What `to_parquet` was given."""
    table = pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False)
    scores = np.asarray(table["score"].to_numpy(), dtype=np.float32)
    if "value" not in table.column_names:
        return {ALL: scores}
    values = table["value"].to_numpy(zero_copy_only=False)
    return {value: scores[values == value] for value in table["value"].unique().to_pylist()}
