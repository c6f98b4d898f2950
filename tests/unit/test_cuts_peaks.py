"""The cut by peaks over threshold: scipy's generalised Pareto, refused where it does not fit or is not needed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import expon, genpareto, goodness_of_fit, lognorm, t

from rayae.cuts.peaks import Pareto, Tail, checked_by_resampling, fitted, peaks, tail_of
from rayae.errors import ConfigError, DataError
from tests.unit.cut_things import basis

SCORES = lognorm(0.5).rvs(size=3000, random_state=1)


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.45, 2), st.floats(1e-3, 1e3), st.floats(1e-6, 0.9))
def test_the_distribution_is_that_of_scipy(shape, scale, share):
    mine, scipys = Pareto(shape, scale), genpareto(shape if abs(shape) > 1e-9 else 0.0, scale=scale)
    assert mine.excess(share) == pytest.approx(scipys.isf(share), rel=1e-6)
    assert mine.survival(np.array([scale])) == pytest.approx(scipys.sf(scale), rel=1e-9)


def test_a_shape_of_zero_is_an_exponential_tail():
    mine = Pareto(0.0, 2.0)
    assert mine.excess(0.01) == pytest.approx(expon(scale=2).isf(0.01))
    assert mine.survival(np.array([3.0])) == pytest.approx(expon(scale=2).sf(3))
    assert mine.draw(np.random.default_rng(0), 4000).mean() == pytest.approx(2, rel=0.05)


def test_nothing_is_above_the_end_of_a_tail_that_ends():
    assert Pareto(-0.25, 1.0).survival(np.array([3.9, 4.0, 5.0])).tolist() == pytest.approx([0.025**4, 0, 0])


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 1.2])
def test_the_fit_is_the_most_likely_one_by_scipy(shape):
    excesses = genpareto(shape, scale=0.02).rvs(size=400, random_state=3)
    mine = fitted(excesses)
    theirs = genpareto.fit(excesses, floc=0)
    likelihood = genpareto(mine.shape, scale=mine.scale).logpdf(excesses).sum()
    assert likelihood >= genpareto(*theirs).logpdf(excesses).sum() - 1e-3
    assert mine.shape == pytest.approx(shape, abs=4 * (1 + shape) / 20)


def test_what_is_drawn_is_of_the_distribution():
    drawn = Pareto(0.4, 3.0).draw(np.random.default_rng(1), 2000)
    assert (
        goodness_of_fit(
            genpareto,
            drawn,
            known_params={"c": 0.4, "loc": 0, "scale": 3},
            statistic="ks",
            n_mc_samples=200,
            rng=np.random.default_rng(2),
        ).pvalue
        > 0.01
    )


def test_the_misfit_is_the_statistic_of_anderson_and_darling_in_scipy():
    excesses = genpareto(0.2, scale=1).rvs(size=80, random_state=2)
    theirs = goodness_of_fit(
        genpareto,
        excesses,
        known_params={"c": 0.1, "loc": 0, "scale": 1.5},
        statistic="ad",
        n_mc_samples=9,
        rng=np.random.default_rng(2),
    ).statistic
    assert Pareto(0.1, 1.5).misfit(excesses) == pytest.approx(theirs)


def test_the_tail_is_the_highest_tenth_up_to_a_thousand():
    small, large = tail_of(basis(range(600))), tail_of(basis(range(20_000)))
    assert (small.start, len(small.excesses), small.share) == (539, 60, 0.1)
    assert (large.start, len(large.excesses), large.share) == (18_999, 1000, 0.05)


def test_the_cut_is_the_quantile_of_the_fitted_tail():
    tail, threshold = tail_of(basis(SCORES)), peaks(basis(SCORES), 1e-3)
    shape, _, scale = genpareto.fit(tail.excesses, floc=0)
    assert threshold.cut == pytest.approx(tail.start + genpareto(shape, scale=scale).isf(1e-2), rel=1e-2)
    assert (threshold.alpha, threshold.n) == (1e-3, 3000)
    assert threshold.upper_fpr == basis(SCORES).rates(threshold.cut, chosen_by_them=True)[1]
    assert threshold.figures["model_upper_fpr"] > 1e-3


def test_its_rate_is_near_the_one_asked_for_far_beyond_the_calibration_scores():
    rates = []
    for seed in range(20):
        scores = t(3).rvs(size=2000, random_state=seed)
        rates.append(t(3).sf(peaks(basis(scores), 1e-4).cut))
    assert 0.3e-4 < np.median(rates) < 3e-4


def test_the_bound_of_the_model_holds_as_often_as_stated():
    held = []
    for seed in range(30):
        scores = genpareto(0.2).rvs(size=1000, random_state=seed)
        threshold = peaks(basis(scores), 1e-3)
        held.append(genpareto(0.2).sf(threshold.cut) <= threshold.figures["model_upper_fpr"])
    assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 30)


def test_the_test_of_fit_rejects_as_seldom_as_it_says():
    rejected = 0
    for seed in range(30):
        excesses = genpareto(0.2).rvs(size=60, random_state=seed)
        tail = Tail(0.0, excesses, 0.1, fitted(excesses))
        rejected += checked_by_resampling(tail, basis(range(600)), 1e-3)[0] <= 0.2
    assert rejected / 30 <= 0.2 + 3 * np.sqrt(0.16 / 30)


def test_it_says_that_a_model_says_so():
    words = peaks(basis(SCORES), 1e-4).guarantee
    assert words.startswith(
        "By a model, not by counting, 0.01 % of new normal images lie above the cut: a generalised Pareto tail of "
        "shape "
    )
    assert "fitted to the 300 highest of 3,000 calibration scores (p = " in words
    assert "whether it is right so far out, no image tells. " in words


def test_it_is_the_same_each_time():
    assert peaks(basis(SCORES), 1e-4).id == peaks(basis(SCORES[::-1]), 1e-4).id


def test_too_few_scores_in_the_tail_are_refused():
    with pytest.raises(DataError) as raised:
        peaks(basis(range(499)), 1e-3)
    assert str(raised.value) == (
        "rule=peaks needs 50 scores in the tail, the highest tenth of 500 calibration scores or more, that are above "
        "the others; found 49 of 499. Calibrate on more images, or take rule=conformal."
    )
    with pytest.raises(DataError, match=r"^rule=peaks needs 50 scores in the tail, .*; found 0 of 600\."):
        peaks(basis([1.0] * 600), 1e-3)
    with pytest.raises(DataError, match=r"^rule=peaks needs the scores of normal calibration images"):
        peaks(basis([]), 1e-3)


def test_a_rate_that_needs_no_model_is_refused():
    with pytest.raises(DataError) as raised:
        peaks(basis(SCORES), 0.1)
    assert str(raised.value) == (
        "rule=peaks is for rates below 0.1, the share of the calibration scores that the tail is fitted to; found "
        "alpha=0.1. Take rule=conformal, which needs no model for it."
    )
    with pytest.raises(ConfigError, match=r"^alpha must be above 0 and below 1; found 0\.$"):
        peaks(basis(SCORES), 0)


@pytest.mark.parametrize("scores", [np.arange(2000), np.repeat(np.arange(40), 50)])
def test_a_tail_that_is_no_generalised_pareto_is_refused(scores):
    with pytest.raises(DataError) as raised:
        peaks(basis(scores), 1e-3)
    assert "have none (p = 0.005 by the test of Anderson and Darling)" in str(raised.value)
    assert str(raised.value).endswith("Take rule=conformal with alpha=0.0005 or more.")


def test_a_cut_beyond_all_float32_is_refused():
    heavy = genpareto(2).rvs(size=2000, random_state=0)
    with pytest.raises(ConfigError, match=r"^alpha=1e-30 gives a cut that float32 cannot hold; raise alpha\.$"):
        peaks(basis(heavy), 1e-30)
