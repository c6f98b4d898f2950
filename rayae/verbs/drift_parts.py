"""The part of `rayae drift` that tells of the days, groups or other values of a run one by one."""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from rayae import answers, storage
from rayae.database import Database
from rayae.drift import Drift, Sample, each_confidence, measure, titles
from rayae.errors import ConfigError
from rayae.exhibits import signed
from rayae.reference import REFERENCE, as_day, as_text, count_units, quantities, sample, units
from rayae.results import user_columns
from rayae.run import Run
from rayae.settings import DriftSettings
from rayae.terminal import say, show_table, warn

DAY, GROUP = "day", "group"
FEWEST = 10
"""Images of a value that is told of."""
OF_THE_REFERENCE = 2_000
"""Images of the reference that each value is held against at most: by these alone a delta is off by 0.01 or so."""
PARTS = pa.schema(
    [
        ("value", pa.string()),
        ("images", pa.int64()),
        ("cause", pa.string()),
        ("held_against", pa.string()),
        ("quantity", pa.string()),
        *((name, pa.float64()) for name in ("delta", "low", "high", "median_shift")),
        ("method", pa.string()),
    ]
)


def unit_of(run: Run, settings: DriftSettings) -> str | None:
    """SQL for what the images are told apart by; ConfigError when there is no such column."""
    schema = run.manifest.schema
    own = [name for name in (GROUP, *user_columns(schema.names)) if name in schema.names]
    if settings.time is not None and settings.by != DAY:
        raise ConfigError(f"time={settings.time} is only used by by=day.")
    if settings.by == DAY:
        return as_day(time_of(run.uri, schema, own, settings.time))
    if settings.by is not None and settings.by not in own:
        raise ConfigError(f"by={settings.by} is no column of the images of {run.uri}; take day, or {', '.join(own)}.")
    return None if settings.by is None else as_text(settings.by)


def unit_of_reference(other: Run, settings: DriftSettings, unit: str | None) -> str | None:
    """The same for the reference, whose images of a value are like those of the run; None where it has no such column.

    Days of two runs are other ones.
    """
    return unit if settings.by in other.manifest.schema.names else None


def time_of(uri: str, schema: pa.Schema, own: Sequence[str], asked: str | None) -> str:
    """The column with the time; ConfigError when there is none, or when nobody knows which it is."""
    kinds = {name: schema.field(name).type for name in own}
    times = [name for name, kind in kinds.items() if pa.types.is_timestamp(kind) or pa.types.is_date(kind)]
    if asked in times:
        return asked
    if asked is not None:
        raise ConfigError(f"time={asked} is no column of times or dates of {uri}; it has {', '.join(times) or 'none'}.")
    if len(times) == 1:
        return times[0]
    if times:
        raise ConfigError(f"by=day needs time=, the column to go by; {uri} has {', '.join(times)}.")
    raise ConfigError(
        f"by=day needs to know when pictures were taken, and the images of {uri} have no column of times or dates: "
        "give `labels=` or a list with such a column (2026-11-24, or 2026-11-24T02:15) when they are indexed."
    )


def measure_parts(database: Database, settings: DriftSettings) -> list[Drift]:
    """The shifts of the images of each value; with by=group each image of a group counts by itself.

    A value that the reference run has as well is held against its images there, another one against all.
    """
    names, key = quantities(database), "image_key" if settings.by == GROUP else "key"
    enough, few = count_units(database, FEWEST)
    if few:
        warn(f"{few:,} values of `{settings.by}` have fewer than {FEWEST} images and are not told of.")
    reference = sample(database, REFERENCE, names, key, OF_THE_REFERENCE)
    each = each_confidence(settings.confidence, len(names) * enough)
    has_values = settings.against is not None and settings.by != DAY
    alike = units(database, names, key, FEWEST, table=REFERENCE, most=OF_THE_REFERENCE) if has_values else ()
    known: dict[str | None, Sample] = {value: images for value, images in alike if value is not None}
    smallest = settings.smallest_effect
    return [
        measure(value, own, known.get(value, reference), each, smallest, is_like=value in known)
        for value, own in units(database, names, key, FEWEST)
    ]


def furthest_of(settings: DriftSettings, parts: Sequence[Drift]) -> Sequence[Drift]:
    """The values that a table shows: days in their order, others the furthest by their score first."""
    ordered = list(parts)
    if settings.by != DAY:
        ordered.sort(key=lambda one: -abs(one.shifts[0].delta.value or 0.0))
    return ordered[: settings.rows]


def tell_parts(settings: DriftSettings, shown: Sequence[Drift], parts: Sequence[Drift], score: str) -> None:
    """Show the furthest values, and what moved in how many of all."""
    quantities = (titles(score)[one.name] for one in shown[0].shifts)
    columns = [str(settings.by), "images", "against", *quantities, "what moved"]
    rows = [
        [
            one.value or "none",
            f"{one.images:,}",
            against(one),
            *(signed(own.delta.value) for own in one.shifts),
            one.cause,
        ]
        for one in shown
    ]
    show_table(f"Cliff's delta by {settings.by}, {len(rows):,} of {len(parts):,}", columns, rows)
    for reason in dict.fromkeys(own.delta.reason for one in parts for own in one.shifts if own.delta.reason):
        say(f"of some values: {reason}")
    if settings.by != DAY and not all(one.is_like for one in parts):
        say(
            f"against all: held against all images of the reference, so a `{settings.by}` that differs from the others "
            "looks moved; a run with images of the same values, as against=, is a reference for each of them"
        )
    counts = Counter(one.cause for one in parts).most_common()
    say(f"what moved, by the number of values: {'; '.join(f'{name}: {count:,}' for name, count in counts)}")


def against(part: Drift) -> str:
    """Which images of the reference a value is held against."""
    return "its own" if part.is_like else "all"


def write_parts(uri: str, parts: Sequence[Drift]) -> None:
    """Write a row a value and quantity, as Parquet."""
    rows = [
        {
            "value": one.value,
            "images": one.images,
            "cause": one.cause,
            "held_against": against(one),
            "quantity": own.name,
            "delta": own.delta.value,
            "low": own.delta.low,
            "high": own.delta.high,
            "median_shift": own.median_shift,
            "method": own.delta.method or own.delta.reason,
        }
        for one in parts
        for own in one.shifts
    ]
    table = pa.Table.from_pylist(rows, PARTS)
    with storage.open_write(uri) as file:
        answers.write(file, "parquet", table.schema, table.to_batches())
