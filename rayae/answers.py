"""Home of how rows leave for other programs: CSV, JSON lines and Parquet, written a batch at a time."""

import json
import math
from collections.abc import Iterable
from datetime import date, datetime, time
from decimal import Decimal
from typing import IO, Any, Literal, get_args

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from rayae.errors import ConfigError

Format = Literal["csv", "json", "parquet"]
ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


def format_of(name: str) -> Format:
    """The format that the ending of a name means; ConfigError for another ending."""
    for ending, found in ENDINGS.items():
        if name.lower().endswith(ending):
            return found
    formats = ", ".join(get_args(Format))
    raise ConfigError(f"out={name} has no ending that says what to write; add format=, one of {formats}.")


def write(file: IO[bytes], form: Format, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write rows to a file; their number. ConfigError for columns that the format cannot hold."""
    try:
        if form == "json":
            return _write_json(file, schema, batches)
        with _arrow_writer(file, form, schema) as writer:
            return sum(_written(writer, batch) for batch in batches)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:  # a list in CSV; two columns of one name in JSON
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"the rows cannot be written as {form} ({reason}); cast those columns, or take json."
        ) from error


def _arrow_writer(file: IO[bytes], form: Format, schema: pa.Schema) -> pyarrow.csv.CSVWriter | pq.ParquetWriter:
    return pyarrow.csv.CSVWriter(file, schema) if form == "csv" else pq.ParquetWriter(file, schema, compression="zstd")


def _written(writer: pyarrow.csv.CSVWriter | pq.ParquetWriter, batch: pa.RecordBatch) -> int:
    writer.write_batch(batch)
    return batch.num_rows  # type: ignore[no-any-return]  # pyarrow has no types


def _write_json(file: IO[bytes], schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """An object a line. JSON has no number for NaN and infinity, so they become null."""
    rows = 0
    if len(set(schema.names)) != len(schema.names):
        raise pa.ArrowInvalid(f"two columns of {', '.join(schema.names)} have one name")
    for batch in batches:
        for row in batch.to_pylist():
            file.write(json.dumps(_plain(row), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        rows += batch.num_rows
    return rows


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, bool | int | str) else str(value)
