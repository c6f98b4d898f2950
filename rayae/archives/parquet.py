"""PARQUET: the images in the rows of a Parquet file, listed without reading them, and read a row group at a time.

Arrow reads here without threads and without reading ahead: with them a process that ends soon after may do so by
SIGABRT (github.com/apache/arrow/issues/50482).
"""

import contextlib
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayae import manifest
from rayae.archives.cache import Shelf
from rayae.archives.carried import Carried
from rayae.archives.member import (
    TABLE_ROWS,
    Fetch,
    Unreadable,
    damaged_rest,
    fields_of,
    member_tables,
    number_in,
    rows,
)
from rayae.archives.window import PartFile, Window
from rayae.errors import DataError
from rayae.ranges import Ranges
from rayae.results import Status

MOST_GROUP_BYTES = 1024**3
"""Bytes of images in one row group, which is read whole and kept while its rows are asked for."""
FOOTER_END = 8
"""The last bytes of a Parquet file: how long its footer is, and a magic number."""
ARROW_READS = 64 * 1024
"""Bytes at the end of a file that Arrow reads in any case, footer included."""
UNREADABLE = "row group"
"""What is counted where the own columns of a row group cannot be read."""
Path = tuple[str, ...]
"""A column, from the outermost struct in."""


class Damaged(Exception):
    """Arrow cannot read this."""


@contextlib.contextmanager
def _judged(file: PartFile) -> Iterator[None]:
    """Damaged when Arrow cannot read the file; what the storage below it raised stays what it was."""
    try:
        yield
    # ValueError: text that is no UTF-8, a byte that lies nowhere; KeyError: a file that names its columns in two ways
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        if file.failure is not None:
            raise file.failure from None
        raise Damaged(" ".join(str(error).split()).rstrip(".: ")) from error


def _opened(file: PartFile) -> pq.ParquetFile:
    return pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)


def has_images(ranges: Ranges) -> bool:
    """Whether there are image bytes in a Parquet file; a file with a column `uri` is a list of images elsewhere."""
    file = PartFile(ranges.size_bytes, Window(ranges).read)
    try:
        with _judged(file):
            schema = _opened(file).schema_arrow
    except Damaged as damaged:
        what = f"{ranges.uri} cannot be read as Parquet ({damaged}); it is damaged or something else."
        raise DataError(what) from damaged
    is_list = "uri" in schema.names or manifest.about_manifest(schema) is not None
    return not is_list and bool(_candidates(schema))


def _candidates(fields: Iterable[pa.Field], above: Path = ()) -> list[Path]:
    """The columns that may hold the bytes of images."""
    found: list[Path] = []
    for field in fields:
        if isinstance(field.type, pa.StructType):
            found += _candidates(field.type, (*above, field.name))
        elif pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            found.append((*above, field.name))
    return found


def image_tables(ranges: Ranges, image_column: str | None, passed_over: Counter[str]) -> Iterator[pa.Table]:
    """The rows of a Parquet file as images, with its other columns, in tables of the columns of a manifest.

    DataError when it is not clear which column holds the images, or when a row group is too large to be read.
    """
    file = PartFile(ranges.size_bytes, Window(ranges).read)
    try:
        with _judged(file):
            parquet = _opened(file)
            footer = ranges.size_bytes - FOOTER_END
            footer -= struct.unpack("<I", ranges.read(footer, 4))[0]
            groups = _row_groups(ranges, parquet)
    except Damaged:
        yield from member_tables(ranges, [damaged_rest(0)])
        return
    column = _chosen(ranges.uri, parquet.schema_arrow, image_column)
    _refuse_large_groups(ranges.uri, groups)
    carried = Carried(ranges.uri, parquet.schema_arrow, column, passed_over)
    listed = _Listed(ranges, parquet, column, footer, carried, passed_over)
    first = 0
    for number, group in enumerate(groups):
        yield from listed.tables(file, number, group.rows, first)
        first += group.rows


@dataclass(frozen=True, slots=True)
class _Group:
    """What the footer says of a row group."""

    rows: int
    size_bytes: int


@dataclass(frozen=True)
class _Listed:
    """A Parquet file whose rows are listed."""

    ranges: Ranges
    parquet: pq.ParquetFile
    column: Path
    footer: int
    carried: Carried
    passed_over: Counter[str]

    def tables(self, file: PartFile, group: int, count: int, first: int) -> Iterator[pa.Table]:
        """The rows of a row group, which begin at row `first`; where their other columns break off those are null.

        Whether the images can be read is seen when they are.
        """
        done, behind = 0, f"{self.footer}:{'.'.join(self.column)}"

        def table(paths: list[str | None], others: pa.Table) -> pa.Table:
            places = [f"row:{group}:{number}:{behind}" for number in range(done, done + len(paths))]
            return self._table(range(first + done, first + done + len(paths)), places, paths, others)

        try:
            for others in self._others(file, group):
                yield table(self.carried.paths(others), self.carried.plain(others))
                done += others.num_rows
        except Damaged:
            self.passed_over[UNREADABLE] += 1
        while done < count:
            size = min(TABLE_ROWS, count - done)
            yield table([None] * size, self.carried.unknown(size))
            done += size

    def _others(self, file: PartFile, group: int) -> Iterator[pa.Table]:
        """The other columns of a row group, a part at a time; nothing when there are none."""
        if names := self.carried.columns:
            with _judged(file):
                for batch in self.parquet.iter_batches(TABLE_ROWS, [group], names, use_threads=False):
                    batch.validate(full=True)  # Arrow takes text for UTF-8 unseen
                    yield pa.table(batch).select(self.carried.tops)

    def _table(self, numbers: range, places: list[str], paths: list[str | None], others: pa.Table) -> pa.Table:
        uris = [
            f"{self.ranges.uri}!/row-{number}/{path}" if path else f"{self.ranges.uri}!/row-{number}"
            for number, path in zip(numbers, paths, strict=True)
        ]
        table = rows(self.ranges, uris, [None] * len(uris), places)
        for name in others.column_names:
            table = table.append_column(name, others[name])
        return table


def _chosen(uri: str, schema: pa.Schema, image_column: str | None) -> Path:
    found = _candidates(schema)
    names = [".".join(path) for path in found]
    wanted = [
        path
        for path, name in zip(found, names, strict=True)
        if image_column is None or name in (image_column, f"{image_column}.bytes")
    ]
    if len(wanted) == 1:
        return wanted[0]
    if image_column is None and found:
        raise DataError(f"{uri} has several columns that may be the images; set select.image_column to one of {names}.")
    asked = "has no column" if image_column is None else f"has no column {image_column!r}"
    others = f"the columns that hold bytes are {names}" if found else f"its columns are {schema.names}"
    raise DataError(f"{uri} {asked} with the bytes of images; {others}.")


def _row_groups(ranges: Ranges, parquet: pq.ParquetFile) -> list[_Group]:
    """What the footer says of each row group; Damaged when it cannot be true.

    It is not asked about single columns: of some damaged files pyarrow 26.0.1 then ends the process (its accessors let
    a C++ exception through: "Repetition level histogram size mismatch").
    """
    abouts = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
    groups = [_Group(about.num_rows, about.total_byte_size) for about in abouts]
    total = sum(group.rows for group in groups)
    if min((group.rows for group in groups), default=0) < 0 or total != parquet.metadata.num_rows:
        raise Damaged("its footer contradicts itself")
    if total > ranges.size_bytes:
        raise Damaged("it says more rows than it has bytes")
    return groups


def _refuse_large_groups(uri: str, groups: Sequence[_Group]) -> None:
    for number, group in enumerate(groups):
        if group.size_bytes > MOST_GROUP_BYTES:
            fitting = max(1, group.rows * (MOST_GROUP_BYTES // 4) // group.size_bytes)
            raise DataError(
                f"{uri}: row group {number} holds {group.size_bytes / 1024**3:.1f} GiB, and row groups are read whole; "
                f"write it with at most 1 GiB in each, such as row_group_size={fitting}."
            )


@dataclass(frozen=True)
class _RowGroup:
    """The images of a row group, or why there are none."""

    values: Sequence[bytes | None] = ()
    nbytes: int = 0
    refused: Unreadable | None = None

    def value(self, row: int) -> bytes | None:
        if self.refused is not None:
            raise Unreadable(self.refused.status, self.refused.sentence)
        if not 0 <= row < len(self.values):
            raise Unreadable(Status.TRUNCATED, f"The Parquet file has no row {row} in this row group.")
        return self.values[row]


def read(place: str, fetch: Fetch, shelf: Shelf) -> bytes:
    """The image of a row; its row group is read whole, and kept on the shelf for the rows that follow."""
    texts = fields_of(place, 4)
    group, row, footer = (number_in(place, text) for text in texts[:3])
    column = texts[3]
    values = shelf.get(
        (group, column), lambda: _row_group(group, column, footer, fetch, shelf), lambda values: values.nbytes
    )
    value = values.value(row)
    if value is None:
        sentence = f"Row {row} of row group {group} has no bytes in {column}; where it has but a path, embed the image."
        raise Unreadable(Status.EMPTY, sentence)
    return value


def _row_group(group: int, column: str, footer: int, fetch: Fetch, shelf: Shelf) -> _RowGroup:
    start = max(0, footer - ARROW_READS)
    tail = shelf.get("footer", lambda: fetch(start, None), len)
    end = start + len(tail)
    if end < footer + FOOTER_END or struct.unpack("<I", tail[-FOOTER_END:-4])[0] != end - FOOTER_END - footer:
        return _RowGroup(refused=Unreadable(Status.TRUNCATED, f"The Parquet file has no footer at byte {footer}."))

    def read_part(first: int, length: int) -> bytes:
        return tail[first - start :][:length] if first >= start else fetch(first, length)

    file = PartFile(end, read_part)
    try:
        with _judged(file):
            return _images(_opened(file), group, column)
    except Damaged as damaged:
        sentence = f"Row group {group} of the Parquet file is cut or damaged: {damaged}."
        return _RowGroup(refused=Unreadable(Status.TRUNCATED, sentence))


def _images(parquet: pq.ParquetFile, group: int, column: str) -> _RowGroup:
    path = next((path for path in _candidates(parquet.schema_arrow) if ".".join(path) == column), None)
    if path is None or not 0 <= group < parquet.num_row_groups:
        sentence = f"The Parquet file has no row group {group} with a column {column}."
        return _RowGroup(refused=Unreadable(Status.TRUNCATED, sentence))
    values: list[bytes | None] = []
    nbytes = 0
    # One at a time, at 7 us a row more than 64 at once: what is in the file once may be in every row, as a copy for
    # each, and 64 copies of a large one are more than the memory that there is.
    for batch in parquet.iter_batches(1, [group], [column], use_threads=False):
        here = batch.column(path[0])
        here = pc.struct_field(here, list(path[1:])) if path[1:] else here
        nbytes += here.nbytes
        if nbytes > MOST_GROUP_BYTES:
            sentence = f"Row group {group} of the Parquet file unpacks to more than {MOST_GROUP_BYTES // 1024**3} GiB."
            return _RowGroup(refused=Unreadable(Status.TOO_LARGE, sentence))
        values += here.to_pylist()
    return _RowGroup(values, nbytes)
