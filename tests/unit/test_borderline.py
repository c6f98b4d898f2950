"""The images nearest to a cut: of both sides, whatever the order of the files, each with its place on the page."""

from pathlib import Path

import numpy as np
import pytest

from rayae.assignment import ALL
from rayae.borderline import compose, nearest
from rayae.compaction import compact
from rayae.flags import Cut
from rayae.page import render
from rayae.report import WorstPicture
from rayae.run import Run
from rayae.threshold import HIGHEST, fixed
from tests.unit.small_runs import CALIBRATION, finish, plan
from tests.unit.test_report import HOSTILE, Seen


def cut_at(value):
    return Cut(fixed(value, score="mse", bundle_id="b0", calibration=None), CALIBRATION)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def sides(run, cuts, each):
    rows = nearest(run, cuts, each).to_pylist()
    return [[row["image_id"] for row in rows if row["is_anomaly"] is side] for side in (True, False)]


def test_they_are_the_nearest_of_each_side_the_nearest_first(run: Run):
    # scores are 0.02 times the number of the image; image 5 has none
    assert sides(run, {ALL: cut_at(0.13)}, 2) == [[7, 8], [6, 4]]
    assert sides(run, {ALL: cut_at(0.13)}, 9) == [[7, 8, 9], [6, 4, 3, 2, 1, 0]]


def test_the_order_of_the_files_does_not_matter_and_ties_go_to_the_first_image(tmp_path: Path):
    run = finish(plan(tmp_path / "run"))
    before = nearest(run, {ALL: cut_at(0.09)}, 2).to_pylist()
    compact(run, 1024**2, lambda: None)
    assert nearest(run, {ALL: cut_at(0.09)}, 2).to_pylist() == before


def test_where_no_cut_flags_anything_the_highest_scores_are_nearest(run: Run):
    assert sides(run, {ALL: cut_at(HIGHEST)}, 3) == [[], [9, 8, 7]]


def test_an_image_is_as_near_as_to_the_cut_of_its_group(tmp_path: Path):
    groups = ["a" if number < 5 else "b" for number in range(10)]
    run = finish(plan(tmp_path / "run", group=groups))
    assert sides(run, {ALL: cut_at(0.15), "a": cut_at(0.025)}, 2) == [[8, 2], [1, 7]]


def test_a_row_says_what_its_card_needs(run: Run):
    row = nearest(run, {ALL: cut_at(0.17)}, 1).to_pylist()[0]
    known = {"image_id": 9, "uri": "/data/9.png", "label": "good", "p_value": 1 / 101, "is_anomaly": True}
    assert row == known | {"score": pytest.approx(0.18)}


def page_of(run, pictures=None, notes=()):
    rows = nearest(run, {ALL: cut_at(0.13)}, 2)
    own = pictures or [WorstPicture(row["image_id"], row["uri"]) for row in rows.to_pylist()]
    return render(compose(run.uri, "abc", cut_at(0.13).threshold, rows, own, notes))


def test_an_image_that_cannot_be_shown_keeps_its_place_with_a_reason(run: Run):
    grey = np.full((4, 4, 1), 90, np.uint8)
    shown = [
        WorstPicture(7, "/data/7.png", grey, grey, np.ones((4, 4))),
        WorstPicture(8, "/data/8.png", reason="It could not be read again: it is gone."),
        WorstPicture(6, "/data/6.png", grey, grey, np.zeros((4, 4))),
        WorstPicture(4, "/data/4.png"),
    ]
    seen = Seen(page_of(run, shown))
    text = " ".join(seen.text.split())
    assert text.index("/data/7.png") < text.index("It could not be read again: it is gone.") < text.index("/data/8.png")
    assert text.index("/data/8.png") < text.index("Not flagged, the nearest first") < text.index("/data/6.png")
    assert [name for name, _ in seen.elements].count("img") == 6


def test_names_and_notes_from_outside_are_text_on_the_page(tmp_path: Path):
    run = finish(plan(tmp_path / "run", uri=[*HOSTILE, "last.png"], label=[*HOSTILE, "last"]))
    seen = Seen(page_of(run, notes=HOSTILE))
    assert not {name for name, _ in seen.elements} & {"script", "link", "iframe"}
    assert [name for name, _ in seen.elements].count("img") == 0


def test_a_side_without_images_says_so(tmp_path: Path):
    run = finish(plan(tmp_path / "run"))
    rows = nearest(run, {ALL: cut_at(1.0)}, 1)
    pictures = [WorstPicture(row["image_id"], row["uri"]) for row in rows.to_pylist()]
    assert "There are none." in render(compose(run.uri, "abc", cut_at(1.0).threshold, rows, pictures, ()))
