"""ANALYSE: home of the distributions of scores on a report: of one bundle, or of each product on an axis of its own."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rayae.assignment import Assignment
from rayae.calibrations import Calibrations
from rayae.histogram import Counted, histogram
from rayae.overview import Tally
from rayae.page import Distribution, Products, Table
from rayae.score_names import IN_WORDS
from rayae.statistics import percent
from rayae.threshold import Threshold

MOST_DRAWN = 12
NAMED = 10
NOTHING = "\N{EN DASH}"


def distribution(
    scores: Counted,
    score_name: str,
    threshold: Threshold | None,
    calibration: NDArray[np.float32] | None,
    name: str = "",
) -> Distribution | None:
    """The scores of one bundle, beside those that it was calibrated on; None when there are none."""
    known = None if calibration is None else Counted.of(calibration[np.isfinite(calibration)])
    drawn = histogram(scores, known, None if threshold is None else threshold.cut)
    if drawn is None:
        return None
    count = None if known is None or not known.total else f"{known.total:,}"
    return Distribution(name, score_name, IN_WORDS.get(score_name), drawn, count)


def chosen(assignment: Assignment, tallies: Sequence[Tally]) -> list[str]:
    """The products that are drawn, in their order: of many those with the largest shares of flagged images."""
    own = _scored(assignment, tallies)
    return sorted(sorted(own, key=lambda value: -own[value].flagged / own[value].scored)[:MOST_DRAWN])


def products_of(
    assignment: Assignment, calibrations: Calibrations, tallies: Sequence[Tally], scores: Mapping[str, Counted]
) -> Products | None:
    """What each bundle of a set found in its images; None for one bundle.

    `tallies` count the images by the column of the assignment, `scores` are those of the products that are `chosen`.
    """
    if assignment.column is None:
        return None
    found = [
        distribution(own, bundle.primary_score, bundle.threshold, calibrations.get(value), value)
        for value, own in scores.items()
        for bundle in [assignment.bundles[value]]
    ]
    return Products(
        table=_table(assignment.column, assignment, tallies),
        distributions=tuple(one for one in found if one is not None),
        undrawn=_undrawn(assignment.column, [value for value in _scored(assignment, tallies) if value not in scores]),
    )


def _scored(assignment: Assignment, tallies: Sequence[Tally]) -> dict[str, Tally]:
    """The products that have scores, in their order."""
    own = {tally.value: tally for tally in tallies if tally.value is not None and tally.scored}
    return {value: own[value] for value in sorted(own) if value in assignment.bundles}


def _undrawn(column: str, values: Sequence[str]) -> str | None:
    if not values:
        return None
    more = f" and {len(values) - NAMED:,} more" if len(values) > NAMED else ""
    return (
        f"Drawn are the {MOST_DRAWN} of {len(values) + MOST_DRAWN:,} values of {column} with the largest shares of "
        f"flagged images; not drawn are {', '.join(values[:NAMED])}{more}."
    )


def _table(column: str, assignment: Assignment, tallies: Sequence[Tally]) -> Table:
    known = {tally.value: tally for tally in tallies if tally.value is not None and tally.value in assignment.bundles}
    rows = [_row(known[value], assignment.bundles[value].threshold) for value in sorted(known)]
    others = [tally for tally in tallies if tally.value not in known]
    if others:
        images, scored = (sum(getattr(tally, name) for tally in others) for name in ("images", "scored"))
        rows.append(("without a bundle", f"{images:,}", f"{scored:,}", NOTHING, NOTHING, NOTHING))
    columns = (column, "Images", "Scored", "Flagged", "Share", "Cut")
    return Table(f"Each {column} has its bundle and its cut", columns, tuple(rows))


def _row(tally: Tally, cut: Threshold | None) -> tuple[str, ...]:
    counts = (str(tally.value), f"{tally.images:,}", f"{tally.scored:,}")
    if cut is None:
        return (*counts, NOTHING, NOTHING, NOTHING)
    share = percent(tally.flagged / tally.scored) if tally.scored else NOTHING
    return (*counts, f"{tally.flagged:,}", share, f"{cut.score} above {np.float32(cut.cut)!s}")
