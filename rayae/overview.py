"""Home of what a report asks of a run of any size: counts, its scores counted, and the few rows that it shows.

Everything is asked of the tables of `database`, so that what is in memory does not grow with the rows of the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rayae.database import Database, identifier, quoted
from rayae.histogram import Counted
from rayae.results import Status

EXAMPLES = 5
"""Images that are named for each status of failed ones."""
BINS_AN_OCTAVE = 2048
"""Scores that differ by less than a part in 3,000 are counted together, at their mean: 10^8 become some thousands."""
GROUPS = 1000
"""Groups that are counted: those in which most is flagged."""
SHOWN = ("image_id", "uri", "label", "group", "score", "p_value", "is_anomaly")
"""The columns of rows that are shown."""


@dataclass(frozen=True)
class Tally:
    """How many images of a group, or of a value of another column, there are, are scored, judged and flagged."""

    value: str | None
    images: int
    scored: int
    judged: int
    flagged: int


@dataclass(frozen=True)
class Overview:
    """The figures of a run, or of a decision about it."""

    by_status: Mapping[str, int]
    """`scored` first, then from the most frequent down."""
    scored: int
    judged: int
    """Those that carry a flag, true or false."""
    flagged: int
    scores: Counted
    bundle_ids: tuple[str, ...]
    examples: Mapping[str, tuple[tuple[str, str | None], ...]]
    """Of each status of failed images the first in the manifest: URI and sentence."""
    groups: tuple[Tally, ...]
    group_count: int
    """Groups that there are, when more than were counted."""
    has_labels: bool

    @property
    def images(self) -> int:
        return sum(self.by_status.values())


@dataclass(frozen=True)
class Judged:
    """The result rows of a run with the flags of one of its decisions, or with their own."""

    database: Database
    decision: str | None = None

    @property
    def table(self) -> str:
        """What stands after FROM."""
        if self.decision is None:
            return "results"
        return (
            "(SELECT results.* REPLACE (own.p_value AS p_value, own.is_anomaly AS is_anomaly) FROM results LEFT JOIN "
            f"(SELECT image_id, p_value, is_anomaly FROM flags WHERE decision = {quoted(self.decision)}) own "
            "USING (image_id))"
        )

    def overview(self, cut: float | None) -> Overview:
        """All figures; scores on different sides of the cut are never counted together."""
        found = self.tallies("status")
        by_status = {str(tally.value): tally.images for tally in found}
        groups = [tally for tally in self.tallies("group") if tally.value is not None]
        labels, ids = self._facts()
        return Overview(
            by_status={Status.SCORED.value: 0} | by_status,
            scored=sum(tally.scored for tally in found),
            judged=sum(tally.judged for tally in found),
            flagged=sum(tally.flagged for tally in found),
            scores=self.scores(cut),
            bundle_ids=ids,
            examples=self._examples(),
            groups=tuple(groups),
            group_count=self._group_count() if len(groups) >= GROUPS - 1 else len(groups),
            has_labels=labels,
        )

    def tallies(self, column: str) -> list[Tally]:
        """Counts by the value of a column, those of most flagged images first, then of most images; GROUPS at most."""
        rows = self.database.table(
            f"SELECT {identifier(column)}::VARCHAR AS value, count(*) AS images, count(score) AS scored, "
            f"count(is_anomaly) AS judged, count(*) FILTER (WHERE is_anomaly) AS flagged FROM {self.table} "
            f"GROUP BY value ORDER BY flagged DESC, images DESC, value NULLS LAST LIMIT {GROUPS}"
        )
        return [Tally(**row) for row in rows.to_pylist()]

    def shown(self, rows: int, highest: int, column: str | None) -> pa.Table:
        """The rows to show: the flagged ones, and others up to `highest`, by score from the highest down.

        `rows` at most; of equal scores the first in the manifest. With a `column` the highest of each of its values
        come first, then the second of each, and so on, since their scores are not on one scale.
        """
        value = "NULL" if column is None else f"{identifier(column)}::VARCHAR"
        own = "PARTITION BY value ORDER BY flagged DESC, score DESC, image_id"
        place = "0" if column is None else f"row_number() OVER ({own})"
        ranked = (
            f"SELECT image_id, flagged, score, value, {place} AS place FROM (SELECT image_id, score, {value} AS value, "
            f"coalesce(is_anomaly, false) AS flagged FROM {self.table} WHERE isfinite(score))"
        )
        order = "flagged DESC, place, value, score DESC, image_id"
        found = self.database.table(f"SELECT image_id, flagged FROM ({ranked}) ORDER BY {order} LIMIT {rows}")
        pairs = zip(found["image_id"].to_pylist(), found["flagged"].to_pylist(), strict=True)
        return self._rows(
            [image_id for row, (image_id, flagged) in enumerate(pairs) if flagged or row < highest], column
        )

    def _rows(self, image_ids: list[int], column: str | None) -> pa.Table:
        """What is shown of these images, in their order."""
        names = dict.fromkeys([*SHOWN, *([] if column is None else [column])])
        listed = ", ".join(map(str, image_ids)) or "NULL"
        rows = self.database.table(
            f"SELECT {', '.join(map(identifier, names))} FROM {self.table} WHERE image_id IN ({listed})"
        )
        places = {image_id: place for place, image_id in enumerate(rows["image_id"].to_pylist())}
        return rows.take(pa.array([places[image_id] for image_id in image_ids], pa.int64()))

    def scores(self, cut: float | None, column: str | None = None, value: str | None = None) -> Counted:
        """The scores, all or those of the rows that have a value in a column; those on both sides of a cut apart."""
        own = "" if column is None or value is None else f" AND {identifier(column)}::VARCHAR = {quoted(value)}"
        above = "false" if cut is None else f"score > CAST('{np.float32(cut)!s}' AS FLOAT)"
        size = f"CASE WHEN score = 0 THEN 0 ELSE floor(log2(abs(score::DOUBLE)) * {BINS_AN_OCTAVE}) END"
        rows = self.database.table(
            f"SELECT avg(score::DOUBLE) AS value, count(*) AS images FROM results WHERE isfinite(score){own} "
            f"GROUP BY {above}, sign(score), {size} ORDER BY value"
        )
        return Counted(rows["value"].to_numpy(), rows["images"].to_numpy())

    def _examples(self) -> dict[str, tuple[tuple[str, str | None], ...]]:
        rows = self.database.table(
            f"SELECT status, arg_min({{'uri': uri, 'error': error}}, image_id, {EXAMPLES}) AS first FROM results "
            f"WHERE status <> {quoted(Status.SCORED)} GROUP BY status"
        )
        pairs = ((row["status"], row["first"]) for row in rows.to_pylist())
        return {status: tuple((one["uri"], one["error"]) for one in first) for status, first in pairs}

    def _facts(self) -> tuple[bool, tuple[str, ...]]:
        """Whether there are labels, and the ids of the bundles, in order."""
        (row,) = self.database.table(
            "SELECT count(label) > 0 AS labels, list_sort(list(DISTINCT bundle_id)) AS ids FROM results"
        ).to_pylist()
        return bool(row["labels"]), tuple(name for name in row["ids"] or () if name is not None)

    def _group_count(self) -> int:
        counted = self.database.table('SELECT count(DISTINCT "group") AS groups FROM results')
        return int(counted["groups"][0].as_py())
