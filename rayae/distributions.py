"""ANALYSE: home of the distributions of scores on a report: of one bundle, or of each product on an axis of its own."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.assignment import Assigned
from rayae.histogram import histogram
from rayae.page import Distribution, Products, Table
from rayae.run import Run
from rayae.score_names import IN_WORDS
from rayae.statistics import percent
from rayae.threshold import Threshold

MOST_DRAWN = 12
NAMED = 10
NOTHING = "\N{EN DASH}"


def distribution(
    results: pa.Table,
    score_name: str,
    threshold: Threshold | None,
    calibration: NDArray[np.float32] | None,
    name: str = "",
) -> Distribution | None:
    """The scores of result rows of one bundle, beside those that it was calibrated on; None when no row has one."""
    known = None if calibration is None else calibration[np.isfinite(calibration)].astype(np.float64)
    scores = results["score"].drop_null().to_numpy().astype(np.float64)
    drawn = histogram(scores, known, None if threshold is None else threshold.cut)
    if drawn is None:
        return None
    count = None if known is None or not len(known) else f"{len(known):,}"
    return Distribution(name, score_name, IN_WORDS.get(score_name), drawn, count)


def products_of(run: Run, results: pa.Table) -> Products | None:
    """What each bundle of a set found in its images; None for a run with one bundle.

    Where there are many products those are drawn that have the largest shares of flagged images, in their order.
    """
    assignment = run.assignment
    if assignment.column is None:
        return None
    parts = [(value, results.take(rows)) for value, rows in assignment.parts(results)]
    own = {value: rows for value, rows in parts if value is not None and rows["score"].null_count < rows.num_rows}
    drawn = sorted(sorted(own, key=lambda value: -_flagged_share(own[value]))[:MOST_DRAWN])
    calibrations, found = run.calibrations, []
    for value in drawn:
        bundle = assignment.bundles[value]
        found.append(distribution(own[value], bundle.primary_score, bundle.threshold, calibrations.get(value), value))
    return Products(
        table=_table(assignment.column, [(value, rows, assignment.bundles.get(value or "")) for value, rows in parts]),
        distributions=tuple(one for one in found if one is not None),
        undrawn=_undrawn(assignment.column, [value for value in own if value not in drawn]),
    )


def _flagged_share(rows: pa.Table) -> float:
    flagged: int = pc.sum(rows["is_anomaly"], min_count=0).as_py()
    scored: int = rows.num_rows - rows["score"].null_count
    return flagged / scored


def _undrawn(column: str, values: Sequence[str]) -> str | None:
    if not values:
        return None
    more = f" and {len(values) - NAMED:,} more" if len(values) > NAMED else ""
    return (
        f"Drawn are the {MOST_DRAWN} of {len(values) + MOST_DRAWN:,} values of {column} with the largest shares of "
        f"flagged images; not drawn are {', '.join(values[:NAMED])}{more}."
    )


def _table(column: str, parts: Sequence[tuple[str | None, pa.Table, Assigned | None]]) -> Table:
    rows = []
    for value, own, bundle in parts:
        cut = None if value is None or bundle is None else bundle.threshold
        flagged, scored = pc.sum(own["is_anomaly"], min_count=0).as_py(), own.num_rows - own["score"].null_count
        name = "without a bundle" if value is None else value
        share = NOTHING if cut is None or not scored else percent(flagged / scored)
        cells = (f"{own.num_rows:,}", f"{scored:,}", NOTHING if cut is None else f"{flagged:,}", share)
        rows.append((name, *cells, NOTHING if cut is None else f"{cut.score} above {np.float32(cut.cut)!s}"))
    columns = (column, "Images", "Scored", "Flagged", "Share", "Cut")
    return Table(f"Each {column} has its bundle and its cut", columns, tuple(rows))
