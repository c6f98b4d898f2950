"""The cut at a false discovery rate: it flags what Benjamini and Hochberg discover, or says why that is nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from rayae.cuts.basis import Basis
from rayae.cuts.fdr import fdr
from rayae.discoveries import histogram, p_values_of_ranks, ranks
from rayae.errors import ConfigError, DataError
from rayae.threshold import HIGHEST, exceeds

few_values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0]), min_size=1, max_size=40)


def basis(calibration):
    return Basis("mse", "b0", np.sort(np.asarray(calibration, np.float32)), None, 0.95)


@given(calibration=few_values, scores=few_values, level=st.sampled_from([0.1, 0.3, 0.6]))
@pytest.mark.parametrize("kind", ["marginal", "simes", "dkw"])
def test_it_flags_what_scipy_discovers(kind, calibration, scores, level):
    known, narrow = basis(calibration), np.array(scores, np.float32)
    values = p_values_of_ranks(known.n, kind, 0.95)[ranks(narrow, known.calibration) - 1]
    found = false_discovery_control(values) <= level + 1e-12
    cut = fdr(known, histogram(narrow, known.calibration), level, kind)
    assert exceeds(narrow, cut.cut).tolist() == found.tolist()
    assert cut.figures["found"] == found.sum()


def test_its_rates_among_normal_images_hold_for_any_cut_and_its_guarantee_says_how():
    known = basis(np.arange(1, 100))
    counts = histogram(np.array([0.5] * 80 + [200.0] * 20), known.calibration)
    cut = fdr(known, counts, 0.1)
    assert (cut.cut, cut.expected_fpr, cut.alpha, cut.k) == (99, 0, None, None)
    assert cut.upper_fpr == pytest.approx(np.sqrt(np.log(20) / (2 * 99)))
    assert cut.figures == {"fdr": 0.1, "found": 20, "tested": 100, "highest_p_value": 0.01}
    assert cut.guarantee.startswith(
        "Of the 20 flagged images, among 100 with a score, no more than 10 % are expected to be normal, on average "
        "over calibrations, if the normal images of the run are exchangeable with the 99 calibration images; each has "
        "a p-value of 0.01 or less. 0 of 99 normal calibration images (0 %) are above it;"
    )
    held = fdr(known, counts, 0.6, "simes")
    assert ", given this very calibration, which is no unlucky one with 95 % confidence, if" in held.guarantee


def test_where_nothing_is_found_the_cut_is_above_every_score_and_the_reason_is_told():
    known = basis(np.arange(1, 20))
    cut = fdr(known, histogram(np.array([0.5] * 99 + [200.0]), known.calibration), 0.05)
    assert cut.cut == HIGHEST
    assert cut.figures == {"fdr": 0.05, "found": 0, "tested": 100}
    assert cut.guarantee.startswith("Nothing can be called an anomaly at a false discovery rate of 0.05: with 19 ")


def test_what_it_cannot_do_without_is_named():
    with pytest.raises(DataError, match=r"^rule=fdr needs the scores of normal calibration images, .*\.$"):
        fdr(basis([]), np.ones(1, np.int64), 0.1)
    with pytest.raises(ConfigError, match=r"^fdr must be above 0 and below 1; found 1\.$"):
        fdr(basis([1, 2]), np.ones(3, np.int64), 1)
