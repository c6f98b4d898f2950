"""The cut by deviations: that of scipy's median absolute deviation, and no promise."""

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from rayae.cuts.basis import reach
from rayae.cuts.sigma import sigma
from rayae.errors import ConfigError, DataError
from rayae.threshold import exceeds
from tests.unit.cut_things import basis

SCORES = np.random.default_rng(5).lognormal(-3, 0.4, 501).astype(np.float32)


@pytest.mark.parametrize("sigmas", [0.5, 3, 6])
def test_the_cut_is_that_of_scipy(sigmas):
    logarithms = np.log(SCORES.astype(np.float64))
    expected = np.exp(np.median(logarithms) + sigmas * median_abs_deviation(logarithms, scale="normal"))
    threshold = sigma(basis(SCORES), sigmas)
    assert threshold.cut == pytest.approx(expected, rel=1e-6)
    share = exceeds(SCORES, threshold.cut).mean()
    assert threshold.expected_fpr == share
    assert threshold.upper_fpr == share + reach(501, 0.95)


def test_a_handful_of_wild_scores_moves_it_little():
    wild = np.concatenate([SCORES, np.full(5, 1e6, np.float32)])
    assert sigma(basis(wild), 3).cut == pytest.approx(sigma(basis(SCORES), 3).cut, rel=0.05)


def test_it_says_that_it_guarantees_nothing():
    assert sigma(basis(SCORES), 3).guarantee.startswith(
        "The cut is 3 robust deviations of log scores above their median: a convention, which guarantees no rate "
        "unless log scores are normal. "
    )


def test_scores_without_a_logarithm_or_a_spread_are_refused():
    with pytest.raises(DataError) as raised:
        sigma(basis([-1.0, 0.0, 1.0]), 3)
    assert str(raised.value) == (
        "rule=sigma needs scores above 0, since it counts in logarithms; 2 of the 3 calibration scores are 0 or less. "
        "Take rule=conformal."
    )
    with pytest.raises(DataError) as raised:
        sigma(basis([1.0, 2.0, 2.0, 2.0, 3.0]), 3)
    assert str(raised.value) == (
        "rule=sigma needs scores that differ; at least half of the 5 calibration scores are the same. Take "
        "rule=conformal."
    )
    with pytest.raises(DataError, match=r"^rule=sigma needs the scores of normal calibration images"):
        sigma(basis([]), 3)


@pytest.mark.parametrize("strange", [0, -1, np.nan, np.inf])
def test_deviations_that_are_no_positive_number_are_refused(strange):
    with pytest.raises(ConfigError, match=r"^sigmas must be a finite number above 0; found .*\.$"):
        sigma(basis(SCORES), strange)


def test_a_cut_beyond_all_float32_is_refused():
    with pytest.raises(ConfigError, match=r"^sigmas=1000 gives a cut that float32 cannot hold; lower sigmas\.$"):
        sigma(basis(SCORES), 1000)
