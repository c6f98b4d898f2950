"""Home of the tables that people bring (.txt, .csv, .parquet): they become columns of plain types, or a clear error."""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv

from rayae import manifest, storage
from rayae.errors import DataError

TABLE_SUFFIXES = frozenset({".parquet", ".csv", ".txt"})
TEXT_COLUMNS = ("uri", "path", "label", "group", "split", "etag")
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def suffix(uri: str) -> str:
    """The ending of a name with its dot, in small letters; empty when it has none."""
    return os.path.splitext(uri.rsplit("/", 1)[-1])[1].lower()


def read_images(uri: str) -> pa.Table:
    """The images that a list names: `uri` in canonical form, and whatever other columns it has.

    DataError when it cannot be read, has no `uri` or `path`, or has values that are no image's.
    """
    if suffix(uri) == ".parquet" and manifest.is_manifest(uri):
        return manifest.Manifest.open(uri).read_unchanged().drop_columns("image_id")
    read = {".txt": _read_lines, ".csv": read_csv, ".parquet": _read_parquet}[suffix(uri)]
    table = read(uri)
    name = next((name for name in ("uri", "path") if name in table.column_names), None)
    if name is None:
        raise DataError(f"images={uri} has no column `uri` or `path`; its columns are {', '.join(table.column_names)}.")
    names = _as_type(table[name], pa.string(), f"images={uri}: the column `{name}`").to_pylist()
    empty = sum(not given for given in names)
    if empty:
        raise DataError(f"images={uri}: the column `{name}` has {empty} empty value(s).")
    folder = storage.parent(storage.absolute(uri))
    columns = {"uri": pa.array([storage.resolve(given, folder) for given in names], pa.string())}
    for own in table.column_names:
        if own in manifest.COLUMNS.names:
            kind = manifest.COLUMNS.field(own).type
            columns.setdefault(own, _as_type(table[own], kind, f"images={uri}: the column `{own}`"))
        elif own != "path":
            columns[own] = table[own]
    columns.pop("image_id", None)
    return pa.table(columns)


def read_csv(uri: str) -> pa.Table:
    """A CSV with a header; the columns that rayae knows are text, others get the type of their values."""
    data = storage.read_bytes(uri)
    header = _header(uri, data)
    text = {name: pa.string() for name in header if name.strip() in TEXT_COLUMNS}
    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(data),
            convert_options=pyarrow.csv.ConvertOptions(column_types=text, strings_can_be_null=True, null_values=[""]),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{uri} cannot be read as a CSV in UTF-8 with a header and commas: {error}.") from error
    return plain(table.rename_columns([name.strip() for name in header]), uri)


def _header(uri: str, data: bytes) -> list[str]:
    try:
        header = next((row for row in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if row), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{uri} cannot be read as a CSV in UTF-8 with a header and commas: {error}.") from error
    names = [name.strip() for name in header]
    for mark in (";", "\t"):
        if len(names) == 1 and mark in names[0]:
            raise DataError(f"{uri} separates its columns by {mark!r}; write it with commas.")
    if len(names) > 1 and "" in names:
        raise DataError(f"{uri} has a column without a name (pandas writes its index so; give it `index=False`).")
    _refuse_repeated(names, uri)
    return header


def plain(table: pa.Table, uri: str) -> pa.Table:
    """The table with types that Parquet gives back as they were; DataError for lists, structs and bytes."""
    columns = {}
    for name in table.column_names:
        kind = _plain_type(table[name].type)
        if kind is None:
            raise DataError(
                f"{uri}: the column {name!r} has the type {table[name].type}; leave it out: a column of your own "
                "holds text, numbers, dates or truth values."
            )
        columns[name] = _as_type(table[name], kind, f"{uri}: the column {name!r}")
    return pa.table(columns)


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_null(kind):
        return pa.string()
    if types.is_date(kind):
        return pa.date32()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_timestamp(kind):  # Parquet knows no seconds
        return pa.timestamp("ms", kind.tz) if kind.unit == "s" else kind
    if types.is_time(kind):
        return pa.time32("ms") if kind == pa.time32("s") else kind
    return (
        kind
        if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
        else None
    )


def _as_type(values: pa.ChunkedArray, kind: pa.DataType, what: str) -> pa.ChunkedArray:
    try:
        return values.cast(kind)
    except pa.ArrowException as error:
        raise DataError(f"{what} cannot be read as {kind}: {error}.") from error


def _read_lines(uri: str) -> pa.Table:
    data = storage.read_bytes(uri)
    if data.startswith(UTF16_MARKS) or b"\0" in data:
        raise DataError(f"images={uri} is no text in UTF-8; write it with one path or URI a line, as UTF-8.")
    lines = (line.strip(" \t\r") for line in data.decode("utf-8-sig", "surrogateescape").split("\n"))
    folder = storage.parent(storage.absolute(uri))
    uris = [storage.resolve(line, folder) for line in lines if line]  # here: names that are not UTF-8 fit no table
    return pa.table({"uri": pa.array(uris, pa.string())})


def _read_parquet(uri: str) -> pa.Table:
    with manifest.open_parquet(uri) as parquet:
        _refuse_repeated(parquet.schema_arrow.names, uri)
        plain(parquet.schema_arrow.empty_table(), uri)  # before the pixels that may be in it are read
        return plain(parquet.read(use_threads=False), uri)


def _refuse_repeated(names: Sequence[str], uri: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{uri} has the column {repeated[0]!r} twice; give each column a name of its own.")
