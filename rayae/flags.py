"""Home of the flags that cuts give to rows of results which are there already: one cut for all, or others by group."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.assignment import ALL, GROUP, rows_by_value
from rayae.discoveries import Floats, PValues, p_values_of_ranks, ranks
from rayae.results import Status
from rayae.statistics import Bools
from rayae.threshold import Scores, Threshold, exceeds, flag

NEEDS_REVIEW = "needs_review"
COLUMNS = ("image_id", "status", "score")
FLAGS = pa.schema(
    [
        ("image_id", pa.int64()),
        ("score", pa.float32()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        (NEEDS_REVIEW, pa.bool_()),
    ]
)
"""Columns of flags; the last is there only where a cut has a band for review."""
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """A threshold, and the scores of normal images that p-values are counted among."""

    threshold: Threshold
    calibration: Scores
    """Ascending; empty where there are none, and then there are no p-values."""
    kind: PValues = "marginal"

    @cached_property
    def by_rank(self) -> Floats:
        """The p-value of each rank from 1 to n + 1."""
        return p_values_of_ranks(len(self.calibration), self.kind, self.threshold.confidence)

    def p_values(self, scores: Scores) -> Floats:
        """NaN without calibration scores."""
        if len(self.calibration) == 0:
            return np.full(len(scores), np.nan)
        return self.by_rank[ranks(scores, self.calibration) - 1]


Thresholds = Mapping[str, Threshold]
"""By group, and for the images of all other groups, and of none, by `ALL`."""
Cuts = Mapping[str, Cut]
"""The same, with what p-values are counted among."""


def columns_of(cuts: Thresholds | Cuts) -> tuple[str, ...]:
    """The result columns that these cuts ask for."""
    return COLUMNS if set(cuts) == {ALL} else (*COLUMNS, GROUP)


def flag_table(rows: pa.Table, cuts: Cuts) -> pa.Table:
    """What the cuts say of rows: image_id, score, p_value, is_anomaly, and `needs_review` where a cut has such a band.

    An image that is not scored keeps its row, and the rest of it is null.
    """
    scores, unscored = scores_of(rows)
    p_values = np.full(rows.num_rows, np.nan)
    for value, places in parts(rows, cuts):
        p_values[places] = cuts[value].p_values(scores[places])
    thresholds = {value: cut.threshold for value, cut in cuts.items()}
    columns = {
        "image_id": rows["image_id"],
        "score": pa.array(scores, mask=unscored),
        "p_value": pa.array(p_values, mask=unscored | np.isnan(p_values)),
        "is_anomaly": pa.array(anomalies(rows, thresholds), mask=unscored),
    }
    if any(threshold.review_cut is not None for threshold in thresholds.values()):
        columns[NEEDS_REVIEW] = pa.array(for_review(rows, thresholds), mask=unscored)
    return pa.table(columns, schema=pa.schema([FLAGS.field(name) for name in columns]))


def anomalies(rows: pa.Table, thresholds: Thresholds) -> Bools:
    """Which rows are strictly above their cut; those without a score are not."""
    scores, _ = scores_of(rows)
    found = np.zeros(rows.num_rows, dtype=bool)
    for value, places in parts(rows, thresholds):
        found[places] = flag(scores[places], thresholds[value])
    return found


def for_review(rows: pa.Table, thresholds: Thresholds) -> Bools:
    """Which rows are above the cut for review and no anomaly; none where there is no such cut."""
    scores, _ = scores_of(rows)
    found = np.zeros(rows.num_rows, dtype=bool)
    for value, places in parts(rows, thresholds):
        lower = thresholds[value].review_cut
        if lower is not None:
            found[places] = exceeds(scores[places], lower) & ~flag(scores[places], thresholds[value])
    return found


def scores_of(rows: pa.Table) -> tuple[Scores, Bools]:
    """The scores, NaN where there is none, and where there is none."""
    unscored = pc.not_equal(rows["status"], Status.SCORED.value).to_numpy(zero_copy_only=False)
    scores = rows["score"].to_numpy(zero_copy_only=False).astype(np.float32)
    return np.where(unscored, np.float32(np.nan), scores), unscored


def parts(rows: pa.Table, cuts: Thresholds | Cuts) -> Iterator[tuple[str, Places]]:
    """The key of each cut, and the rows that it judges."""
    if set(cuts) == {ALL}:
        yield ALL, np.arange(rows.num_rows, dtype=np.int64)
        return
    for value, places in rows_by_value(rows, GROUP).items():
        yield (value if value is not None and value in cuts else ALL), places
