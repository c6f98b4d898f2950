"""Recall at false-positive rates against scikit-learn's ROC curve; F1 and its interval; what cannot be resolved."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_curve

from rayae.operating_points import Resampling, f1, normals_needed, recall_of, recalls
from rayae.statistics import Ranking, resample
from rayae.threshold import exceeds

HOW = Resampling(None, 0.95, 200, 0)


def drawn(normals=400, defects=60, shift=2.0, seed=0, step=0.0):
    generator = np.random.default_rng(seed)
    positive = np.arange(normals + defects) < defects
    scores = (generator.normal(size=len(positive)) + shift * positive).astype(np.float32)
    return (np.float32(step) * np.round(scores / np.float32(step)) if step else scores), positive


def by_scikit_learn(scores, positive, rate):
    fpr, tpr, _ = roc_curve(positive, scores, drop_intermediate=False)
    return tpr[fpr <= rate + 1e-12].max()


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_recall_at_a_rate_is_the_highest_of_the_roc_curve_that_keeps_to_it(step):
    scores, positive = drawn(normals=2000, step=step)
    for point in recalls(scores, positive, HOW):
        assert point.recall.value == pytest.approx(by_scikit_learn(scores, positive, point.false_positive_rate))
        assert point.recall.low <= point.recall.value <= point.recall.high


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60).filter(
        lambda rows: len({hit for _, hit in rows}) == 2
    ),
    st.sampled_from([0.05, 0.1, 0.25, 0.5]),
)
def test_with_ties_the_cut_gives_that_recall_and_keeps_to_the_rate(rows, rate):
    scores = np.array([score for score, _ in rows], np.float32)
    positive = np.array([hit for _, hit in rows])
    (point,) = recalls(scores, positive, Resampling(None, 0.95, 100, 0), [rate])
    if point.cut is None:
        assert (~positive).sum() < 1 / rate
        return
    flagged = exceeds(scores, point.cut)
    assert flagged[~positive].mean() <= rate
    assert flagged[positive].mean() == point.recall.value == by_scikit_learn(scores, positive, rate)


def test_a_rate_that_the_normals_cannot_resolve_has_no_recall_and_says_how_many_it_takes():
    scores, positive = drawn(normals=150)
    found = recalls(scores, positive, HOW)
    assert [point.recall.value is None for point in found] == [True, False, False]
    assert found[0].recall.reason == (
        "No recall at a false-positive rate of 0.1 %: it takes 1,000 unseen normal images to resolve it, and there are "
        "150."
    )
    assert [normals_needed(rate) for rate in (0.001, 0.01, 0.05)] == [1000, 100, 20]


def test_a_hundred_normals_resolve_one_percent_and_ninety_nine_do_not():
    scores = np.array([*range(100), 97.5], np.float32)
    positive = np.arange(101) == 100
    (point,) = recalls(scores, positive, HOW, [0.01])
    assert (point.cut, point.recall.value) == (98.0, 0.0)
    assert recalls(scores[1:], positive[1:], HOW, [0.01])[0].cut is None


def test_a_defect_above_all_normals_but_one_is_found_at_the_rate_that_allows_one():
    scores = np.array([*range(20), 18.5], np.float32)
    (point,) = recalls(scores, np.arange(21) == 20, HOW, [0.05])
    assert (point.cut, point.recall.value) == (18.0, 1.0)
    assert point.recall.reason == "No interval: it needs at least two images of each class."


def test_the_interval_of_recall_is_that_of_a_bootstrap_that_chooses_the_cut_anew():
    scores, positive = drawn(normals=100, defects=40)
    (point,) = recalls(scores, positive, HOW, [0.05])
    again = []
    for weights in resample(np.arange(140), 200, np.random.default_rng(0)):
        fpr, tpr, _ = roc_curve(positive, scores, sample_weight=weights, drop_intermediate=False)
        again.append(tpr[fpr <= 0.05 + 1e-9].max())
    assert (point.recall.low, point.recall.high) == pytest.approx(np.quantile(again, [0.025, 0.975]))


def test_with_groups_whole_groups_are_drawn():
    scores, positive = drawn()
    (point,) = recalls(scores, positive, Resampling(np.arange(460) % 46, 0.95, 200, 0), [0.05])
    assert point.recall.method == "bootstrap of 46 groups, 200 resamples"


def test_f1_is_that_of_scikit_learn_inside_its_interval():
    scores, positive = drawn(shift=3.0)
    flagged = scores > 1.5
    found = f1(flagged, positive, HOW)
    assert found.value == pytest.approx(f1_score(positive, flagged))
    assert found.low < found.value < found.high
    assert found.method == "bootstrap of images, 200 resamples"


def test_the_interval_of_f1_is_that_of_drawing_images_one_by_one():
    scores, positive = drawn(normals=150, defects=50)
    flagged = scores > 1.0
    found = f1(flagged, positive, Resampling(None, 0.95, 4000, 0))
    generator = np.random.default_rng(1)
    rows = [generator.integers(200, size=200) for _ in range(600)]
    again = np.quantile([f1_score(positive[row], flagged[row]) for row in rows], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(again, abs=0.02)


def test_the_interval_of_f1_counts_groups_where_there_are_some():
    groups = np.arange(400) // 10
    positive = np.arange(400) % 2 == 0
    flagged = positive ^ (groups % 3 == 0)
    by_group, by_image = (f1(flagged, positive, Resampling(own, 0.95, 2000, 0)) for own in (groups, None))
    assert by_group.value == by_image.value
    assert by_group.high - by_group.low > 1.5 * (by_image.high - by_image.low)
    assert by_group.method == "bootstrap of 40 groups, 2,000 resamples"


def test_a_single_defect_has_an_f1_without_an_interval():
    found = f1(np.array([True, True, False]), np.array([True, False, False]), HOW)
    assert (found.value, found.low) == (pytest.approx(2 / 3), None)
    assert found.reason == "No interval: it needs at least two images of each class."


def test_resamples_are_the_same_however_many_fit_into_memory(monkeypatch):
    scores, positive = drawn(normals=100, defects=40)
    whole = recalls(scores, positive, HOW, [0.05])
    monkeypatch.setattr("rayae.operating_points.MAX_CELLS", 300)
    assert recalls(scores, positive, HOW, [0.05]) == whole


def test_recall_of_weights_is_that_of_rows_repeated_as_often():
    scores, positive = drawn(normals=60, defects=20)
    weights = np.random.default_rng(0).integers(0, 3, size=(1, 80)).astype(np.float64)
    rows = np.repeat(np.arange(80), weights[0].astype(int))
    _, found = recall_of(Ranking(scores, positive), weights, [0.1])
    assert found[0, 0] == pytest.approx(by_scikit_learn(scores[rows], positive[rows], 0.1))
