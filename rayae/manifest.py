"""Home of the manifest: the images of a run, listed once, never changed afterwards, and how it is cut into chunks."""

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae import storage
from rayae.errors import DataError

SCHEMA_VERSION = 2
METADATA_KEY = b"rayae_manifest"
"""What is known before the rows: schema version, and what the manifest was made from."""
CONTENT_KEY = b"rayae_manifest_content"
"""What is known after the rows: their number and their hash. A program that writes the file anew loses it."""
ROW_GROUP_ROWS = 32_768
BLOCK_ROWS = 65_536
"""Rows that are hashed together, and that a stream of images holds at a time."""
REPEATING_COLUMNS = ("container", "label", "group", "split")
"""Columns that Parquet keeps as a dictionary; the others hardly repeat, and a dictionary would only cost time."""
NORMAL_LABELS = frozenset({"good", "normal"})
SPLITS = ("train", "validation", "calibration", "test")

COLUMNS = pa.schema(
    [
        ("image_id", pa.int64()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("container", pa.string()),
        ("place", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("split", pa.string()),
    ]
)

IMAGE_COST_BYTES = 64 * 1024
"""What one image costs beside its bytes (decoding's fixed part, the network), in bytes of reading."""
UNKNOWN_SIZE_BYTES = 128 * 1024
"""What an image is taken for whose size the listing did not say."""
CHUNK_COST_BYTES = 128 * 1024**2
"""What a chunk costs at most (one image more may be in it); with the fixed part, 2,048 images."""
FEWEST_CHUNK_IMAGES = 16
CHUNKS_WANTED = 32
"""A small archive is cut so often (while chunks keep 16 images), so that workers share it and progress shows."""


def is_normal(label: str | None) -> bool:
    """Whether a label says that the image shows nothing unusual: `good` or `normal`, in any case."""
    return label is not None and label.strip().lower() in NORMAL_LABELS


def is_defect(label: str | None) -> bool:
    """Whether a label names a defect: any label that is not a normal one. No label is neither."""
    return label is not None and not is_normal(label)


def complete(columns: dict[str, Any]) -> pa.Table:
    """A manifest table from the columns that are known: `image_id` numbers the rows, unknown columns are null."""
    count = len(columns["uri"])
    known: dict[str, Any] = {"image_id": np.arange(count, dtype=np.int64), **columns}
    standard = {
        field.name: pa.chunked_array([_as_array(known.get(field.name), count, field.type)]) for field in COLUMNS
    }
    own = {name: values for name, values in known.items() if name not in standard}
    return pa.table(standard | own)


def _as_array(values: Any, count: int, kind: pa.DataType) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


@dataclass(frozen=True)
class Manifest:
    """A manifest file; rows are read in part, so that it may be larger than memory."""

    uri: str
    rows: int
    content_hash: str
    made_from: Mapping[str, Any] | None = field(default=None, compare=False)
    """What `rayae index` was asked: `images`, `labels`, `select`; None when a run wrote it for itself."""

    @classmethod
    def open(cls, uri: str) -> "Manifest":
        """Open a manifest; DataError when the file is something else."""
        with open_parquet(uri) as parquet:
            about = about_manifest(parquet.metadata)
        if about is None:
            raise DataError(f"{uri} is a Parquet file but no manifest; `rayae index images=... out=...` writes one.")
        if about["schema_version"] != SCHEMA_VERSION:
            version = about["schema_version"]
            raise DataError(f"{uri} has the schema version {version}, this rayae reads {SCHEMA_VERSION}.")
        if "content_hash" not in about:
            raise DataError(
                f"the manifest {uri} was changed after it was written: the program that wrote it anew left out the "
                "hash of its rows; write a new one with `rayae index`."
            )
        found = cls(uri, parquet.metadata.num_rows, about["content_hash"], about.get("made_from"))
        found.__dict__["footer"] = parquet.metadata  # as the cached property would, but without another look
        return found

    @functools.cached_property
    def footer(self) -> pq.FileMetaData:
        """The parsed footer: kept, since parsing it costs more than the rows of a chunk."""
        with open_parquet(self.uri) as parquet:
            return parquet.metadata

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("footer", "schema", "_ends")}

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        with open_parquet(self.uri, self.footer) as parquet:
            return parquet.schema_arrow.remove_metadata()

    def read(self, first: int = 0, count: int | None = None) -> pa.Table:
        """Rows `first` to `first + count`, reading only the parts of the file that hold them."""
        count = self.rows - first if count is None else count
        ends = self._ends
        begin = int(np.searchsorted(ends, first, side="right"))
        end = int(np.searchsorted(ends, first + count, side="left")) + 1
        with open_parquet(self.uri, self.footer) as parquet:
            table = parquet.read_row_groups(list(range(begin, min(end, len(ends)))), use_threads=False)
        return table.slice(first - (int(ends[begin - 1]) if begin else 0), count).replace_schema_metadata(None)

    def read_row(self, place: int) -> pa.Table:
        """One row, a copy, so that no more of the file stays in memory."""
        return self.read(place, 1).take([0])

    @functools.cached_property
    def _ends(self) -> NDArray[np.int64]:
        footer = self.footer
        return np.cumsum([footer.row_group(number).num_rows for number in range(footer.num_row_groups)], dtype=np.int64)

    def read_unchanged(self) -> pa.Table:
        """All rows; DataError when they are not those that were written."""
        pieces = list(self.batches())
        return pa.concat_tables(pieces) if pieces else self.read()

    def batches(self) -> Iterator[pa.Table]:
        """All rows, 65,536 at a time; DataError after the last when they are not those that were written."""
        digest = ContentHash(self.schema.names)
        for block in regrouped(self.columns(), BLOCK_ROWS):
            digest.add(block)
            yield block
        found = digest.hexdigest()
        if found != self.content_hash:
            raise DataError(
                f"the manifest {self.uri} was changed after it was written: its rows have the hash {found[:12]}, "
                f"it says {self.content_hash[:12]}; write a new one with `rayae index`."
            )

    def columns(self, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """These columns of all rows, a row group at a time, unchecked."""
        with open_parquet(self.uri, self.footer) as parquet:
            for number in range(self.footer.num_row_groups):
                table = parquet.read_row_group(number, columns=None if names is None else [*names], use_threads=False)
                yield table.replace_schema_metadata(None)

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each image, with a guess where the listing did not say."""
        return np.concatenate([*self._sizes(), np.zeros(0, np.int64)])

    def plan_chunks(self, chunk_images: int | None) -> list["Chunk"]:
        """The chunks of a run over this manifest, as `plan_chunks` cuts them, without holding all sizes."""
        return _plan(self._sizes, self.rows, chunk_images)

    def _sizes(self) -> Iterator[NDArray[np.int64]]:
        return map(sizes_of, self.columns(["size_bytes"]))


@contextlib.contextmanager
def open_parquet(uri: str, footer: pq.FileMetaData | None = None) -> Iterator[pq.ParquetFile]:
    """A Parquet file with its checksums verified; DataError when it, or what is read of it, is damaged."""
    with storage.open_read(uri) as file:
        try:
            # Arrow's threads and its read-ahead over a Python file make a process that ends soon after do so by SIGABRT
            # now and then (github.com/apache/arrow/issues/50482; pyarrow 26.0.1): 14 of 24 times, without both 0 of 24.
            yield pq.ParquetFile(file, metadata=footer, page_checksum_verification=True, pre_buffer=False)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: names of columns
            reason = " ".join(str(error).split())
            raise DataError(f"{uri} cannot be read as Parquet ({reason}); it is damaged or something else.") from error


def sizes_of(table: pa.Table) -> NDArray[np.int64]:
    """Bytes of each image, with a guess where the listing did not say."""
    return np.asarray(table["size_bytes"].fill_null(UNKNOWN_SIZE_BYTES).to_numpy(), dtype=np.int64)


def is_manifest(uri: str) -> bool:
    """Whether a Parquet file is a manifest; DataError when it is no Parquet."""
    with open_parquet(uri) as parquet:
        return about_manifest(parquet.metadata) is not None


def about_manifest(footer: pq.FileMetaData) -> dict[str, Any] | None:
    """What a manifest says of itself in its footer, or None when the file is no manifest."""
    metadata = footer.metadata or {}
    about: dict[str, Any] = {}
    try:
        for key in (METADATA_KEY, CONTENT_KEY):
            about |= json.loads(metadata.get(key, b"{}"))
    except (ValueError, TypeError):
        return None
    return about if "schema_version" in about else None


def write_manifest(
    images: pa.Table | Iterable[pa.Table], uri: str, made_from: Mapping[str, Any] | None = None
) -> Manifest:
    """Write a manifest, whole or not at all, with the hash of its content; `image_id` numbers the rows.

    The tables of a stream have one schema, that of `complete`; of a stream a few tables are held at a time.
    """
    tables = _numbered([images] if isinstance(images, pa.Table) else images)
    first = next(tables)
    before = {"schema_version": SCHEMA_VERSION} | ({} if made_from is None else {"made_from": made_from})
    digest, rows = ContentHash(first.column_names), 0
    with _writer(uri, first.schema.with_metadata({METADATA_KEY: json.dumps(before).encode()})) as writer:
        for block in regrouped(itertools.chain([first], tables), BLOCK_ROWS):
            digest.add(block)
            rows += block.num_rows
            with storage.explained("write", uri):
                writer.write_table(block.replace_schema_metadata(writer.schema.metadata), ROW_GROUP_ROWS)
        hashed = digest.hexdigest()
        writer.add_key_value_metadata({CONTENT_KEY: json.dumps({"rows": rows, "content_hash": hashed})})
    return Manifest(uri, rows, hashed, made_from)


@contextlib.contextmanager
def _writer(uri: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    with storage.open_write(uri) as file:
        writer = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            use_dictionary=[name for name in schema.names if name in REPEATING_COLUMNS or name not in COLUMNS.names],
            write_page_checksum=True,
        )
        try:
            yield writer
        except BaseException:
            writer.is_open = False  # else it would write its footer, when it is collected, into a file that is gone
            raise
        with storage.explained("write", uri):
            writer.close()


def _numbered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    rows = 0
    for table in tables:
        ids = pa.array(np.arange(rows, rows + table.num_rows, dtype=np.int64))
        others = table.drop_columns("image_id") if "image_id" in table.column_names else table
        yield others.add_column(0, "image_id", ids).replace_schema_metadata(None)
        rows += table.num_rows


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows; the last may be shorter, and none is empty."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= rows:
            together = pa.concat_tables(held)
            yield together.slice(0, rows)
            held, count = [together.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held)


class ContentHash:
    """SHA-256 of names and values, row order included; it does not depend on how Parquet or Arrow lay them out."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.digest = hashlib.sha256("\0".join(self.names).encode())

    def add(self, block: pa.Table) -> None:
        """The next 65,536 rows, or the last ones."""
        for name in self.names:
            values = block.column(name).combine_chunks()
            texts = values if pa.types.is_string(values.type) else pc.cast(values, pa.string())
            self.digest.update(f"{name}\0{block.num_rows}\0".encode())
            self.digest.update(pc.binary_length(texts).fill_null(-1).to_numpy().astype("<i4").tobytes())
            self.digest.update(_bytes_of(texts))

    def hexdigest(self) -> str:
        return self.digest.hexdigest()


def _bytes_of(texts: pa.StringArray) -> memoryview:
    """The values of a column one after the other, nulls left out."""
    texts = texts.drop_null()
    ends, data = (texts.buffers()[number] for number in (1, 2))
    if not len(texts) or data is None:
        return memoryview(b"")
    at = np.frombuffer(ends, np.int32)
    return memoryview(data)[at[texts.offset] : at[texts.offset + len(texts)]]


def content_hash(table: pa.Table) -> str:
    """The hash of all rows of a table, as `write_manifest` computes it."""
    digest = ContentHash(table.column_names)
    for block in regrouped([table], BLOCK_ROWS):
        digest.add(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Chunk:
    """A run of consecutive manifest rows: the unit of work, of commit and of resume."""

    number: int
    first: int
    rows: int


def plan_chunks(sizes: NDArray[np.int64], chunk_images: int | None) -> list[Chunk]:
    """Cut images of these sizes (bytes) into chunks of `chunk_images`, or of nearly equal cost.

    The cut depends on the images alone, never on the machines, so that a run can be resumed on others.
    """
    return _plan(lambda: iter([sizes]), len(sizes), chunk_images)


def _plan(sizes: Callable[[], Iterator[NDArray[np.int64]]], rows: int, chunk_images: int | None) -> list[Chunk]:
    if chunk_images is not None or rows == 0:
        return chunks_at(list(range(0, rows, chunk_images or 1)), rows)
    return chunks_at(_cut_by_cost(lambda: map(_costs, sizes()), rows), rows)


def _costs(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(sizes, 0, CHUNK_COST_BYTES) + IMAGE_COST_BYTES


def chunks_at(firsts: list[int], rows: int) -> list[Chunk]:
    """The chunks that begin at these rows."""
    ends = [*firsts[1:], rows]
    return [Chunk(number, first, end - first) for number, (first, end) in enumerate(zip(firsts, ends, strict=False))]


def _cut_by_cost(costs: Callable[[], Iterator[NDArray[np.int64]]], rows: int) -> list[int]:
    """The first rows of chunks of nearly equal cost; the costs, block by block, are gone through twice."""
    total = sum(int(block.sum()) for block in costs())
    wanted = max(-(-total // CHUNK_COST_BYTES), min(CHUNKS_WANTED, rows // FEWEST_CHUNK_IMAGES), 1)
    targets = np.arange(wanted) * (total / wanted)
    firsts: list[int] = []
    row = spent = 0
    for block in costs():
        reached = spent + np.concatenate([[0], np.cumsum(block)])
        here = targets[len(firsts) : np.searchsorted(targets, reached[-1], side="right")]
        firsts += (row + np.searchsorted(reached, here, side="left")).tolist()
        row, spent = row + len(block), int(reached[-1])
    return sorted({min(first, rows - 1) for first in firsts})
