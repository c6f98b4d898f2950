"""The survey: exact counts of all rows, in any order of the files; labels with their groups."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae.cli import main
from rayae.discoveries import histogram
from rayae.errors import DataError
from rayae.survey import digest_of, survey
from tests.unit.small_runs import CALIBRATION, finish, plan, scored, write_chunk


def test_it_counts_what_all_rows_together_say(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    found = survey(run, CALIBRATION, labels=True)
    scores = run.results(["score"])["score"].drop_null().to_numpy()
    assert (found.images, found.scored) == (10, 9)
    assert found.ranks.tolist() == histogram(scores, CALIBRATION).tolist()
    assert found.labelled.normals.tolist() == scores[[0, 3, 5, 8]].tolist()  # images 0, 3, 6, 9; 5 has no score
    assert found.labelled.defects.tolist() == scores[[2, 7]].tolist()  # images 2 and 8


def test_it_is_the_same_in_another_order_of_the_rows(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    before = survey(run, CALIBRATION, labels=True)
    assert main(["compact", run.uri]) == 0
    after = survey(run, CALIBRATION, labels=True)
    assert (after.digest, after.scored) == (before.digest, before.scored)
    assert after.ranks.tolist() == before.ranks.tolist()
    assert after.labelled.scores.tolist() == before.labelled.scores.tolist()
    assert after.labelled.keys.tolist() == before.labelled.keys.tolist()


def test_the_digest_tells_another_score_and_another_image() -> None:
    rows = {"image_id": pa.array([0, 1, 2]), "score": pa.array([0.5, None, 0.25], pa.float32())}
    whole = digest_of(pa.table(rows))
    assert digest_of(pa.table(rows).take([2, 0, 1])) == whole
    others = [rows | {"score": pa.array(new, pa.float32())} for new in ([0.5, None, 0.5], [None, 0.5, 0.25])]
    assert len({whole, *(digest_of(pa.table(other)) for other in others)}) == 3


def test_images_that_are_left_out_are_counted(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    found = survey(run, CALIBRATION, labels=True, leave_out=frozenset(["/data/0.png", "/data/1.png"]))
    assert found.left_out == 1  # the other one has no label
    assert len(found.labelled.scores) == 5


def test_all_images_of_a_group_that_is_left_out_are(tmp_path: Path) -> None:
    run = finish(plan(tmp_path, group=pa.array([f"g{row // 4}" for row in range(10)])))
    found = survey(run, CALIBRATION, labels=True, leave_out_groups=frozenset(["g0"]))
    assert (found.left_out, len(found.labelled.scores)) == (3, 3)  # of 0 to 3 one has no label, and 5 has no score


def test_images_of_a_group_have_one_key(tmp_path: Path) -> None:
    run = finish(plan(tmp_path, group=pa.array([f"g{row // 4}" for row in range(10)])))
    found = survey(run, CALIBRATION, labels=True).labelled
    assert len(set(found.keys.tolist())) == 3


def test_a_scored_image_without_a_finite_score_is_refused(tmp_path: Path) -> None:
    run = plan(tmp_path)
    table = scored(run, run.chunks[0])
    broken = table["score"].to_numpy(zero_copy_only=False).copy()
    broken[1] = np.inf
    place = table.column_names.index("score")
    write_chunk(run, run.chunks[0], table.set_column(place, "score", pa.array(broken, pa.float32())))
    finish(run)
    with pytest.raises(DataError, match=r"^1 scored images of a file have no finite score, .*\.$"):
        survey(run, CALIBRATION, labels=False)
