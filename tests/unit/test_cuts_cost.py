"""The cut of costs: the cheapest of all, a band only where review pays, and what is left on other images."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from rayae.cuts.cost import Costs, cost
from rayae.cuts.crossfitted import crossfitted, folds
from rayae.errors import ConfigError, DataError
from rayae.threshold import HIGHEST
from tests.unit.cut_things import basis, labelled

NOTHING = basis([])
few = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=2, max_size=12)
prices = st.sampled_from([0.1, 1.0, 3.0, 40.0])
DEFECTS, NORMALS = (np.random.default_rng(seed).normal(seed, 1, size) for seed, size in ((2, 60), (0, 400)))


def spent(defects, normals, costs, cut, low):
    """The cost an image, counted."""
    defects, normals = np.asarray(defects), np.asarray(normals)
    of_defect = costs.cost_fn * (defects <= low).mean()
    of_normal = costs.cost_fp * (normals > cut).mean()
    if low < cut:
        of_defect += costs.cost_review * ((defects > low) & (defects <= cut)).mean()
        of_normal += costs.cost_review * ((normals > low) & (normals <= cut)).mean()
    return costs.prevalence * of_defect + (1 - costs.prevalence) * of_normal


@settings(deadline=None)
@given(few, few, prices, prices, st.sampled_from([0.01, 0.3, 0.9]), st.sampled_from([None, 0.01, 0.4, 30.0]))
def test_no_pair_of_cuts_is_cheaper(defects, normals, cost_fn, cost_fp, prevalence, cost_review):
    costs = Costs(cost_fn, cost_fp, prevalence, cost_review)
    threshold = cost(NOTHING, labelled(defects, normals), costs)
    low = threshold.cut if threshold.review_cut is None else threshold.review_cut
    found = spent(defects, normals, costs, threshold.cut, low)
    assert threshold.figures["cost"] == pytest.approx(found)
    cuts = [-1.0, *np.unique([*defects, *normals])]
    pairs = [(a, a) for a in cuts] if cost_review is None else itertools.combinations_with_replacement(cuts, 2)
    assert found == pytest.approx(min(spent(defects, normals, costs, cut, low) for low, cut in pairs))


def test_the_cut_is_that_of_the_roc_of_scikit_learn():
    costs = Costs(20, 1, 0.05)
    threshold = cost(NOTHING, labelled(DEFECTS, NORMALS), costs)
    truth = np.arange(460) < 60
    scores = np.concatenate([DEFECTS, NORMALS]).astype(np.float32)
    fpr, recall, lowest_flagged = roc_curve(truth, scores, drop_intermediate=False)
    best = int(np.argmin(0.05 * 20 * (1 - recall) + 0.95 * fpr))
    assert scores[scores > np.float32(threshold.cut)].min() == np.float32(lowest_flagged[best])


@pytest.mark.parametrize(("cost_review", "pays"), [(0.7, True), (0.79, True), (0.8, False), (5, False)])
def test_a_band_is_there_only_where_review_can_pay(cost_review, pays):
    doubtful = labelled([0.5] * 20, [0.5] * 20)  # even odds at one score, and equal weights
    threshold = cost(NOTHING, doubtful, Costs(4, 1, 0.2, cost_review))
    assert (threshold.review_cut is not None) == pays
    if pays:
        assert threshold.review_cut < 0.5 <= threshold.cut
        assert f" are for a person, at {cost_review:g} an image." in threshold.guarantee
    else:
        never = f" A review that costs {cost_review:g} never pays: it would have to cost less than 0.8. "
        assert never in threshold.guarantee


def test_a_review_that_no_score_is_doubtful_enough_for_is_said():
    threshold = cost(NOTHING, labelled([2.0, 3.0], [0.0, 1.0]), Costs(10, 1, 0.1, 0.5))
    assert (threshold.cut, threshold.review_cut) == (1.0, None)
    assert "A review at 0.5 could pay, but no score is doubtful enough for it." in threshold.guarantee


@pytest.mark.parametrize(("cost_fn", "cut"), [(0.001, HIGHEST), (1e6, -HIGHEST)])
def test_where_scores_do_not_help_everything_or_nothing_is_flagged(cost_fn, cut):
    threshold = cost(NOTHING, labelled([0.1, 0.4, 0.9], [0.2, 0.3, 0.95]), Costs(cost_fn, 1, 0.05))
    assert threshold.cut == cut
    which = "nothing" if cut > 0 else "everything"
    assert f": no cut is cheaper than to flag {which}. " in threshold.guarantee


def test_normal_images_of_the_calibration_choose_too():
    few_normals = labelled(DEFECTS, NORMALS[:2])
    alone, together = (cost(one, few_normals, Costs(20, 1, 0.05)) for one in (NOTHING, basis(NORMALS[2:])))
    assert together.cut == cost(NOTHING, labelled(DEFECTS, NORMALS), Costs(20, 1, 0.05)).cut != alone.cut
    assert "60 labelled defects, 2 labelled normal images and those of the calibration" in together.guarantee
    assert together.upper_fpr == basis(NORMALS[2:]).rates(together.cut, chosen_by_them=True)[1]


def test_the_optimism_is_what_is_lost_on_images_that_did_not_choose():
    random = np.random.default_rng(1)
    noise = [labelled(random.normal(size=15), random.normal(size=15)) for _ in range(60)]
    found = [cost(NOTHING, one, Costs(1, 1, 0.5)).figures for one in noise]
    assert all(one["optimism"] == one["crossfitted_cost"] - one["cost"] for one in found)
    assert np.mean([one["cost"] for one in found]) < 0.42  # of scores that tell nothing, which cost 0.5
    assert np.mean([one["crossfitted_cost"] for one in found]) > 0.48


def test_folds_never_part_a_group_and_each_image_is_held_out_once():
    names = [f"group {number % 9}" for number in range(60)]
    one = labelled(range(20), range(40), names=names)
    held_out = []
    for others, held in folds("cost", one):
        assert not set(others.keys) & set(held.keys)
        held_out += held.scores.tolist()
    assert sorted(held_out) == sorted(one.scores.tolist())


def test_the_rates_are_of_cuts_that_others_chose():
    one = labelled([1.0, 2.0], [0.0, 3.0])
    rates = crossfitted("cost", one, lambda roc: float(roc.cuts[-1]))  # the highest of the others
    assert (rates.recall, rates.fpr) == (0.0, 0.5)


def test_one_class_or_one_group_only_is_refused():
    for one in (labelled([1.0, 2.0]), labelled([], [1.0, 2.0]), labelled([1.0], [0.0, 1.0])):
        with pytest.raises(DataError, match=r"^rule=cost needs 2 labelled defects and 2 labelled normal images"):
            cost(NOTHING, one, Costs(1, 1, 0.5))
    with pytest.raises(DataError) as raised:
        cost(NOTHING, labelled([1.0, 2.0], [0.0, 0.5], names=["a", "a", "b", "c"]), Costs(1, 1, 0.5))
    assert str(raised.value) == (
        "rule=cost needs defects and normal images of two groups or more, so that one can be held out; label images of "
        "more groups."
    )


def test_costs_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"^cost_fn must be a finite number above 0; found 0\.$"):
        Costs(0, 1, 0.5)
    with pytest.raises(ConfigError, match=r"^prevalence must be above 0 and below 1; found 5\.$"):
        Costs(1, 1, 5)
    with pytest.raises(ConfigError, match=r"^cost_review must be a finite number above 0; found -1\.$"):
        Costs(1, 1, 0.5, -1)
