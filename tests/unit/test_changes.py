"""The change between two sets of cuts: who is newly flagged, who released, by label."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rayae.assignment import ALL
from rayae.changes import count_changes, write_changes
from rayae.run import Run
from rayae.threshold import fixed
from tests.unit.small_runs import finish, plan


def cut_at(value):
    return {ALL: fixed(value, score="mse", bundle_id="b0", calibration=None)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def changes(run, before, after):
    uri = f"{run.uri}/changes.parquet"
    write_changes(run, uri, before, after)
    rows = pq.read_table(uri).to_pylist()
    return [(row["image_id"], row["change"]) for row in rows], count_changes(uri)


def test_a_lower_cut_flags_more_and_a_higher_one_releases_them(run: Run):
    # scores are 0.02 times the number of the image; image 5 has none; labels are good, none, scratch in turn
    flagged, counts = changes(run, cut_at(0.15), cut_at(0.05))
    assert flagged == [(number, "newly flagged") for number in (3, 4, 6, 7)]
    assert counts == {"good": {"newly flagged": 2}, None: {"newly flagged": 2}}
    assert list(counts) == ["good", None]
    released, counts = changes(run, cut_at(0.05), cut_at(0.17))
    assert released == [(number, "released") for number in (3, 4, 6, 7, 8)]
    assert counts["scratch"] == {"released": 1}


def test_a_row_says_what_a_person_needs_to_find_the_image(run: Run):
    write_changes(run, f"{run.uri}/changes.parquet", cut_at(0.17), cut_at(0.15))
    assert pq.read_table(f"{run.uri}/changes.parquet").to_pylist() == [
        {
            "image_id": 8,
            "uri": "/data/8.png",
            "label": "scratch",
            "group": None,
            "score": pytest.approx(0.16),
            "change": "newly flagged",
        }
    ]


def test_the_same_cuts_change_nothing_and_the_file_is_there(run: Run):
    assert changes(run, cut_at(0.1), cut_at(0.1)) == ([], {})


def test_cuts_of_groups_are_compared_with_one_for_all(tmp_path: Path):
    groups = ["a" if number < 5 else "b" for number in range(10)]
    run = finish(plan(tmp_path / "run", group=groups))
    rows, _ = changes(run, cut_at(0.1), cut_at(0.1) | {"a": cut_at(0.05)[ALL]})
    assert rows == [(3, "newly flagged"), (4, "newly flagged")]
