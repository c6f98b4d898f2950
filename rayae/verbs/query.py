"""`rayae query`: SQL over a run of any size, in bounded memory."""

import itertools
import sys
from collections.abc import Iterator
from functools import partial

from rayae import storage
from rayae.answers import Format, format_of, write
from rayae.database import Answer, opened, unless_compacted
from rayae.errors import ConfigError
from rayae.run import Run
from rayae.settings import QuerySettings
from rayae.terminal import say, show_table, warn

DIGITS = 6


def query(settings: QuerySettings) -> None:
    """Ask a run, and show the answer as a table or write it as `format=` and `out=` say."""
    form = format_asked(settings)
    run = Run.open(settings.run)
    if settings.out is not None:
        run.refuse_as_out(settings.out)
    tell_unfinished(run)
    if form is not None and settings.out is None:
        _ask(run, settings, form)  # once: what has gone to standard output cannot be taken back
    else:
        unless_compacted(run, partial(_ask, run, settings, form))


def _ask(run: Run, settings: QuerySettings, form: Format | None) -> None:
    with opened([("main", run)], settings.memory_bytes) as database:
        answer = database.ask(settings.sql)
        if form is None:
            show(answer, settings.rows)
        elif settings.out is None:
            write(sys.stdout.buffer, form, answer.schema, answer.batches)
        else:
            with storage.open_write(storage.absolute(settings.out)) as file:
                rows = write(file, form, answer.schema, answer.batches)
            say(f"query: {rows:,} row(s) in {storage.absolute(settings.out)}")


def format_asked(settings: QuerySettings) -> Format | None:
    """The format to write in; None for a table. ConfigError for Parquet on a terminal, and a table in a file."""
    if settings.format == "table" and settings.out is not None:
        raise ConfigError("format=table is for the terminal; with out= take csv, json or parquet.")
    if settings.format == "parquet" and settings.out is None:
        raise ConfigError("format=parquet needs out=, the file to write.")
    if settings.format == "table":
        return None
    return settings.format or (None if settings.out is None else format_of(settings.out))


def tell_unfinished(run: Run) -> None:
    """Warn, where a run is not finished, of what its rows are."""
    left = sum(chunk.rows for chunk in run.chunks_left())
    if left:
        warn(
            f"{run.uri} is not finished: {run.rows - left:,} of {run.rows:,} images have a row, "
            "and what follows is of these."
        )


def show(answer: Answer, most: int) -> None:
    """Show the first rows of an answer as a table, and say when there are more."""
    rows = list(itertools.islice(_rows(answer), most + 1))
    more = f", the first {most:,}" if len(rows) > most else ""
    title = f"{min(len(rows), most):,} row(s){more}"
    show_table(title, answer.schema.names, [[cell(value) for value in row] for row in rows[:most]])
    if more:
        say("there are more rows; `rows=` shows more, and `format=csv out=FILE` writes all.")


def _rows(answer: Answer) -> Iterator[tuple[object, ...]]:
    for batch in answer.batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def cell(value: object) -> str:
    """A value as people read it: numbers in six digits, nothing for null."""
    if value is None:
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
