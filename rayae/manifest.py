"""Home of the manifest: the images of a run, listed once, never changed afterwards, and how it is cut into chunks."""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae import storage
from rayae.errors import DataError

SCHEMA_VERSION = 1
METADATA_KEY = b"rayae_manifest"
ROW_GROUP_ROWS = 8192
NORMAL_LABELS = frozenset({"good", "normal"})
SPLITS = ("train", "validation", "calibration", "test")

COLUMNS = pa.schema(
    [
        ("image_id", pa.int64()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
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

    @classmethod
    def open(cls, uri: str) -> "Manifest":
        """Open a manifest; DataError when the file is something else."""
        with open_parquet(uri) as parquet:
            about = about_manifest(parquet.schema_arrow)
            if about is None:
                raise DataError(
                    f"{uri} is a Parquet file but no manifest; `rayae index images=... out=...` writes one."
                )
            if about["schema_version"] != SCHEMA_VERSION:
                version = about["schema_version"]
                raise DataError(f"{uri} has the schema version {version}, this rayae reads {SCHEMA_VERSION}.")
            return cls(uri, parquet.metadata.num_rows, about["content_hash"])

    def read(self, first: int = 0, count: int | None = None) -> pa.Table:
        """Rows `first` to `first + count`, reading only the parts of the file that hold them."""
        count = self.rows - first if count is None else count
        with open_parquet(self.uri) as parquet:
            ends = np.cumsum([parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)])
            begin = int(np.searchsorted(ends, first, side="right"))
            end = int(np.searchsorted(ends, first + count, side="left")) + 1
            table = parquet.read_row_groups(list(range(begin, min(end, len(ends)))), use_threads=False)
        return table.slice(first - (int(ends[begin - 1]) if begin else 0), count).replace_schema_metadata(None)

    def read_unchanged(self) -> pa.Table:
        """All rows; DataError when they are not those that were written."""
        table = self.read()
        found = content_hash(table)
        if found != self.content_hash:
            raise DataError(
                f"the manifest {self.uri} was changed after it was written: its rows have the hash {found[:12]}, "
                f"it says {self.content_hash[:12]}; write a new one with `rayae index`."
            )
        return table

    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each image, with a guess where the listing did not say."""
        with open_parquet(self.uri) as parquet:
            return sizes_of(parquet.read(columns=["size_bytes"], use_threads=False))


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file with its checksums verified; DataError when it, or what is read of it, is damaged."""
    with storage.open_read(uri) as file:
        try:
            # Arrow's threads and its read-ahead over a Python file make a process that ends soon after do so by SIGABRT
            # now and then (github.com/apache/arrow/issues/50482; pyarrow 26.0.1): 14 of 24 times, without both 0 of 24.
            yield pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{uri} cannot be read as Parquet ({reason}); it is damaged or something else.") from error


def sizes_of(table: pa.Table) -> NDArray[np.int64]:
    """Bytes of each image, with a guess where the listing did not say."""
    return np.asarray(table["size_bytes"].fill_null(UNKNOWN_SIZE_BYTES).to_numpy(), dtype=np.int64)


def is_manifest(uri: str) -> bool:
    """Whether a Parquet file is a manifest; DataError when it is no Parquet."""
    with open_parquet(uri) as parquet:
        return about_manifest(parquet.schema_arrow) is not None


def about_manifest(schema: pa.Schema) -> dict[str, Any] | None:
    """What a manifest says of itself in its schema, or None when the file is no manifest."""
    metadata = schema.metadata or {}
    try:
        about = json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None
    except ValueError:
        return None
    return about if isinstance(about, dict) and about.keys() >= {"schema_version", "content_hash"} else None


def write_manifest(table: pa.Table, uri: str) -> Manifest:
    """Write a manifest, whole or not at all, with the hash of its content."""
    hashed = content_hash(table)
    about = {"schema_version": SCHEMA_VERSION, "rows": table.num_rows, "content_hash": hashed}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({METADATA_KEY: json.dumps(about).encode()}),
        buffer,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        write_page_checksum=True,
    )
    storage.write_bytes(uri, buffer.getvalue())
    return Manifest(uri, table.num_rows, hashed)


def content_hash(table: pa.Table) -> str:
    """SHA-256 of names and values, row order included; it does not depend on how Parquet or Arrow lay them out."""
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(f"{name}\0{table.num_rows}\0".encode())
        for batch in _batches(table.column(name)):
            texts = pc.cast(batch, pa.string()) if not pa.types.is_string(batch.type) else batch
            lengths = pc.binary_length(texts).fill_null(-1).to_numpy().astype("<i4")
            digest.update(lengths.tobytes())
            digest.update("".join(texts.drop_null().to_pylist()).encode())
    return digest.hexdigest()


def _batches(column: pa.ChunkedArray, rows: int = 65536) -> Iterator[pa.ChunkedArray]:
    for first in range(0, len(column), rows):
        yield column.slice(first, rows)


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
    if chunk_images is not None or len(sizes) == 0:
        firsts = list(range(0, len(sizes), chunk_images or 1))
    else:
        firsts = _cut_by_cost(np.clip(sizes, 0, CHUNK_COST_BYTES) + IMAGE_COST_BYTES)
    return chunks_at(firsts, len(sizes))


def chunks_at(firsts: list[int], rows: int) -> list[Chunk]:
    """The chunks that begin at these rows."""
    ends = [*firsts[1:], rows]
    return [Chunk(number, first, end - first) for number, (first, end) in enumerate(zip(firsts, ends, strict=False))]


def _cut_by_cost(costs: NDArray[np.int64]) -> list[int]:
    total = int(costs.sum())
    wanted = max(-(-total // CHUNK_COST_BYTES), min(CHUNKS_WANTED, len(costs) // FEWEST_CHUNK_IMAGES), 1)
    reached = np.concatenate([[0], np.cumsum(costs)])
    firsts = np.searchsorted(reached, np.arange(wanted) * (total / wanted), side="left")
    return [int(first) for first in np.unique(np.minimum(firsts, len(costs) - 1))]


def changes(was: pa.Table, asked: pa.Table) -> list[str]:
    """How two listings differ, in words, a line each: images new, gone, changed, relabelled, or in another order."""
    place = pc.index_in(asked["uri"], value_set=was["uri"])
    both, before = asked.filter(place.is_valid()), was.take(place.drop_null())
    gone = was.filter(pc.invert(pc.is_in(was["uri"], value_set=asked["uri"])))
    own = [name for name in before.column_names if name not in COLUMNS.names]
    added = [name for name in both.column_names if name not in COLUMNS.names and name not in own]
    lost = [name for name in own if name not in both.column_names]
    kept = [name for name in own if name in both.column_names]
    lines = [
        _count(asked.filter(place.is_null()), "new"),
        _count(gone, "gone"),
        _count(_differing(before, both, ("size_bytes", "etag")), "changed in size or time"),
        _count(_differing(before, both, ("label", "group", "split", *kept)), "labelled otherwise"),
        f"columns of your own that are new: {', '.join(added)}" if added else "",
        f"columns of your own that are gone: {', '.join(lost)}" if lost else "",
        "the images stand in another order" if (np.diff(place.drop_null().to_numpy()) < 0).any() else "",
    ]
    return [line for line in lines if line]


def _differing(before: pa.Table, now: pa.Table, names: Sequence[str]) -> pa.Table:
    differs = np.zeros(now.num_rows, dtype=bool)
    for name in names:
        old, new = (pc.cast(table[name], pa.string()) for table in (before, now))
        unequal = pc.fill_null(pc.not_equal(old, new), False)
        differs |= pc.or_(unequal, pc.xor(old.is_null(), new.is_null())).to_numpy()
    return now.filter(pa.array(differs))


def _count(images: pa.Table, what: str) -> str:
    return f"{images.num_rows:,} image(s) {what}, the first is {images['uri'][0].as_py()}" if images.num_rows else ""
