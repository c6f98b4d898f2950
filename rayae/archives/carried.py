"""Home of what a Parquet file with images says of them in its other columns, and how it comes into a manifest."""

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayae import results, tables
from rayae.errors import DataError

OF_LISTS = {"label", "group", "split"}
"""Columns that mean here what they mean in a list of images."""
RESERVED = results.reserved_columns(()) - OF_LISTS
IN_FILE = "_in_file"


class Carried:
    """The columns of a Parquet file that go with its images: those of plain types, whatever else it has.

    The numbers of a Hugging Face ClassLabel become its names. A column with the name of one of a manifest or a result
    (`image_id`, `width`, `status`) has `_in_file` at its end.
    """

    def __init__(self, uri: str, schema: pa.Schema, image: tuple[str, ...], passed_over: Counter[str]) -> None:
        self.uri, self.image = uri, image
        repeated = [name for name, count in Counter(schema.names).items() if count > 1]
        if repeated:
            raise DataError(f"{uri} has the column {repeated[0]!r} twice; give each column a name of its own.")
        self.own = [name for name in schema.names if name != image[0] and self._is_plain(schema, name)]
        passed_over.update(f"column {name}" for name in schema.names if name != image[0] and name not in self.own)
        self.path = _path_beside(schema, image)
        self.classes = _class_names(schema)
        self.nothing = schema.empty_table().select(self.own)

    @property
    def columns(self) -> list[str]:
        """What is read of the file."""
        return self.own + ([".".join(self.path)] if self.path else [])

    @property
    def tops(self) -> list[str]:
        """The columns of the table that is read."""
        return self.own + list(self.path[:1])

    def _is_plain(self, schema: pa.Schema, name: str) -> bool:
        try:
            tables.plain(schema.empty_table().select([name]), self.uri)
        except DataError:
            return False
        return True

    def paths(self, table: pa.Table) -> list[str | None]:
        """What the images were called by whoever put them into the file, where it says so."""
        if not self.path:
            return [None] * table.num_rows
        found: list[str | None] = pc.struct_field(table[self.path[0]], list(self.path[1:])).to_pylist()
        return found

    def plain(self, table: pa.Table) -> pa.Table:
        """The user's own columns of some rows, under the names and in the types that a manifest has."""
        plain = tables.plain(table.select(self.own), self.uri)
        for name, classes in self.classes.items():
            if name in self.own and pa.types.is_integer(plain[name].type):
                number = plain[name].cast(pa.int64())
                is_known = pc.and_(pc.greater_equal(number, 0), pc.less(number, len(classes)))
                known = pc.if_else(is_known, number, pa.scalar(None, pa.int64()))  # -1 says that there is no label
                at = plain.column_names.index(name)
                plain = plain.set_column(at, name, pa.array(classes, pa.string()).take(known.combine_chunks()))
        return plain.rename_columns(_renamed(plain.column_names))

    def unknown(self, count: int) -> pa.Table:
        """The same columns for rows of which they cannot be read."""
        plain = self.plain(self.nothing)
        return pa.table([pa.nulls(count, field.type) for field in plain.schema], schema=plain.schema)


def _renamed(names: list[str]) -> list[str]:
    """The names, with as many endings as it takes to be neither reserved nor there already."""
    taken = set(names)
    renamed = []
    for name in names:
        new = name
        while new.lower() in RESERVED or (new != name and new in taken):
            new += IN_FILE
        taken.add(new)
        renamed.append(new)
    return renamed


def _path_beside(schema: pa.Schema, image: tuple[str, ...]) -> tuple[str, ...]:
    """The text `path` in the struct that the bytes are in; empty where there is none."""
    if len(image) == 1:
        return ()
    kind = schema.field(image[0]).type
    for name in image[1:-1]:
        kind = kind.field(name).type
    index = kind.get_field_index("path")
    is_text = index >= 0 and pa.types.is_string(kind.field(index).type)
    return (*image[:-1], "path") if is_text else ()


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of each column, as Hugging Face writes them into a file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = [(name, of["names"]) for name, of in features.items() if _is_class_label(of)]
    except (KeyError, TypeError, ValueError, AttributeError):  # somebody else's, or none
        return {}
    return {name: [str(one) for one in names] for name, names in labels}


def _is_class_label(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
