"""`rayae top`: the images with the highest scores of a run of any size."""

from functools import partial

from rayae.database import float_columns, identifier, opened, unless_compacted
from rayae.errors import ConfigError
from rayae.run import Run
from rayae.settings import TopSettings
from rayae.terminal import show_table, warn
from rayae.verbs.query import cell, tell_unfinished

ABOUT = ("p_value", "is_anomaly", "label", "group")


def top(settings: TopSettings) -> None:
    """Show the highest values of a column of scores, highest first; of equal ones the first in the manifest.

    ConfigError for a column that is no score. Rows without a number in it are left out.
    """
    run = Run.open(settings.run)
    tell_unfinished(run)
    value = run.assignment.column
    if value is not None:
        warn(f"each `{value}` was scored by a bundle of its own, and scores of two bundles have no common scale.")
    columns, rows = unless_compacted(run, partial(_highest, run, settings))
    show_table(f"the {len(rows):,} highest of `{settings.by}` in {run.uri}", columns, rows)


def _highest(run: Run, settings: TopSettings) -> tuple[list[str], list[list[str]]]:
    """The columns that are shown, and their cells, a row an image."""
    with opened([("main", run)], settings.memory_bytes) as database:
        known = float_columns(database)
        if settings.by not in known:
            raise ConfigError(
                f"by={settings.by} is no score of {run.uri}; its columns of numbers are {', '.join(known)}."
            )
        column = run.assignment.column
        columns = list(dict.fromkeys(["uri", *([] if column is None else [column]), settings.by, "score", *ABOUT]))
        by = identifier(settings.by)
        found = database.table(
            f"SELECT {', '.join(map(identifier, columns))} FROM results WHERE isfinite({by}) "
            f"ORDER BY {by} DESC, image_id LIMIT {settings.n}"
        )
    return columns, [[cell(row[name]) for name in columns] for row in found.to_pylist()]
