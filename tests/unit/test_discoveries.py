"""Discoveries from histograms: as scipy finds them from all p-values, in any order; what the calibration allows."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from rayae.discoveries import (
    cut_of_rank,
    discover,
    histogram,
    lowest_p_value,
    p_values_of_ranks,
    ranks,
    why_nothing,
)
from rayae.errors import DataError
from rayae.threshold import exceeds, p_values

few_values = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.0]), min_size=1, max_size=40)


def ordered(values):
    return np.sort(np.asarray(values, np.float32))


@given(calibration=few_values, scores=few_values)
def test_ranks_are_p_values_in_whole_numbers_also_with_ties(calibration, scores):
    found = ranks(np.array(scores), ordered(calibration)) / (len(calibration) + 1)
    assert found.tolist() == p_values(np.array(scores), np.array(calibration)).tolist()


@settings(max_examples=200)
@given(calibration=few_values, scores=few_values, fdr=st.sampled_from([0.05, 0.2, 0.5, 0.9]))
def test_discoveries_are_those_of_scipy(calibration, scores, fdr):
    known, narrow = ordered(calibration), np.array(scores, np.float32)
    adjusted = false_discovery_control(p_values(narrow, known))
    found = discover(histogram(narrow, known), fdr)
    assert found.found == int((adjusted <= fdr + 1e-12).sum())
    assert found.rank == max(ranks(narrow, known)[adjusted <= fdr + 1e-12], default=0)
    if found.rank:
        assert exceeds(narrow, cut_of_rank(found.rank, known)).sum() == found.found


def test_histograms_of_parts_add_up_to_that_of_the_whole_in_any_order():
    random = np.random.default_rng(0)
    known, scores = ordered(random.normal(size=50)), random.normal(size=1000).astype(np.float32)
    parts = [histogram(part, known) for part in np.array_split(random.permutation(scores), 7)]
    assert np.sum(parts[::-1], axis=0).tolist() == histogram(scores, known).tolist()


def test_a_p_value_that_equals_its_bound_is_a_discovery():
    counts = np.zeros(20, np.int64)  # 19 calibration scores: the lowest p-value is 1/20
    counts[0], counts[-1] = 1, 1
    assert discover(counts, 0.1).found == 1
    assert discover(counts, 0.0999).found == 0


@pytest.mark.parametrize("kind", ["simes", "dkw"])
@pytest.mark.parametrize("n", [1, 2, 3, 19, 200])
def test_conditional_p_values_bound_all_order_statistics_at_once_with_their_confidence(kind, n):
    drawn = np.sort(np.random.default_rng(n).uniform(size=(4000, n)), axis=1)
    bounds = p_values_of_ranks(n, kind, 0.9)
    assert bounds[-1] == 1
    assert (np.diff(bounds) >= 0).all()
    held = (drawn <= bounds[:-1]).all(axis=1).mean()
    assert held >= 0.9 - 3 * np.sqrt(0.09 / 4000)


def test_marginal_discoveries_hold_their_rate_over_calibrations():
    random, rates = np.random.default_rng(5), []
    for _ in range(400):
        known = ordered(random.normal(size=400))
        scores = np.concatenate([random.normal(size=180), random.normal(4, 1, size=20)]).astype(np.float32)
        found = discover(histogram(scores, known), 0.1)
        flagged = ranks(scores, known) <= found.rank
        rates.append(flagged[:180].sum() / max(1, flagged.sum()))
    assert np.mean(rates) <= 0.1 + 3 * np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) > 0.05  # about 0.1 * 180 / 200: it is not just that nothing is found


def test_when_nothing_can_be_found_the_resolution_is_told():
    counts = np.zeros(100, np.int64)
    counts[0], counts[-1] = 3, 9997
    assert discover(counts, 0.05).found == 0
    assert why_nothing(counts, 0.05, "marginal", 0.9) == (
        "Nothing can be called an anomaly at a false discovery rate of 0.05: with 99 calibration images no p-value is "
        "below 0.01, 3 of 10,000 images have it, and 2,000 would have to, or there would have to be about 66,666 "
        "calibration images. Calibrate on more images, raise fdr, or test fewer images at once."
    )


@pytest.mark.parametrize(("kind", "fdr"), [("marginal", 0.005), ("simes", 0.02), ("dkw", 0.05)])
def test_with_as_many_calibration_images_as_are_told_something_is_found(kind, fdr):
    counts = np.zeros(1001, np.int64)
    counts[0], counts[-1] = 100, 900
    told = re.search(r"about ([\d,]+) calibration images", why_nothing(counts, fdr, kind, 0.95))
    assert told is not None
    n = int(told[1].replace(",", ""))
    for calibration, found in ((n, 100), (n - max(1, n // 1000), 0)):
        grown = np.zeros(calibration + 1, np.int64)
        grown[0], grown[-1] = 100, 900
        values = None if kind == "marginal" else p_values_of_ranks(calibration, kind, 0.95)
        assert discover(grown, fdr, values).found == found


def test_without_scores_there_is_nothing_to_find():
    with pytest.raises(DataError, match=r"^no image has a score, so there is nothing to find\.$"):
        discover(np.zeros(5, np.int64), 0.05)


@pytest.mark.parametrize("kind", ["marginal", "simes", "dkw"])
@pytest.mark.parametrize("n", [1, 2, 3, 50, 999])
@pytest.mark.parametrize("confidence", [0.3, 0.9])
def test_the_lowest_p_value_is_the_first_of_all(kind, n, confidence):
    assert lowest_p_value(n, kind, confidence) == pytest.approx(p_values_of_ranks(n, kind, confidence)[0], rel=1e-12)
