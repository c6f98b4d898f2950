"""Flags of rows that are there already: the same as scoring gives, by group where groups have cuts of their own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae.assignment import ALL
from rayae.discoveries import p_values_of_ranks, ranks
from rayae.flags import Cut, anomalies, columns_of, flag_table
from rayae.threshold import conformal, fixed
from tests.unit.small_runs import CALIBRATION, THRESHOLD, finish, plan

NONE = np.empty(0, np.float32)


def rows_of(scores, groups=None):
    lost = [score is None for score in scores]
    return pa.table(
        {
            "image_id": pa.array(range(len(scores)), pa.int64()),
            "status": ["missing" if gone else "scored" for gone in lost],
            "score": pa.array(scores, pa.float32()),
            "group": pa.array(groups or [None] * len(scores), pa.string()),
        }
    )


def by_hand(cut, **more):
    return replace(fixed(cut, score="mse", bundle_id="b0", calibration=None), **more)


def test_the_cut_of_the_run_flags_as_scoring_did(tmp_path: Path) -> None:
    results = finish(plan(tmp_path)).results()
    table = flag_table(results, {ALL: Cut(THRESHOLD, CALIBRATION)})
    assert table.to_pylist() == results.select(["image_id", "score", "p_value", "is_anomaly"]).to_pylist()


def test_an_image_that_is_not_scored_keeps_its_row_and_is_not_judged():
    table = flag_table(rows_of([0.5, None]), {ALL: Cut(by_hand(0.1, review_cut=0.0), CALIBRATION)})
    assert table.to_pylist()[1] == dict.fromkeys(table.column_names, None) | {"image_id": 1}


def test_without_calibration_scores_there_are_flags_and_no_p_values():
    table = flag_table(rows_of([0.5, 0.05]), {ALL: Cut(by_hand(0.1), NONE)})
    assert table["p_value"].to_pylist() == [None, None]
    assert table["is_anomaly"].to_pylist() == [True, False]


@pytest.mark.parametrize("kind", ["simes", "dkw"])
def test_p_values_are_of_the_kind_that_was_asked(kind):
    scores = np.array([0.0005, 0.05, 0.5], np.float32)
    table = flag_table(rows_of(scores.tolist()), {ALL: Cut(THRESHOLD, CALIBRATION, kind)})
    expected = p_values_of_ranks(100, kind, 0.95)[ranks(scores, CALIBRATION) - 1]
    assert table["p_value"].to_pylist() == expected.tolist()


def test_the_band_for_review_is_above_its_cut_and_up_to_the_other():
    cut = by_hand(0.5, review_cut=0.25)
    table = flag_table(rows_of([0.25, 0.375, 0.5, 0.75]), {ALL: Cut(cut, NONE)})
    assert table["needs_review"].to_pylist() == [False, True, True, False]
    assert table["is_anomaly"].to_pylist() == [False, False, False, True]


def test_a_group_is_judged_by_its_own_cut_and_others_and_those_of_none_by_that_of_all():
    own = np.linspace(1, 2, 100, dtype=np.float32)
    cuts = {
        ALL: Cut(by_hand(0.5), CALIBRATION),
        "a": Cut(conformal(own, score="mse", alpha=0.05, bundle_id="b0"), own),
    }
    table = flag_table(rows_of([1.5, 1.5, 1.5, 3.0], ["a", "b", None, "a"]), cuts)
    assert table["is_anomaly"].to_pylist() == [False, True, True, True]
    assert table["p_value"].to_pylist() == [51 / 101, 1 / 101, 1 / 101, 1 / 101]


def test_groups_are_read_only_where_a_group_has_a_cut():
    assert columns_of({ALL: by_hand(0.5)}) == ("image_id", "status", "score")
    assert columns_of({ALL: by_hand(0.5), "a": by_hand(1)}) == ("image_id", "status", "score", "group")


def test_anomalies_are_strictly_above_the_cut():
    assert anomalies(
        rows_of([0.5, np.nextafter(np.float32(0.5), np.float32(1)), None]), {ALL: by_hand(0.5)}
    ).tolist() == [
        False,
        True,
        False,
    ]
