"""Floors: ranked as scikit-learn does, in the better direction, and held against the score in the same resamples."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from rayae.floors import FLOOR_COLUMNS, Held, find_floors, without_floors
from rayae.score_names import SCORE_NAMES, UNTRAINED_SCORES
from rayae.statistics import Figure, resample

GROUPS = np.repeat(np.arange(15), 8)
POSITIVE = np.random.default_rng(3).random(120) < 0.4
RESAMPLES = 150


def columns(seed=0):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=120) + shift * POSITIVE for name, shift in zip(FLOOR_COLUMNS, SHIFTS, strict=True)}


SHIFTS = (-1.5, 0.3, -0.3, 0.0, 1.0, 0.7, 1.2, 0.2, 0.4, 0.9)


def held(groups=GROUPS, primary="mse", strength=1.5):
    values = np.random.default_rng(9).normal(size=120) + strength * POSITIVE
    return Held(primary, values.astype(np.float32), POSITIVE, groups, 0.95, RESAMPLES, 4)


def by_name(floors):
    return {floor.name: floor for floor in floors.all}


def turned(name, values):
    """Only a trivial statistic is ranked in whichever direction is better."""
    free = name not in SCORE_NAMES and roc_auc_score(POSITIVE, values) < 0.5
    return -values if free else values


def test_each_floor_is_ranked_as_scikit_learn_does():
    found = by_name(find_floors(held(), columns()))
    assert list(found) == list(FLOOR_COLUMNS)
    for name, values in columns().items():
        assert found[name].auroc.value == pytest.approx(roc_auc_score(POSITIVE, turned(name, values)), abs=1e-12)
        precision = average_precision_score(POSITIVE, turned(name, values))
        assert found[name].average_precision.value == pytest.approx(precision, abs=1e-12)
    assert "defects smaller" in found["size_bytes"].title
    assert found["component_mse"].title == "component_mse"


def test_a_score_that_ranks_defects_lower_is_not_turned_round():
    given = columns() | dict.fromkeys(UNTRAINED_SCORES, -3.0 * POSITIVE)
    found = by_name(find_floors(held(), given))
    assert {found[name].auroc.value for name in UNTRAINED_SCORES} == {0.0}


def test_the_lead_is_taken_in_each_resample_of_groups():
    mine = held()
    weights = resample(GROUPS, RESAMPLES, np.random.default_rng(mine.seed))
    found = by_name(find_floors(mine, columns()))
    for name in ("size_bytes", "component_worst1", "nearest_distance"):
        floor = found[name]
        other = turned(name, columns()[name])
        areas = [
            [roc_auc_score(POSITIVE, values, sample_weight=row) for values in (mine.values, other)] for row in weights
        ]
        apart = np.subtract(*np.transpose(areas))
        assert floor.lead.value == pytest.approx(
            roc_auc_score(POSITIVE, mine.values) - roc_auc_score(POSITIVE, other), abs=1e-12
        )
        assert (floor.lead.low, floor.lead.high) == pytest.approx(tuple(np.quantile(apart, [0.025, 0.975])), abs=1e-9)
        assert floor.is_beaten == (floor.lead.low > 0)
    assert {floor.is_beaten for floor in find_floors(mine, columns()).all} == {True, False}


@pytest.mark.parametrize("groups", [GROUPS, None], ids=["groups", "images"])
def test_a_floor_that_is_nearly_the_score_is_told_apart_by_the_paired_interval(groups):
    mine = held(groups)
    ahead = mine.values + 0.0
    ahead[np.flatnonzero(~POSITIVE)] += np.where(np.arange(int((~POSITIVE).sum())) % 3 == 0, 1.0, 0.0)
    floor = by_name(find_floors(mine, columns() | {"component_mse": ahead}))["component_mse"]
    assert floor.auroc.high > roc_auc_score(POSITIVE, mine.values)  # by its own interval it might be as good
    assert floor.is_beaten


def test_the_same_column_is_not_beaten():
    mine = held()
    floor = by_name(find_floors(mine, columns() | {"component_mse": mine.values}))["component_mse"]
    assert (floor.lead.value, floor.lead.low, floor.is_beaten) == (0.0, None, False)


def test_without_an_interval_nobody_can_say_whether_a_floor_is_beaten():
    positive = np.array([False, False, False, True])
    mine = Held("mse", np.arange(4.0), positive, None, 0.95, RESAMPLES, 0)
    found = by_name(find_floors(mine, {"size_bytes": np.array([1.0, 3, 4, 2]), "pixel_mean": np.arange(4.0)}))
    assert (found["size_bytes"].lead.value, found["size_bytes"].is_beaten) == (pytest.approx(1 / 3), None)
    assert (found["pixel_mean"].lead.value, found["pixel_mean"].is_beaten) == (0.0, False)
    assert found["size_bytes"].lead.reason == "No interval: it needs at least two images of each class."


def test_a_column_that_is_known_of_some_is_compared_on_these():
    mine, known = held(), np.arange(120) % 5 != 0
    given = columns() | {"size_bytes": np.where(known, columns()["size_bytes"], np.nan)}
    floor = by_name(find_floors(mine, given))["size_bytes"]
    score, other = (
        roc_auc_score(POSITIVE[known], mine.values[known]),
        1 - roc_auc_score(POSITIVE[known], given["size_bytes"][known]),
    )
    assert floor.auroc.value == pytest.approx(other, abs=1e-12)
    assert floor.lead.value == pytest.approx(score - other, abs=1e-12)
    assert floor.auroc.method.startswith("defects taken to be smaller, of the 96 images whose file size is known / ")


def test_flagging_everything_and_a_random_order_are_floors():
    floors = find_floors(held(), columns())
    assert floors.f1_flag_everything.value == pytest.approx(f1_score(POSITIVE, [True] * 120))
    assert floors.average_precision_random.value == pytest.approx(POSITIVE.mean())


def test_the_primary_score_is_no_floor_of_itself():
    floors = find_floors(held(primary="nearest_distance"), columns())
    assert floors.nearest == ()
    assert "the nearest training image" not in floors.best


def test_the_best_of_each_kind_is_that_with_the_highest_auroc():
    floors = find_floors(held(), columns())
    assert [(kind, floor.name) for kind, floor in floors.best.items()] == [
        ("the best trivial statistic", "size_bytes"),
        ("the best score by principal components", "component_worst1"),
        ("the nearest training image", "nearest_distance"),
    ]


def test_images_that_cannot_be_ranked_have_no_floor_and_a_reason():
    floors = without_floors("No defect.")
    missing = Figure(None, reason="No defect.")
    assert floors.f1_flag_everything == floors.average_precision_random == missing
    assert [(one.auroc, one.lead, one.is_beaten) for one in floors.all] == [(missing, missing, None)] * 10
    assert floors.best == {}
