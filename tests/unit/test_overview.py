"""What a report asks of a run: the figures are those of numpy over all of its rows, and the rows are the right ones."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rayae import decisions
from rayae.assignment import ALL
from rayae.compaction import compact
from rayae.database import Database, opened
from rayae.decisions import Ruling
from rayae.flags import Cut
from rayae.overview import EXAMPLES, Judged, Overview, Tally
from rayae.run import Run
from rayae.threshold import fixed
from tests.unit.small_runs import CALIBRATION, THRESHOLD, finish, plan


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Ten images, of which image 5 is missing; their scores are 0.02 times their number; the cut is 0.096."""
    return finish(plan(tmp_path / "run", group=["a"] * 4 + ["b"] * 5 + [None]))


def overview(run: Run, decision: str | None = None) -> Overview:
    with opened([("main", run)]) as database:
        return Judged(database, decision).overview(THRESHOLD.cut)


def shown(run: Run, rows: int, highest: int, column: str | None = None, decision: str | None = None) -> pa.Table:
    with opened([("main", run)]) as database:
        return Judged(database, decision).shown(rows, highest, column)


def decide(run: Run, cut: float) -> str:
    """A decision whose cut is set by hand."""
    threshold = fixed(cut, score="mse", bundle_id="b" * 12, calibration=None)
    ruling = Ruling(run.record["fingerprint_hash"], "0" * 16, {"rule": "fixed", "cut": cut}, {ALL: threshold})
    counts = decisions.write_flags(run, ruling.id, {ALL: Cut(threshold, CALIBRATION)}, lambda: None)
    return decisions.commit(run, ruling, counts).id


def test_the_counts_are_those_of_the_rows(run: Run) -> None:
    found, rows = overview(run), run.results().to_pandas()
    assert found.by_status == {"scored": 9, "missing": 1}
    assert (found.images, found.scored, found.judged) == (10, 9, 9)
    assert found.flagged == rows["is_anomaly"].fillna(False).sum() == 4
    assert found.bundle_ids == ("b" * 12,)
    assert found.examples == {"missing": (("/data/5.png", "There is no such file."),)}
    assert found.has_labels


def test_groups_are_counted_and_images_without_one_are_none_of_them(run: Run) -> None:
    found = overview(run)
    assert found.groups == (Tally("b", 5, 4, 4, 3), Tally("a", 4, 4, 4, 0))
    assert found.group_count == 2


def test_the_flags_of_a_decision_take_the_place_of_those_of_the_run(run: Run) -> None:
    decision = decide(run, 0.03)
    found = overview(run, decision)
    assert (found.flagged, found.judged, overview(run).flagged) == (7, 9, 4)
    assert found.groups == (Tally("b", 5, 4, 4, 4), Tally("a", 4, 4, 4, 2))
    assert shown(run, 100, 0, decision=decision)["image_id"].to_pylist() == [9, 8, 7, 6, 4, 3, 2]


def test_a_decision_made_before_a_compaction_keeps_its_flags_with_their_images(run: Run) -> None:
    decision = decide(run, 0.03)
    compact(run, 1024**2, lambda: None)
    assert shown(run, 100, 0, decision=decision)["image_id"].to_pylist() == [9, 8, 7, 6, 4, 3, 2]


def test_scores_are_counted_exactly_where_they_differ_by_more_than_a_bin(run: Run) -> None:
    scores = run.results()["score"].drop_null().to_numpy().astype(np.float64)
    found = overview(run).scores
    assert found.values.tolist() == sorted(scores)
    assert found.counts.tolist() == [1] * 9


def judged(table: pa.Table) -> Judged:
    connection = duckdb.connect(":memory:")
    connection.register("results", table)
    return Judged(Database(connection, {}))


def rows_with(scores: np.ndarray, **columns: object) -> pa.Table:
    count = len(scores)
    frame = {
        "image_id": np.arange(count),
        "uri": [f"/{row}.png" for row in range(count)],
        "label": pa.nulls(count, pa.string()),
        "group": pa.nulls(count, pa.string()),
        "status": ["scored"] * count,
        "error": pa.nulls(count, pa.string()),
        "score": pa.array(scores, pa.float32()),
        "p_value": pa.nulls(count, pa.float64()),
        "is_anomaly": pa.array(scores > 0.3),
        "bundle_id": ["b"] * count,
    }
    return pa.table(frame | columns)


def test_many_scores_become_few_that_lie_near_them_and_on_their_side_of_the_cut() -> None:
    scores = np.random.default_rng(3).lognormal(-1, 1.5, 200_000).astype(np.float32)
    scores[:3] = [0.0, -0.25, np.float32(0.3)]
    cut = float(scores[77])
    found = judged(rows_with(scores)).overview(cut).scores
    assert len(found.values) < 45_000
    assert found.total == len(scores)
    assert found.above(cut).total == (scores > cut).sum()
    ordered = np.sort(scores).astype(np.float64)
    counted = np.repeat(found.values, found.counts)
    assert np.abs(counted - ordered).max() <= (np.abs(ordered) / 2000).max()
    assert (np.abs(counted - ordered) <= np.abs(ordered) / 2000 + 1e-12).all()


def test_scores_that_are_no_numbers_are_not_counted() -> None:
    found = judged(rows_with(np.array([np.nan, np.inf, 0.5], np.float32))).overview(None).scores
    assert found.values.tolist() == [0.5]


def test_of_equal_scores_the_first_in_the_manifest_are_shown() -> None:
    found = judged(rows_with(np.array([0.5, 0.9, 0.5, 0.5], np.float32))).shown(3, 0, None)
    assert found["image_id"].to_pylist() == [1, 0, 2]


def test_where_few_are_flagged_others_of_the_highest_scores_are_shown(run: Run) -> None:
    assert shown(run, 100, 6)["image_id"].to_pylist() == [9, 8, 7, 6, 4, 3]
    assert shown(run, 100, 2)["image_id"].to_pylist() == [9, 8, 7, 6]
    assert shown(run, 3, 2)["image_id"].to_pylist() == [9, 8, 7]
    assert shown(run, 0, 2).num_rows == 0


def test_of_products_the_highest_of_each_come_in_turn() -> None:
    scores = np.array([0.9, 0.8, 0.7, 0.4, 0.35, 0.1], np.float32)
    table = rows_with(scores, product=["x", "x", "x", "y", "y", "y"])
    found = judged(table).shown(100, 6, "product")
    assert found["image_id"].to_pylist() == [0, 3, 1, 4, 2, 5]
    assert found["product"].to_pylist() == ["x", "y", "x", "y", "x", "y"]


def test_the_first_failed_images_of_each_status_are_named() -> None:
    scores = np.full(9, np.nan, np.float32)
    table = rows_with(scores, status=["empty"] * 8 + ["missing"], error=[f"e{row}" for row in range(9)])
    table = table.take(list(reversed(range(9))))
    found = judged(table).overview(None)
    assert found.examples["empty"] == tuple((f"/{row}.png", f"e{row}") for row in range(EXAMPLES))
    assert found.examples["missing"] == (("/8.png", "e8"),)
    assert found.by_status == {"scored": 0, "empty": 8, "missing": 1}


def test_of_very_many_groups_those_with_most_flags_are_counted() -> None:
    scores = np.zeros(3000, np.float32)
    scores[-20:] = 1
    table = rows_with(scores, group=[f"g{row // 2}" for row in range(3000)])
    found = judged(table).overview(None)
    assert found.group_count == 1500
    assert [group.flagged for group in found.groups[:11]] == [2] * 10 + [0]
    expected = pd.Series(scores > 0.3).groupby(np.arange(3000) // 2).sum()
    assert sum(group.flagged for group in found.groups) == expected.sum()
