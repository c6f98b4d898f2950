"""What other cuts would do: the figures are scikit-learn's, and a cut flags what is strictly above it."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from rayae.statistics import clopper_pearson
from rayae.trade_off import POINTS, trade_off


def test_precision_and_recall_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 25, 80).astype(np.float32)  # with many ties
    defect = rng.random(80) < 0.3
    precision, recall, thresholds = precision_recall_curve(defect, scores)
    found = trade_off(scores, defect, 0.95)
    # scikit-learn's thresholds flag what is at or above them: those above a score are at or above the next one
    expected = np.column_stack([thresholds[:-1], precision[1:-1], recall[1:-1]])[::-1]
    assert np.array([(one.cut, one.precision.value, one.recall.value) for one in found]) == pytest.approx(expected)


def test_the_golden_errors_have_their_cut() -> None:
    scores = np.array([0.002, 0.0015, 0.005, 0.0008, 0.007], np.float32)
    defect = np.array([False, False, True, False, True])
    strictest, second, *_ = trade_off(scores, defect, 0.95)
    assert (strictest.precision.value, strictest.recall.value) == (1.0, 0.5)
    assert second.cut == float(np.float32(0.002))
    assert (second.precision.value, second.recall.value, second.false_positive_rate.value) == (1.0, 1.0, 0.0)
    assert (second.recall.low, second.recall.high) == clopper_pearson(2, 2, 0.95)


def test_without_both_classes_or_different_scores_there_is_none() -> None:
    scores = np.array([0.1, 0.2], np.float32)
    assert trade_off(scores, np.array([True, True]), 0.95) == ()
    assert trade_off(scores, np.array([False, False]), 0.95) == ()
    assert trade_off(np.full(2, 0.1, np.float32), np.array([True, False]), 0.95) == ()
    assert trade_off(scores[:0], np.zeros(0, bool), 0.95) == ()


def test_of_many_scores_a_hundred_cuts_are_told_dense_at_the_top() -> None:
    scores = np.random.default_rng(0).random(5000).astype(np.float32)
    found = trade_off(scores, scores > 0.5, 0.95)
    cuts = [point.cut for point in found]
    assert len(found) <= POINTS
    assert cuts == sorted(cuts, reverse=True)
    assert cuts[:5] == np.sort(scores)[-2:-7:-1].astype(np.float64).tolist()
