"""The certified cut: the lowest whose binomial certificate holds, and how many images it needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from rayae.cuts.certified import certified, certified_needs
from rayae.errors import ConfigError, DataError
from rayae.threshold import conformal, exceeds
from tests.unit.cut_things import basis


@settings(deadline=None)
@given(n=st.integers(59, 400), alpha=st.sampled_from([0.05, 0.1, 0.3]), confidence=st.sampled_from([0.8, 0.95]))
def test_the_rank_is_the_lowest_whose_binomial_tail_is_small(n, alpha, confidence):
    threshold = certified(basis(range(n), confidence=confidence), alpha)
    tails = binom.cdf(n - np.arange(1, n + 1), n, alpha)  # that so few of n uniform numbers lie above 1 - alpha
    assert threshold.k == 1 + int(np.flatnonzero(tails <= (1 - confidence) * (1 + 1e-9))[0])
    assert threshold.cut == threshold.k - 1
    assert threshold.upper_fpr == pytest.approx(beta.ppf(confidence, n + 1 - threshold.k, threshold.k))
    assert threshold.upper_fpr <= alpha
    assert threshold.expected_fpr == (n + 1 - threshold.k) / (n + 1)


@pytest.mark.parametrize(
    ("alpha", "confidence", "needed"), [(0.05, 0.95, 59), (0.01, 0.95, 299), (0.01, 0.99, 459), (0.5, 0.4, 1)]
)
def test_the_number_of_images_that_is_needed_is_that_of_wilks(alpha, confidence, needed):
    assert certified_needs(alpha, confidence) == needed
    assert certified(basis(range(needed), confidence=confidence), alpha).k == needed


def test_too_few_images_are_refused_with_the_number_that_is_needed():
    with pytest.raises(DataError) as raised:
        certified(basis(range(298)), 0.01)
    assert str(raised.value) == (
        "rule=certified with alpha=0.01 needs at least 299 normal calibration images at a confidence of 95 %; found "
        "298. Give more, raise alpha, or take rule=conformal, which keeps alpha on average only."
    )
    with pytest.raises(DataError, match=r"^rule=certified needs the scores of normal calibration images"):
        certified(basis([]), 0.01)
    with pytest.raises(ConfigError, match=r"^alpha must be above 0 and below 1; found 1\.$"):
        certified(basis(range(100)), 1)


def test_it_is_stricter_than_the_conformal_cut_and_says_what_may_be_relied_on():
    known = basis(range(999), groups=400)
    threshold = certified(known, 0.05)
    assert threshold.cut > conformal(known.calibration, score="mse", alpha=0.05, bundle_id="b0").cut
    assert threshold.guarantee == (
        "If new normal images are exchangeable with the 999 normal calibration images, no more than 4.96 % of them are "
        "flagged, with 95 % confidence; 3.9 % are expected to be. The calibration images are of 400 groups; the "
        "certificate counts images of a group as independent."
    )


def test_images_that_tie_with_the_cut_are_not_flagged():
    threshold = certified(basis([1.0] * 30 + [2.0] * 70), 0.05)
    assert threshold.cut == 2
    assert exceeds(np.array([2.0, np.nextafter(np.float32(2), np.float32(3))]), threshold.cut).tolist() == [False, True]


def test_a_confidence_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"^confidence must be above 0 and below 1; found 1\.$"):
        basis([1.0], confidence=1)


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_no_basis(strange):
    with pytest.raises(DataError, match=r"^Calibration needs finite mse scores; 1 of 3 are not\."):
        basis([1.0, strange, 2.0])
