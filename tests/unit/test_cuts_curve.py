"""The curve of cuts: counts of a run by hand, rates with bounds that hold for all cuts, recall and cost where known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from rayae.cuts.basis import reach
from rayae.cuts.cost import Costs, cost
from rayae.cuts.curve import POINTS, curve
from rayae.discoveries import histogram
from rayae.errors import DataError
from rayae.threshold import exceeds
from tests.unit.cut_things import basis, labelled

few = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0]), min_size=1, max_size=40)


def curve_of(known, scores, *more):
    return curve(known, histogram(np.asarray(scores), known.calibration), *more)


@settings(deadline=None)
@given(few, few)
def test_flags_and_false_positives_are_those_counted_also_with_ties(calibration, scores):
    known = basis(calibration)
    columns = curve_of(known, scores)
    assert columns["cut"].tolist() == sorted(set(calibration), reverse=True)
    for row, cut in enumerate(columns["cut"]):
        rate, wide = known.rates(cut, chosen_by_them=True)
        assert columns["flags"][row] == exceeds(np.array(scores), cut).sum()
        assert columns["false_positives"][row] == pytest.approx(rate * len(scores))
        assert columns["upper_false_positives"][row] == pytest.approx(wide * len(scores))
        assert columns["lower_false_positives"][row] == pytest.approx(max(0, rate - reach(known.n, 0.95)) * len(scores))


@settings(deadline=None)
@given(few, few)
def test_recall_is_that_of_scikit_learn_with_a_band_for_all_cuts(calibration, defects):
    columns = curve_of(basis(calibration), [1.0], labelled(defects, [0.0]))
    for row, cut in enumerate(columns["cut"]):
        recall = recall_score(np.ones(len(defects)), exceeds(np.array(defects), cut))
        assert columns["recall"][row] == pytest.approx(recall)
        assert columns["lower_recall"][row] == pytest.approx(max(0, recall - reach(len(defects), 0.95)))
        assert columns["upper_recall"][row] == pytest.approx(min(1, recall + reach(len(defects), 0.95)))


def test_the_cheapest_cut_of_the_curve_costs_what_the_rule_says():
    random = np.random.default_rng(2)
    known, one, costs = basis(random.normal(size=300)), labelled(random.normal(2, 1, 40)), Costs(20, 1, 0.05)
    columns = curve_of(known, random.normal(size=1000), one, costs)
    assert columns["cost"].min() == pytest.approx(cost(known, one, costs).figures["cost"])


def test_what_is_not_known_has_no_column():
    rates = {"cut", "flags", "false_positives", "lower_false_positives", "upper_false_positives"}
    known, costs = basis([1.0, 2.0]), Costs(1, 1, 0.5)
    assert set(curve_of(known, [1.0])) == rates
    assert set(curve_of(known, [1.0], labelled([], [1.0]), costs)) == rates
    assert set(curve_of(known, [1.0], labelled([2.0]))) == rates | {"recall", "lower_recall", "upper_recall"}


def test_of_many_scores_the_highest_are_all_there_and_the_rest_is_thinned():
    columns = curve_of(basis(range(100_000)), range(100_000))
    assert len(columns["cut"]) <= POINTS
    assert columns["cut"][:50].tolist() == list(range(99_999, 99_949, -1))
    assert columns["cut"][-1] == 0
    assert columns["flags"].tolist() == (99_999 - columns["cut"]).tolist()


def test_without_calibration_scores_there_is_no_curve():
    with pytest.raises(DataError, match=r"^A curve needs the scores of normal calibration images, .*\.$"):
        curve(basis([]), np.array([7]))
    with pytest.raises(ValueError, match=r"^3 ranks among 3 calibration scores$"):
        curve(basis([1.0, 2.0, 3.0]), np.array([1, 2, 3]))
