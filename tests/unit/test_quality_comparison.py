"""Figures over folds: held against scikit-learn on pictures that are written out as often as they are drawn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.quality import comparison
from benchmarks.quality.comparison import compare, draw, point


@pytest.fixture
def pictures():
    """Defects, folds and clusters of 300 pictures in 30 groups, of which each fold has some."""
    rng = np.random.default_rng(0)
    clusters = np.arange(30).repeat(10)
    return rng.random(300) < 0.4, clusters % 3, clusters


def made_up(positive, clusters, strength, seed=0):
    """A score that tells defects to some degree, with what its group adds to all of its pictures."""
    rng = np.random.default_rng(seed)
    return positive * strength + rng.normal(size=len(positive)) + rng.normal(size=30)[clusters] * 0.5


def slow_mean(scores, positive, folds, times):
    """Mean AUROC over the folds with each picture written out as often as it is drawn."""
    rows = np.repeat(np.arange(len(scores)), times)
    return np.mean([roc_auc_score(positive[some], scores[some]) for some in (rows[folds[rows] == f] for f in range(3))])


def test_the_point_is_the_mean_of_scikit_learns_auroc_over_the_folds(pictures):
    positive, folds, clusters = pictures
    scores = made_up(positive, clusters, 1.0)
    expected = slow_mean(scores, positive, folds, np.ones(300, int))
    assert point(scores, positive, folds) == pytest.approx(expected, abs=1e-12)


def test_scores_of_two_folds_are_never_compared(pictures):
    positive, folds, clusters = pictures
    scores = made_up(positive, clusters, 1.0)
    shifted = scores * np.array([1.0, 5.0, 0.1])[folds] + np.array([0.0, 100.0, -7.0])[folds]
    assert point(shifted, positive, folds) == pytest.approx(point(scores, positive, folds), abs=1e-12)


def test_the_paired_difference_is_that_of_brute_force_on_the_same_draws(pictures, monkeypatch):
    positive, folds, clusters = pictures
    monkeypatch.setattr(comparison, "RESAMPLES", 200)
    better, worse = (made_up(positive, clusters, strength, 1) for strength in (1.5, 0.8))
    drawn = draw({"better": better, "worse": worse}, positive, folds, clusters, seed=3)
    rng, slow = np.random.default_rng(3), []
    for _ in range(200):
        times = np.bincount(rng.integers(30, size=30), minlength=30)[clusters]
        slow.append([slow_mean(scores, positive, folds, times) for scores in (better, worse)])
    slow = np.array(slow)
    np.testing.assert_allclose(drawn["better"], slow[:, 0], atol=1e-12)
    found = compare({"better": better, "worse": worse}, "worse", positive, folds, clusters, seed=3)
    difference = found["better"].difference
    assert difference.value == pytest.approx(point(better, positive, folds) - point(worse, positive, folds))
    apart = np.quantile(slow[:, 0] - slow[:, 1], [0.025, 0.975])
    assert (difference.low, difference.high) == pytest.approx(tuple(apart), abs=1e-12)


def test_the_interval_of_a_difference_is_narrower_than_without_the_pairing(pictures):
    positive, folds, clusters = pictures
    better, worse = (made_up(positive, clusters, strength, 1) for strength in (1.1, 1.0))
    found = compare({"better": better, "worse": worse}, "worse", positive, folds, clusters, seed=0)
    difference, alone = found["better"].difference, found["better"].auroc
    assert difference.high - difference.low < (alone.high - alone.low) / 2


def test_better_means_that_the_interval_of_the_difference_is_above_0(pictures):
    positive, folds, clusters = pictures
    strengths = {"reference": 1.0, "much": 2.5, "less": 0.2}
    scores = {name: made_up(positive, clusters, strength, 1) for name, strength in strengths.items()}
    scores["other"] = made_up(positive, clusters, 1.05, 2)
    found = compare(scores, "reference", positive, folds, clusters, seed=0)
    assert {name: standing.is_better for name, standing in found.items()} == {
        "reference": False,
        "much": True,
        "less": False,
        "other": False,
    }
    assert found["reference"].difference is None


def test_resamples_that_leave_a_fold_one_class_are_left_out_for_every_score(pictures):
    _, folds, clusters = pictures
    positive = np.isin(clusters, [0, 1, 2, 3])  # folds 0, 1, 2 and 0: one group of defects in each of two folds
    scores = made_up(positive, clusters, 1.0)
    drawn = draw({"a": scores, "b": -scores}, positive, folds, clusters, seed=0)
    assert 100 < len(drawn["a"]) == len(drawn["b"]) < 700
    assert np.isfinite(drawn["a"]).all()
    method = compare({"a": scores}, None, positive, folds, clusters, seed=0)["a"].auroc.method
    assert method == f"bootstrap of 30 groups, {len(drawn['a'])} of 1,000 resamples"
