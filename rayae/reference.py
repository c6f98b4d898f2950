"""Home of the images that a run is held against, and of its own beside them, as tables of a database.

Images that are labelled with a defect stay out on both sides, as the reference is of normal images; so do, of a run,
those that its bundle was made with. What is measured is in memory, 28 bytes an image, and twice as much again while a
quantity is measured: `sample` takes no more images than it is told to.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayae.database import Database, identifier, quoted
from rayae.drift import SCORE, Sample
from rayae.errors import DataError
from rayae.manifest import is_defect
from rayae.results import PIXEL_STATISTICS, Status

RUN, REFERENCE = "run", "reference"
QUANTITIES = (SCORE, *PIXEL_STATISTICS)
KEY = "hash(coalesce('group ' || \"group\", 'image ' || uri)) AS key, hash('image ' || uri) AS image_key"
"""Equal keys on both sides are of one group, or of one image."""


@dataclass(frozen=True)
class Kept:
    """How many images of a run are compared, and why others are not."""

    images: int
    defects: int
    """Labelled as such."""
    used: int
    """By the bundle."""


Unit = tuple[str | None, Sample]
"""A value, such as a group or a day, None for images without, and the images of the run that share it."""


def keep_calibration(database: Database, images: pa.Table, primary: str) -> None:
    """Make the reference of the normal images of a calibration, with those quantities that it has."""
    normal = images.filter(pa.array(~images["chose_score"].to_numpy()))
    known = [name for name in PIXEL_STATISTICS if name in images.column_names]
    columns = {"uri": normal["uri"], "group": normal["group"], SCORE: normal[primary]}
    database.add("calibration", pa.table(columns | {name: normal[name] for name in known}))
    database.make(REFERENCE, f"SELECT {KEY}, {', '.join((SCORE, *known))} FROM calibration")


def keep_run(database: Database, schema: str, name: str, used: Collection[str], unit: str | None) -> Kept:
    """Make a table of the scored images of a run that is opened as `schema`; `unit` is SQL for what sorts them.

    DataError when a score or a statistic is no finite number, and when no image is left.
    """
    labels = database.table(f"SELECT DISTINCT label FROM {schema}.results WHERE label IS NOT NULL")["label"]
    database.add(f"defects_{name}", pa.table({"label": pa.array(filter(is_defect, labels.to_pylist()), pa.string())}))
    database.add(f"used_{name}", pa.table({"uri": pa.array(list(used), pa.string())}))
    is_strange = f"coalesce(label IN (SELECT label FROM defects_{name}), false)"
    is_used = f"uri IN (SELECT uri FROM used_{name})"
    rows = f"FROM {schema}.results WHERE status = {quoted(Status.SCORED)}"
    kept = _count(database, rows, is_strange, is_used)
    columns = f"{KEY}, {unit or 'NULL::VARCHAR'} AS unit, {', '.join(QUANTITIES)}"
    database.make(name, f"SELECT {columns} {rows} AND NOT {is_strange} AND NOT {is_used}")
    return kept


def _count(database: Database, rows: str, is_strange: str, is_used: str) -> Kept:
    infinite = " OR ".join(f"coalesce(NOT isfinite({one}), true)" for one in QUANTITIES)
    counts = {
        "infinite": infinite,
        "defects": is_strange,
        "used": f"{is_used} AND NOT {is_strange}",
        "images": f"NOT {is_used} AND NOT {is_strange}",
    }
    asked = ", ".join(f"count(*) FILTER ({condition}) AS {name}" for name, condition in counts.items())
    (found,) = database.table(f"SELECT {asked} {rows}").to_pylist()
    strange = found.pop("infinite")
    if strange:
        raise DataError(
            f"{strange:,} scored images have no finite score or pixel statistic; `rayae verify` says which."
        )
    kept = Kept(**found)
    if kept.images == 0:
        raise DataError(
            f"no scored image is left to compare: {kept.defects:,} are labelled as defects, and the bundle was made "
            f"with {kept.used:,}."
        )
    return kept


def quantities(database: Database) -> list[str]:
    """What the reference knows of its images: the score, and its statistics of pixels if it has them."""
    names = database.ask(f"SELECT * FROM {REFERENCE} LIMIT 0").schema.names
    return [name for name in QUANTITIES if name in names]


def sample(database: Database, table: str, names: Sequence[str], key: str = "key", most: int | None = None) -> Sample:
    """The quantities of the run or of the reference; with the key `image_key` each image is a group of its own.

    Of more than `most` images those are taken whose hashes are the lowest: the same ones whatever the order of files.
    """
    first = "" if most is None else f" ORDER BY image_key LIMIT {most}"
    return _sample(database.table(f"SELECT {', '.join((*names, key))} FROM {table}{first}"), names, key)


def count_units(database: Database, fewest: int) -> tuple[int, int]:
    """How many values have `fewest` images or more, and how many have fewer."""
    sizes = f"SELECT count(*) AS images FROM {RUN} GROUP BY unit"
    asked = f"count(*) FILTER (images >= {fewest}) AS enough, count(*) FILTER (images < {fewest}) AS few"
    (found,) = database.table(f"SELECT {asked} FROM ({sizes})").to_pylist()
    return int(found["enough"]), int(found["few"])


def units(
    database: Database, names: Sequence[str], key: str, fewest: int, *, table: str = RUN, most: int | None = None
) -> Iterator[Unit]:
    """The images of each value with `fewest` images or more, in the order of the values, those without one last.

    Of the run or of the reference, if this has values; of each the `most` whose hashes are the lowest.
    """
    first = "" if most is None else f" QUALIFY row_number() OVER (PARTITION BY unit ORDER BY image_key) <= {most}"
    asked = f"SELECT unit, {', '.join((*names, key))} FROM {table}{first} ORDER BY unit NULLS LAST"
    answer = database.ask(asked)
    pieces: list[pa.RecordBatch] = []
    for piece in (part for batch in answer.batches for part in _parts(batch)):
        if pieces and pieces[0]["unit"][0] != piece["unit"][0]:
            yield from _unit(pieces, names, key, fewest)
            pieces = []
        pieces.append(piece)
    yield from _unit(pieces, names, key, fewest)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of a sorted batch in which the unit stays the same."""
    codes = batch["unit"].dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.diff(codes, prepend=codes[:1] - 1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(codes)], strict=True):
        yield batch.slice(start, end - start)


def _unit(pieces: Sequence[pa.RecordBatch], names: Sequence[str], key: str, fewest: int) -> Iterator[Unit]:
    if sum(piece.num_rows for piece in pieces) >= fewest:
        whole = pa.Table.from_batches(pieces)
        yield whole["unit"][0].as_py(), _sample(whole, names, key)


def _sample(table: pa.Table, names: Sequence[str], key: str) -> Sample:
    values = {name: table[name].to_numpy().astype(np.float32) for name in names}
    return Sample(table[key].to_numpy().astype(np.uint64), values)


def as_text(column: str) -> str:
    """SQL for the value of a column that sorts images into units."""
    return f"CAST({identifier(column)} AS VARCHAR)"


def as_day(column: str) -> str:
    """SQL for the day, in UTC wherever the question is asked, of a column of times or dates."""
    return f"strftime(make_timestamp(epoch_us({identifier(column)})), '%Y-%m-%d')"
