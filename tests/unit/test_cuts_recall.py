"""The cut of a recall: the highest that keeps it by a binomial bound, without a look at normal images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from rayae.cuts.recall import recall, recall_needs
from rayae.errors import ConfigError, DataError
from rayae.threshold import exceeds
from tests.unit.cut_things import basis, labelled

NOTHING = basis([])


@settings(deadline=None)
@given(m=st.integers(29, 300), target=st.sampled_from([0.5, 0.8, 0.9]))
def test_the_cut_is_the_highest_whose_binomial_tail_is_small(m, target):
    defects = np.random.default_rng(m).permutation(m)
    threshold = recall(NOTHING, labelled(defects), target)
    missed = m - int(exceeds(defects, threshold.cut).sum())
    tails = binom.sf(np.arange(m), m, 1 - target)  # that more than so many of m new defects are below the true cut
    allowed = np.flatnonzero(tails >= 0.95 * (1 - 1e-9))
    assert missed == allowed[-1]
    assert threshold.figures["lower_recall"] >= target
    assert threshold.figures["expected_recall"] == pytest.approx(1 - (missed + 1) / (m + 1))


@pytest.mark.parametrize(("target", "needed"), [(0.9, 29), (0.95, 59), (0.99, 299), (0.5, 5)])
def test_the_number_of_defects_that_is_needed_is_that_of_wilks(target, needed):
    assert recall_needs(target, 0.95) == needed
    assert recall(NOTHING, labelled(range(needed)), target).cut < 0


def test_the_defect_that_the_cut_is_just_below_is_flagged_and_so_is_one_that_ties_with_it():
    threshold = recall(NOTHING, labelled([1.0] * 20 + [2.0] * 20), 0.9)
    assert exceeds(np.array([1.0]), threshold.cut).all()
    assert not exceeds(np.array([threshold.cut]), threshold.cut).any()


def test_too_few_defects_are_refused_with_the_number_that_is_needed():
    for found in (28, 0):
        with pytest.raises(DataError) as raised:
            recall(NOTHING, labelled(range(found), [5.0]), 0.9)
        assert str(raised.value) == (
            "rule=recall with recall=0.9 needs at least 29 labelled defects that choose the cut, at a confidence of "
            f"95 %; found {found}. Label more, raise choose_on up to 1, or lower recall."
        )
    with pytest.raises(ConfigError, match=r"^recall must be above 0 and below 1; found 1\.$"):
        recall(NOTHING, labelled(range(28)), 1)


def test_normal_images_change_nothing_but_the_rates_which_hold_for_any_given_cut():
    defects = range(100, 200)
    alone = recall(NOTHING, labelled(defects), 0.9)
    beside = recall(basis(range(120)), labelled(defects, range(500)), 0.9)
    assert beside.cut == alone.cut
    above = int((np.arange(120) > beside.cut).sum())
    assert (beside.n, beside.expected_fpr) == (120, above / 120)
    assert binom.cdf(above, 120, beside.upper_fpr) == pytest.approx(0.05)


def test_what_may_be_relied_on_is_said_also_of_groups():
    names = [str(number // 2) for number in range(40)]
    assert recall(NOTHING, labelled(range(40), names=names), 0.9).guarantee == (
        "If new defects are exchangeable with the 40 labelled defects that chose the cut, at least 92.8 % of them are "
        "flagged, with 95 % confidence; 97.6 % are expected to be. The 40 labelled images are of 20 groups, but count "
        "as independent. No calibration scores tell how many normal images it flags."
    )


def test_a_labelled_score_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match=r"^Labelled images need finite scores to choose a cut; 1 of 2 have none\."):
        labelled([1.0, np.nan])
