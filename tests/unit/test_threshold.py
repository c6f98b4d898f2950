"""The cut: golden example, exact ranks, certificate, refusals, round trip."""

import dataclasses
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import beta, binomtest

from rayae.errors import ConfigError, DataError
from rayae.threshold import (
    Threshold,
    conformal,
    conformal_needs,
    exceeds,
    fixed,
    flag,
    p_values,
    quantile_rank,
)

NO_GROUPS = (
    " No groups are known: images that are alike (same part, same camera burst) make the certificate optimistic."
)
LESSON = np.array([0.002, 0.0015, 0.005, 0.0008, 0.007], dtype=np.float32)
scores32 = st.floats(0, 1, width=32, allow_subnormal=False)
few_values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
ALPHAS = st.integers(1, 999).map(lambda thousandths: thousandths / 1000)


def make(scores, alpha=0.1, **more):
    return conformal(np.asarray(scores, np.float32), score="mse", alpha=alpha, bundle_id="b0", **more)


def by_hand(cut, calibration=None, **more):
    return fixed(cut, score="mse", bundle_id="b0", calibration=calibration, **more)


def test_the_golden_example_flags_the_third_and_the_fifth():
    assert flag(LESSON, by_hand(0.004)).tolist() == [False, False, True, False, True]


def test_a_score_that_equals_the_cut_is_not_flagged_and_the_next_float32_is():
    cut = by_hand(0.004)
    equal = np.float32(0.004)
    above, below = np.nextafter(equal, np.float32(1)), np.nextafter(equal, np.float32(0))
    assert flag(np.array([below, equal, above]), cut).tolist() == [False, False, True]


def test_scores_in_float64_are_compared_as_the_float32_that_the_results_hold():
    assert not exceeds(np.array([0.004 + 1e-12]), 0.004).any()


def test_what_was_not_scored_is_not_flagged_and_has_no_p_value():
    nothing = np.array([np.nan], dtype=np.float32)
    assert not flag(nothing, by_hand(0.1)).any()
    assert np.isnan(p_values(nothing, LESSON)).all()


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [
        (19, 0.05, 19),
        (9, 0.1, 9),
        (99, 0.01, 99),
        (999, 0.001, 999),
        (19, 0.1, 18),
        (10, 0.1, 10),
        (199, 0.07, 186),
    ],
)
def test_the_rank_has_no_floating_error(n, alpha, k):
    assert quantile_rank(n, alpha) == k


@given(n=st.integers(0, 5000), thousandths=st.integers(1, 999))
def test_the_rank_is_the_one_of_exact_arithmetic(n, thousandths):
    exact = (n + 1) * (1 - Fraction(thousandths, 1000))
    assert quantile_rank(n, thousandths / 1000) == math.ceil(exact)


@pytest.mark.parametrize(
    ("alpha", "n"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.001, 999), (0.3, 3), (0.07, 14)]
)
def test_the_n_that_is_needed(alpha, n):
    assert conformal_needs(alpha) == n


@given(alpha=ALPHAS)
def test_the_n_that_is_needed_is_the_smallest_that_works(alpha):
    n = conformal_needs(alpha)
    assert make(np.arange(n), alpha).k == n
    with pytest.raises(DataError):
        make(np.arange(n - 1), alpha)


def test_too_few_scores_say_the_n_needed_and_the_smallest_alpha():
    with pytest.raises(DataError) as caught:
        make(np.arange(11), 0.05)
    assert str(caught.value) == (
        "rule=conformal with alpha=0.05 needs at least 19 normal calibration images; found 11. "
        "Give more, or set alpha to 0.0834 or more."
    )


@given(n=st.integers(1, 3000))
def test_the_smallest_alpha_that_is_offered_works(n):
    with pytest.raises(DataError) as caught:
        make(np.arange(n), 1e-9)
    offered = float(str(caught.value).split("set alpha to ")[1].split(" ")[0])
    assert make(np.arange(n), offered).k == n


def test_no_scores_at_all_are_refused():
    with pytest.raises(DataError, match=r"needs at least 9 normal calibration images; found none\. Give normal"):
        make([])


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(strange):
    with pytest.raises(DataError, match=r"^Calibration needs finite mse scores; 1 of 21 are not\."):
        make([*range(20), strange])
    with pytest.raises(DataError, match="finite mse scores"):
        by_hand(1.0, np.array([strange]))


def test_scores_that_float32_cannot_hold_are_refused():
    with pytest.raises(DataError, match="finite mse scores"):
        conformal(np.array([1e300] * 20), score="mse", alpha=0.1, bundle_id="b0")


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_an_alpha_outside_0_to_1_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha must be above 0 and below 1"):
        make(range(20), alpha)


@pytest.mark.parametrize("confidence", [0.0, 1.0, math.nan])
def test_a_confidence_outside_0_to_1_is_refused(confidence):
    with pytest.raises(ConfigError, match="confidence must be"):
        make(range(20), confidence=confidence)
    with pytest.raises(ConfigError, match="confidence must be"):
        by_hand(0.1, confidence=confidence)


@given(
    scores=st.lists(st.one_of(scores32, few_values), min_size=9, max_size=60),
    alpha=st.sampled_from([0.1, 0.25]),
)
def test_the_cut_is_the_kth_lowest_score_also_with_ties(scores, alpha):
    threshold = make(scores, alpha)
    assert threshold.cut == float(np.sort(np.float32(scores))[threshold.k - 1])
    assert np.float32(threshold.cut) in np.float32(scores)
    flagged = int(flag(np.float32(scores), threshold).sum())
    assert flagged <= threshold.n - threshold.k
    assert (threshold.n + 1 - threshold.k) / (threshold.n + 1) <= alpha


@given(scores=st.permutations([float(i % 7) for i in range(30)]))
def test_the_order_of_the_scores_does_not_matter(scores):
    assert make(scores) == make(sorted(scores))


@pytest.mark.parametrize(("n", "alpha"), [(19, 0.05), (100, 0.05), (1000, 0.01)])
def test_the_certificate_is_that_of_the_beta_distribution(n, alpha):
    threshold = make(np.arange(n), alpha, confidence=0.9)
    k = threshold.k
    assert threshold.expected_fpr == pytest.approx(beta.mean(n + 1 - k, k), rel=1e-12)
    assert threshold.upper_fpr == pytest.approx(beta.ppf(0.9, n + 1 - k, k), rel=1e-9)


def test_over_many_calibrations_the_rate_and_its_bound_hold():
    """Scores are uniform, so the true rate of a cut is one minus the cut."""
    n, alpha, times = 39, 0.1, 2000
    drawn = np.random.default_rng(7).random((times, n), dtype=np.float32)
    thresholds = [make(row, alpha) for row in drawn]
    rates = np.array([1 - threshold.cut for threshold in thresholds])
    k = thresholds[0].k
    spread = beta.std(n + 1 - k, k) / np.sqrt(times)
    assert rates.mean() == pytest.approx((n + 1 - k) / (n + 1), abs=4 * spread)
    within = (rates <= thresholds[0].upper_fpr).mean()
    assert within == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / times))


def test_the_99_percent_quantile_of_numpy_has_the_rate_that_the_design_names():
    """Why the conformal rank: numpy's 99 % quantile of 50 normal images flags 2.9 % of new ones."""
    drawn = np.random.default_rng(3).random((4000, 50))
    assert (1 - np.quantile(drawn, 0.99, axis=1)).mean() == pytest.approx(0.029, abs=0.002)
    with pytest.raises(DataError, match="at least 99 normal"):
        make(np.arange(50), 0.01)


def test_the_guarantee_is_a_sentence_with_its_condition_rate_bound_and_n():
    assert make(np.arange(100), 0.05).guarantee == (
        "If new normal images are exchangeable with the 100 normal calibration images, 4.95 % of them are "
        "expected to be flagged, and with 95 % confidence no more than 8.92 %." + NO_GROUPS
    )


def test_few_groups_make_the_certificate_optimistic():
    optimistic = "images are of only 7 groups, and images of a group are alike: the certificate is optimistic."
    assert make(np.arange(100), groups=7).guarantee.endswith(optimistic)
    assert "The calibration images are of one group," in make(np.arange(100), groups=1).guarantee
    assert "optimistic" not in make(np.arange(100), groups=20).guarantee
    assert "20 groups" in make(np.arange(100), groups=20).guarantee
    assert "optimistic" in by_hand(0.5, np.arange(100), groups=7).guarantee


def test_without_groups_the_guarantee_names_none_and_says_what_that_means():
    for threshold in (make(np.arange(100)), by_hand(0.5, np.arange(100))):
        assert threshold.guarantee.endswith(NO_GROUPS)
    assert NO_GROUPS not in make(np.arange(100), groups=100).guarantee


def test_a_fixed_cut_states_the_observed_rate_and_its_bound():
    threshold = by_hand(90, np.arange(100, dtype=np.float32))
    assert (threshold.n, threshold.k, threshold.alpha) == (100, None, None)
    assert threshold.expected_fpr == 0.09
    bound = binomtest(9, 100, alternative="less").proportion_ci(0.95, method="exact").high
    assert threshold.upper_fpr == pytest.approx(bound, rel=1e-9)
    assert threshold.guarantee == (
        "The cut was set by hand: 9 of 100 normal calibration images (9 %) are above it. If new normal images "
        "are exchangeable with them, and the cut was not chosen by looking at them, no more than 15.2 % are "
        "flagged, with 95 % confidence." + NO_GROUPS
    )


def test_a_fixed_cut_below_all_scores_may_flag_everything():
    assert by_hand(-1.0, np.arange(5)).upper_fpr == 1.0


@pytest.mark.parametrize("calibration", [None, np.array([], dtype=np.float32)])
def test_a_fixed_cut_without_calibration_promises_nothing(calibration):
    threshold = by_hand(0.5, calibration)
    assert (threshold.n, threshold.expected_fpr, threshold.upper_fpr) == (None, None, None)
    assert "no calibration scores" in threshold.guarantee
    assert "groups" not in threshold.guarantee


@pytest.mark.parametrize("cut", [math.nan, math.inf, -math.inf, 1e300])
def test_a_fixed_cut_that_is_not_finite_is_refused(cut):
    with pytest.raises(ConfigError, match="cut must be a finite number that float32 can hold"):
        by_hand(cut)


@given(cut=st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_json_gives_the_cut_and_everything_else_back_exactly(cut):
    threshold = by_hand(cut)
    again = Threshold.from_dict(json.loads(json.dumps(threshold.to_dict(), allow_nan=False)))
    assert again == threshold
    assert again.id == threshold.id
    assert np.float32(again.cut) == np.float32(cut)


def test_the_id_is_12_hex_digits_and_changes_with_every_field():
    threshold = make(np.arange(100))
    assert len(threshold.id) == 12
    assert int(threshold.id, 16) >= 0
    others = [make(np.arange(100), 0.2), make(np.arange(1, 101)), make(np.arange(100), confidence=0.9)]
    assert len({threshold.id, *(other.id for other in others)}) == 4


def test_a_threshold_of_before_review_cuts_is_read_and_keeps_its_id():
    threshold = make(np.arange(100))
    written = threshold.to_dict()
    assert written.keys() & {"review_cut", "figures"} == set()
    assert Threshold.from_dict(written) == threshold
    assert threshold.id == "d29fcf153f91"
    more = dataclasses.replace(threshold, review_cut=1.0, figures={"recall": 0.5})
    assert Threshold.from_dict(json.loads(json.dumps(more.to_dict()))) == more
    assert more.id != threshold.id


def test_a_threshold_with_strange_or_missing_keys_is_refused():
    known = make(np.arange(100)).to_dict()
    with pytest.raises(DataError, match=r"unknown keys \['trust_me'\] and without the keys \[\]"):
        Threshold.from_dict({**known, "trust_me": True})
    del known["guarantee"]
    with pytest.raises(DataError, match=r"without the keys \['guarantee'\]"):
        Threshold.from_dict(known)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("bundle_id", "", "its bundle_id is not a text"),
        ("guarantee", "", "its guarantee is not a text"),
        ("score", 3, "its score is not a text"),
        ("rule", "quantile", "its rule 'quantile' is not one of conformal, certified, fixed, fdr, recall"),
        ("cut", math.nan, "its cut is not a finite number"),
        ("cut", "0.5", "its cut is not a finite number"),
        ("cut", 0.1, "its cut 0.1 is not a float32 number"),
        ("cut", 1e300, "its cut 1e\\+300 is not a float32 number"),
        ("n", 100.0, "its n is not a finite number"),
        ("n", None, "a conformal cut needs n, k"),
        ("k", 50, "k = 50 is not the conformal rank of n = 100 and alpha = 0.1"),
        ("alpha", 1.5, "is not the conformal rank"),
        ("alpha", 1e-9, "is not the conformal rank"),
        ("confidence", 95, "its confidence 95 is not between 0 and 1"),
        ("upper_fpr", True, "its upper_fpr is not a finite number"),
        ("review_cut", 1e6, "its review_cut 1000000.0 is not a float32 number below the cut"),
        ("review_cut", 0.1, "its review_cut 0.1 is not a float32 number below the cut"),
        ("figures", {"recall": math.nan}, "its figures are not finite numbers by name"),
        ("figures", [1], "its figures are not finite numbers by name"),
    ],
)
def test_a_threshold_without_provenance_or_sense_cannot_exist(field, value, problem):
    with pytest.raises(DataError, match=problem):
        Threshold.from_dict({**make(np.arange(100)).to_dict(), field: value})


@given(
    calibration=arrays(np.float32, st.integers(0, 40), elements=few_values),
    scores=arrays(np.float32, st.integers(0, 20), elements=few_values),
)
def test_p_values_are_those_of_the_definition_also_with_ties(calibration, scores):
    expected = [(1 + int((calibration >= score).sum())) / (len(calibration) + 1) for score in scores]
    assert p_values(scores, calibration).tolist() == expected


@settings(max_examples=50)
@given(
    calibration=arrays(np.float32, st.integers(20, 60), elements=st.one_of(scores32, few_values)),
    score=scores32,
    alpha=st.sampled_from([0.05, 0.1, 0.2, 0.5]),
)
def test_an_image_is_flagged_if_and_only_if_its_p_value_is_at_most_alpha(calibration, score, alpha):
    """Of a conformal cut; the comparison with alpha is made in whole numbers."""
    for value in (score, *calibration[:5]):
        one = np.array([value], dtype=np.float32)
        count = round(float(p_values(one, calibration)[0]) * (len(calibration) + 1))
        allowed = count <= (len(calibration) + 1) * Fraction(repr(alpha))
        assert bool(flag(one, make(calibration, alpha))[0]) == allowed
