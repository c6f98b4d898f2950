"""Home of the tables that people bring (.txt, .csv, .jsonl, .parquet): columns of plain types, or a clear error.

Text and Parquet are read a part at a time. CSV and JSON lines are held in memory, since the types of their columns are
known at their end only; a list of many millions of images is better a Parquet file.
"""

import csv
import io
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from rayae import manifest, reach, storage
from rayae.errors import DataError

TABLE_SUFFIXES = frozenset({".parquet", ".csv", ".txt", ".jsonl", ".ndjson"})
TEXT_COLUMNS = ("uri", "path", "label", "group", "split", "etag", "container", "place")
UTF16_MARKS = ("\udcff\udcfe", "\udcfe\udcff")
"""The two bytes that text in UTF-16 begins with, where it is read as UTF-8."""
TABLE_ROWS = 65_536
LOCAL = r"^(file|local)://"
AS_IT_STANDS = r"^(s3|s3a|gs|gcs|az|abfs|abfss|https?)://"
"""URIs that need no look: a key may hold anything."""
PLACE = r"(?s)^(needs:(file|other):)?(tar|zip|row|page|damaged):[0-9]{1,18}(:.*)?$"
NEEDS = r"^needs:(file|other):$"
WHOLE_NUMBER = r"^(0|-?[1-9][0-9]*)$"
WEB_QUERY = r"(?s)^(https?://[^?#]*)[?#].*$"
"""A web address with a query or a fragment: what stands before it is the name of the file."""


def suffix(uri: str) -> str:
    """The ending of a name with its dot, in small letters; empty when it has none. On the web a query is no part."""
    path = re.sub(WEB_QUERY, r"\1", uri)
    return os.path.splitext(path.rsplit("/", 1)[-1])[1].lower()


@dataclass(frozen=True)
class ImageList:
    """The images that a list names: `uri` in canonical form, and whatever other columns it has."""

    schema: pa.Schema
    read: Callable[[], Iterator[pa.Table]]
    """Its rows, in tables; DataError when they have values that are no image's."""


def open_list(uri: str) -> ImageList:
    """A list, of which no row is read yet if it is a manifest, Parquet or text.

    What it may not name as it lies has a mark as `place`, see `reach`. DataError when it cannot be read, or has no
    `uri` or `path`.
    """
    found = _list_of(uri)
    return ImageList(found.schema, lambda: (_marked(table, uri) for table in found.read()))


def _list_of(uri: str) -> ImageList:
    if suffix(uri) == ".txt":
        return ImageList(pa.schema([("uri", pa.string())]), lambda: _read_lines(uri))
    if suffix(uri) == ".parquet":
        if manifest.is_manifest(uri):
            found = manifest.Manifest.open(uri)
            schema = found.schema.remove(found.schema.get_field_index("image_id"))
            return ImageList(schema, lambda: (table.drop_columns("image_id") for table in found.batches()))
        return _opened(uri, _parquet_schema(uri).empty_table(), lambda: _read_parquet(uri))
    table = read_csv(uri) if suffix(uri) == ".csv" else read_json_lines(uri)
    return _opened(uri, table, lambda: (table.slice(at, TABLE_ROWS) for at in range(0, len(table), TABLE_ROWS)))


def read_images(uri: str) -> pa.Table:
    """All rows of a list; DataError as `open_list` and its rows."""
    found = open_list(uri)
    return pa.concat_tables([found.schema.empty_table(), *found.read()], promote_options="default")


def _opened(uri: str, example: pa.Table, read: Callable[[], Iterator[pa.Table]]) -> ImageList:
    """A list whose tables have the columns of the example."""
    name = next((name for name in ("uri", "path") if name in example.column_names), None)
    if name is None:
        raise DataError(
            f"images={uri} has no column `uri` or `path`; its columns are {', '.join(example.column_names)}."
        )
    return ImageList(_as_images(uri, name, example.slice(0, 0)).schema, lambda: _checked(uri, name, read()))


def _checked(uri: str, name: str, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    empty = 0
    for table in tables:
        is_empty = pc.fill_null(pc.equal(_as_type(table[name], pa.string(), _what(uri, name)), ""), True)
        empty += pc.sum(is_empty, min_count=0).as_py()
        yield _as_images(uri, name, table if not empty else table.filter(pc.invert(is_empty)))
    if empty:
        raise DataError(f"images={uri}: the column `{name}` has {empty} empty value(s).")


def _what(uri: str, name: str) -> str:
    return f"images={uri}: the column `{name}`"


def _as_images(uri: str, name: str, table: pa.Table) -> pa.Table:
    columns = {"uri": _resolved(_as_type(table[name], pa.string(), _what(uri, name)), uri)}
    for own in table.column_names:
        if own in manifest.COLUMNS.names:
            columns.setdefault(own, _as_type(table[own], manifest.COLUMNS.field(own).type, _what(uri, own)))
        elif own != "path":
            columns[own] = table[own]
    columns.pop("image_id", None)
    if "etag" in columns:  # S3 and its clients give it in quotes
        columns["etag"] = pc.utf8_trim(pc.replace_substring_regex(columns["etag"], "^W/", ""), '"')
    _refuse_sizes(uri, columns)
    _refuse_places(uri, columns)
    return pa.table(columns)


def _resolved(names: pa.ChunkedArray, uri: str) -> pa.ChunkedArray:
    """The URIs that names in a list stand for."""
    stands = pc.match_substring_regex(names, AS_IT_STANDS)
    if pc.all(stands, min_count=0).as_py():
        return names
    folder = storage.parent(storage.absolute(uri))
    return pa.chunked_array([pa.array([storage.resolve(name, folder) for name in names.to_pylist()], pa.string())])


def _marked(table: pa.Table, uri: str) -> pa.Table:
    """The rows of the list at `uri`, with a mark where an image lies in what the list may not name."""
    wheres = table["uri"] if "container" not in table.column_names else pc.coalesce(table["container"], table["uri"])
    needs = _needs(wheres, uri)
    if needs.null_count == table.num_rows:
        return table
    places = table["place"].to_pylist() if "place" in table.column_names else [None] * table.num_rows
    marks = [  # what a list says itself that its names need may add to what they need, and not take its place
        place if kind is None else reach.marked(kind, reach.needed(place)[1])
        for kind, place in zip(needs.to_pylist(), places, strict=True)
    ]
    column = pa.array(marks, pa.string())
    if "place" in table.column_names:
        return table.set_column(table.column_names.index("place"), "place", column)
    return table.append_column("place", column)


def need_of(name: str, uri: str) -> str | None:
    """What must be allowed for what lies at `uri` to name this, or None."""
    found: str | None = _needs(pa.chunked_array([[name]]), uri)[0].as_py()
    return found


def _needs(wheres: pa.ChunkedArray, uri: str) -> pa.ChunkedArray:
    """For each URI what must be allowed for a list at `uri` to name it, or null."""
    own = f"{uri.partition('://')[0]}://"
    is_path = pc.or_(pc.invert(pc.match_substring(wheres, "://")), pc.match_substring_regex(wheres, LOCAL))
    is_same = pc.and_(pc.starts_with(wheres, own), pc.invert(pc.match_substring(wheres, "::")))
    is_known = pc.or_(pc.match_substring_regex(wheres, AS_IT_STANDS), is_same)
    if storage.is_local(uri):
        return pc.if_else(pc.or_(is_known, is_path), None, reach.OTHER)
    return pc.if_else(is_path, reach.FILE, pc.if_else(is_known, None, reach.OTHER))


def _refuse_sizes(uri: str, columns: dict[str, pa.ChunkedArray]) -> None:
    wrong = pc.sum(pc.less(columns["size_bytes"], 0), min_count=0).as_py() if "size_bytes" in columns else 0
    if wrong:
        raise DataError(f"images={uri}: the column `size_bytes` has {wrong} value(s) below 0.")


def _refuse_places(uri: str, columns: dict[str, pa.ChunkedArray]) -> None:
    """DataError when `container` and `place` are somebody's own columns: the reader would take them for its."""
    nothing = pa.chunked_array([pa.nulls(len(columns["uri"]), pa.string())])
    container, place = (columns.get(name, nothing) for name in ("container", "place"))
    is_known = pc.and_(pc.match_substring_regex(place, PLACE), container.is_valid())
    is_whole = pc.and_(pc.or_kleene(place.is_null(), pc.match_substring_regex(place, NEEDS)), container.is_null())
    wrong = pc.invert(pc.or_(pc.fill_null(is_known, False), pc.fill_null(is_whole, False)))
    if pc.any(wrong).as_py():
        row = pa.table({"container": container, "place": place}).filter(wrong).to_pylist()[0]
        raise DataError(
            f"images={uri}: the columns `container` and `place` say where in an archive an image lies, and "
            f"{row['container']!r} and {row['place']!r} do not; give columns of your own other names."
        )


def read_csv(uri: str) -> pa.Table:
    """A CSV with a header; the columns that rayae knows are text, others get the type of their values.

    Numbers that a number would not keep as they stand, as `00123` or one of 20 digits, are text too.
    """
    data = storage.read_bytes(uri)
    header = _header(uri, data)
    text = [name for name in header if name.strip() in TEXT_COLUMNS]
    table = _parsed(uri, data, text)
    numbers = [
        name for name in header if pa.types.is_integer(table[name].type) or pa.types.is_floating(table[name].type)
    ]
    as_text = _parsed(uri, data, [*text, *numbers]) if numbers else table
    for name in numbers:
        if not _is_kept(as_text[name], table[name].type):
            table = table.set_column(table.column_names.index(name), name, as_text[name])
    return plain(table.rename_columns([name.strip() for name in header]), uri)


def _parsed(uri: str, data: bytes, text: Sequence[str]) -> pa.Table:
    kinds = dict.fromkeys(text, pa.string())
    try:
        return pyarrow.csv.read_csv(
            io.BytesIO(data),
            convert_options=pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, null_values=[""]),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{uri} cannot be read as a CSV in UTF-8 with a header and commas: {error}.") from error


def _is_kept(texts: pa.ChunkedArray, kind: pa.DataType) -> bool:
    """Whether texts are numbers which a column of this type tells apart: no zeros or digits are lost."""
    trimmed = pc.utf8_trim_whitespace(texts.drop_null())
    if pa.types.is_integer(kind):
        return bool(pc.all(pc.match_substring_regex(trimmed, WHOLE_NUMBER), min_count=0).as_py())
    return all(_is_kept_by_a_float(text) for text in pc.unique(trimmed).to_pylist())


def _is_kept_by_a_float(text: str) -> bool:
    """Whether a float, written out again, is the same number; as texts, leading zeros make another one."""
    bare = text.lstrip("+-").lower()
    if bare in ("nan", "inf", "infinity"):
        return True
    try:
        return not re.match("0[0-9]", bare) and Decimal(text) == Decimal(repr(float(text)))
    except (ValueError, ArithmeticError):
        return False


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


def _read_lines(uri: str) -> Iterator[pa.Table]:
    folder = storage.parent(storage.absolute(uri))
    with storage.explained("read", uri), storage.open_read(uri) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="\n")
        while lines := list(itertools.islice(text, TABLE_ROWS)):
            if any(line.startswith(UTF16_MARKS) or "\0" in line for line in lines):
                raise DataError(f"images={uri} is no text in UTF-8; write it with one path or URI a line, as UTF-8.")
            names = (line.strip(" \t\r\n") for line in lines)
            uris = [storage.resolve(name, folder) for name in names if name]  # names that are not UTF-8 fit no table
            yield pa.table({"uri": pa.array(uris, pa.string())})


def read_json_lines(uri: str) -> pa.Table:
    """JSON with an object a line; the columns that rayae knows are text, others get the type of their values."""
    tables = []
    with storage.explained("read", uri), storage.open_read(uri) as file:
        numbered = enumerate(file, 1)
        while lines := list(itertools.islice(numbered, TABLE_ROWS)):
            tables.append(_json_table(uri, [_json_object(uri, number, line) for number, line in lines if line.strip()]))
    try:
        return plain(pa.concat_tables(tables or [pa.table({})], promote_options="permissive"), uri)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"{uri}: a column has values of several types ({error}).") from error


def _json_object(uri: str, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{uri}: line {number} is no JSON in UTF-8 ({error}).") from error
    if not isinstance(found, dict):
        raise DataError(f'{uri}: line {number} is no JSON object; each line is one, as {{"uri": "a.png"}}.')
    return found


def _json_table(uri: str, rows: list[dict[str, Any]]) -> pa.Table:
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if name in TEXT_COLUMNS:
            values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError) as error:
            raise DataError(f"{uri}: the column {name!r} has values of several types ({error}).") from error
        except UnicodeEncodeError as error:
            raise DataError(f"{uri}: the column {name!r} has a value that is not Unicode ({error}).") from error
    return pa.table(columns)


def _parquet_schema(uri: str) -> pa.Schema:
    with manifest.open_parquet(uri) as parquet:
        _refuse_repeated(parquet.schema_arrow.names, uri)
        return plain(parquet.schema_arrow.empty_table(), uri).schema  # before the pixels that may be in it are read


def _read_parquet(uri: str) -> Iterator[pa.Table]:
    with manifest.open_parquet(uri) as parquet:
        for batch in parquet.iter_batches(TABLE_ROWS, use_threads=False):
            yield plain(pa.table(batch), uri)


def _refuse_repeated(names: Sequence[str], uri: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"{uri} has the column {repeated[0]!r} twice; give each column a name of its own.")
