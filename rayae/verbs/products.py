"""The images of each value of a column, as `train` and `calibrate` take them one value after the other.

Where the column is `group` itself, all images of a value are of one group. They are then taken as images without
groups are, whose neighbours in the listing stay together: one group could not be split into sides.
"""

import pyarrow as pa

from rayae.assignment import GROUP, rows_by_value, values_of
from rayae.errors import DataError
from rayae.terminal import say, warn


def products_of(table: pa.Table, column: str) -> dict[str, pa.Table]:
    """The images of each value of a column, by value in order; those without one are told and left out.

    DataError when no image has a value.
    """
    values = values_of(table, column)
    if values.null_count:
        warn(f"{values.null_count:,} images have no `{column}` and are left out of all bundles")
    if values.null_count == table.num_rows:
        raise DataError(f"no image has a `{column}`, by which per_group={column} would tell products apart.")
    named = table
    if column == GROUP:
        say("all images of a bundle are of one group, so its sides are runs of neighbours in the listing")
        place = table.column_names.index(GROUP)
        table = table.set_column(place, GROUP, pa.nulls(table.num_rows, pa.string()))
    pieces = rows_by_value(named, column).items()
    return {value: _numbered(table.take(rows)) for value, rows in pieces if value is not None}


def _numbered(images: pa.Table) -> pa.Table:
    """The images with numbers of their own, so that those of a value are the same whatever is listed beside them."""
    place = images.column_names.index("image_id")
    return images.set_column(place, "image_id", pa.array(range(images.num_rows), pa.int64()))
