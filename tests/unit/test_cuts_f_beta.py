"""The cut of the best F-beta: that of scikit-learn, at the prevalence stated, with its optimism."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import fbeta_score

from rayae.cuts.basis import upper_rate
from rayae.cuts.f_beta import f_beta
from rayae.errors import ConfigError, DataError
from rayae.threshold import exceeds
from tests.unit.cut_things import basis, labelled

NOTHING = basis([])
few = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=2, max_size=12)


def score_of(one, cut, beta, weights=None):
    return fbeta_score(one.is_defect, exceeds(one.scores, cut), beta=beta, sample_weight=weights, zero_division=0)


@settings(max_examples=30, deadline=None)
@given(few, few, st.sampled_from([0.5, 1, 2]))
def test_no_cut_has_a_better_f_beta_by_scikit_learn(defects, normals, beta):
    one = labelled(defects, normals)
    threshold = f_beta(NOTHING, one, beta)
    best = max(score_of(one, cut, beta) for cut in [-1.0, *one.scores])
    assert score_of(one, threshold.cut, beta) == pytest.approx(best)
    assert threshold.figures["f"] == pytest.approx(best)


@settings(max_examples=30, deadline=None)
@given(few, few, few)
def test_at_a_stated_prevalence_images_are_weighted_to_it_and_the_calibration_counts(defects, normals, calibration):
    threshold = f_beta(basis(calibration), labelled(defects, normals), 1, prevalence=0.02)
    one = labelled(defects, [*normals, *calibration])
    weights = np.where(one.is_defect, 0.02 / one.is_defect.sum(), 0.98 / (~one.is_defect).sum())
    best = max(score_of(one, cut, 1, weights) for cut in [-1.0, *one.scores])
    assert threshold.figures["f"] == pytest.approx(best) == pytest.approx(score_of(one, threshold.cut, 1, weights))


def test_the_optimism_is_what_is_lost_on_images_that_did_not_choose():
    random = np.random.default_rng(1)
    found = [f_beta(NOTHING, labelled(*random.normal(size=(2, 12))), 1).figures for _ in range(60)]
    assert all(one["optimism"] == one["f"] - one["crossfitted_f"] for one in found)
    assert np.mean([one["optimism"] for one in found]) > 0.05
    assert np.mean([one["f"] for one in found]) > 2 / 3  # what flagging everything has, where scores tell nothing


def test_the_bound_of_the_rate_is_wider_where_the_calibration_chose():
    one, known = labelled(range(80, 120), range(40)), basis(range(100))
    given_cut, chosen = f_beta(known, one, 1), f_beta(known, one, 1, prevalence=0.3)
    above = known.above(given_cut.cut)
    assert given_cut.upper_fpr == upper_rate(above, 100, 0.95)
    assert chosen.upper_fpr == known.rates(chosen.cut, chosen_by_them=True)[1]


def test_it_says_what_it_is_and_that_it_guarantees_nothing():
    threshold = f_beta(NOTHING, labelled(range(5, 10), range(5)), 2)
    assert threshold.cut == 4
    assert threshold.guarantee == (
        "Of 5 defects and 5 normal images this cut has the best F2, 1.000, where 50 % are defects, as many as of these "
        "images; chosen and measured on different images it is 0.962, and 0.833 to flag everything. It is an estimate, "
        "and no guarantee. No calibration scores tell how many normal images it flags."
    )


def test_one_class_only_and_strange_numbers_are_refused():
    for one in (labelled([1.0, 2.0]), labelled([], [1.0, 2.0])):
        with pytest.raises(DataError, match=r"^rule=f_beta needs 2 labelled defects and 2 labelled normal images"):
            f_beta(NOTHING, one, 1)
    with pytest.raises(ConfigError, match=r"^beta must be a finite number above 0; found nan\.$"):
        f_beta(NOTHING, labelled([1.0, 2.0], [0.0, 1.0]), np.nan)
    with pytest.raises(ConfigError, match=r"^prevalence must be above 0 and below 1; found 0\.$"):
        f_beta(NOTHING, labelled([1.0, 2.0], [0.0, 1.0]), 1, prevalence=0)
