"""What rules for a cut stand on: bounds that hold, labelled images dealt by group, ROC points and their hull."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from rayae.cuts.basis import Basis, just_below, lower_rate, reach, upper_rate
from rayae.cuts.labelled import Labelled, keys_of
from rayae.errors import DataError
from rayae.threshold import exceeds

few_scores = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=2, max_size=40)


def basis(calibration, groups=None):
    return Basis("mse", "b0", np.sort(np.asarray(calibration, np.float32)), groups, 0.95)


def labelled(pairs):
    scores, strange = zip(*pairs, strict=True)
    names = [str(number) for number in range(len(scores))]
    return Labelled(np.array(scores, np.float32), np.array(strange, bool), keys_of(names))


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (7, 1000)])
def test_one_sided_bounds_are_those_of_scipy(hits, trials):
    assert upper_rate(hits, trials, 0.9) == pytest.approx(
        binomtest(hits, trials, alternative="less").proportion_ci(0.9).high
    )
    assert lower_rate(hits, trials, 0.9) == pytest.approx(
        binomtest(hits, trials, alternative="greater").proportion_ci(0.9).low
    )


def test_the_reach_holds_for_all_cuts_at_once():
    drawn = np.sort(np.random.default_rng(0).uniform(size=(4000, 50)), axis=1)
    above = (50 - np.arange(51)) / 50  # of the cuts just below each score, and just below the end
    true = 1 - np.concatenate([np.zeros((4000, 1)), drawn], axis=1)
    held = (true <= above + reach(50, 0.9)).all(axis=1).mean()
    assert held >= 0.9 - 3 * np.sqrt(0.09 / 4000)


@given(st.floats(-1e6, 1e6, width=32))
def test_an_image_is_just_above_the_cut_just_below_its_score(score):
    cut = just_below(score)
    assert exceeds(np.array([score]), cut).all()
    assert not exceeds(np.array([cut]), cut).any()


def test_a_cut_that_was_chosen_by_the_calibration_scores_has_the_wider_bound():
    known = basis(range(100))
    expected, plain = known.rates(89, chosen_by_them=False)
    assert (expected, plain) == (0.1, upper_rate(10, 100, 0.95))
    assert known.rates(89, chosen_by_them=True) == (0.1, 0.1 + reach(100, 0.95))


def test_without_calibration_scores_no_rate_is_told_and_a_rule_that_needs_them_is_refused():
    nothing = basis([])
    threshold = nothing.threshold("recall", 0.5, "It is a cut.", chosen_by_calibration=False)
    assert (threshold.n, threshold.expected_fpr, threshold.upper_fpr) == (None, None, None)
    assert threshold.guarantee == "It is a cut. No calibration scores tell how many normal images it flags."
    with pytest.raises(DataError, match=r"^rule=sigma needs the scores of normal calibration images, .*\.$"):
        nothing.needs("sigma")


@given(few_scores)
def test_the_roc_is_that_of_scikit_learn_also_with_ties(pairs):
    one = labelled([*pairs, (0.5, True), (0.5, False)])
    roc = one.roc()
    fpr, recall, _ = roc_curve(one.is_defect, one.scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.fpr[::-1], fpr)
    np.testing.assert_allclose(roc.recall[::-1], recall)
    for cut, hits, false_alarms in zip(roc.cuts, roc.hits, roc.false_alarms, strict=True):
        flagged = exceeds(one.scores, cut)
        assert (flagged & one.is_defect).sum() == hits
        assert (flagged & ~one.is_defect).sum() == false_alarms


def test_the_hull_is_that_of_scipy():
    random = np.random.default_rng(3)
    scores = np.concatenate([random.normal(size=200), random.normal(1, 1, size=60)])
    roc = labelled(list(zip(scores, np.arange(260) >= 200, strict=True))).roc()
    points = np.stack([roc.fpr, roc.recall], axis=1)
    around = ConvexHull(np.vstack([points, [[1.0, 0.0]]]))
    expected = {number for number in around.vertices if number < len(points)}
    assert set(roc.hull().tolist()) == expected


def test_images_of_a_group_are_dealt_together_whatever_their_order():
    names = [f"group{number % 40}" for number in range(400)]
    one = Labelled(np.arange(400, dtype=np.float32), np.arange(400) % 3 == 0, keys_of(names))
    first, second = one.dealt(0.5)
    assert not set(first.keys) & set(second.keys)
    assert len(first.scores) + len(second.scores) == 400
    assert 100 < len(first.scores) < 300
    order = np.arange(400)[::-1]
    turned = Labelled(one.scores[order], one.is_defect[order], one.keys[order]).dealt(0.5)[0]
    assert sorted(turned.scores) == sorted(first.scores)


def test_too_few_labelled_images_are_told_with_what_is_needed():
    with pytest.raises(DataError) as raised:
        labelled([(0.1, False), (0.9, True)]).needs("recall", 29, 0)
    assert str(raised.value) == (
        "rule=recall needs 29 labelled defects and 0 labelled normal images that choose the cut; found 1 and 1. Label "
        "more of the run's images, raise choose_on up to 1, or ask for less."
    )
