"""Drift: effect sizes held against slow definitions, and what their combinations point to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, median_abs_deviation, norm

from rayae.drift import IN_WORDS, SCORE, Sample, Shift, cause, each_confidence, in_words, measure, median_shift
from rayae.results import PIXEL_STATISTICS
from rayae.statistics import Figure

VALUES = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=20)
MOVED, STEADY, UNCLEAR = (0.4, 0.3, 0.5), (0.0, -0.1, 0.1), (0.1, -0.1, 0.3)


def moved(run: list[float], reference: list[float], confidence: float = 0.95) -> Shift:
    """The shift of images that are each a group of their own."""
    keys = np.arange(len(run) + len(reference), dtype=np.uint64)
    sides = (keys[: len(run)], np.array(run, np.float32)), (keys[len(run) :], np.array(reference, np.float32))
    own, others = (Sample(some, {SCORE: values}) for some, values in sides)
    return measure(None, own, others, confidence, 0.2).shifts[0]


@given(VALUES, VALUES)
def test_the_delta_is_that_of_the_test_of_mann_and_whitney(run: list[float], reference: list[float]) -> None:
    pairs = len(run) * len(reference)
    expected = 2 * mannwhitneyu(run, reference).statistic / pairs - 1
    assert moved(run, reference).delta.value == pytest.approx(expected, abs=1e-12)


def test_the_interval_of_a_delta_holds_the_true_one_as_often_as_it_says() -> None:
    random, hits = np.random.default_rng(0), 0
    truth = 2 * norm.cdf(0.8 / np.sqrt(2)) - 1  # of normal values whose means are 0.8 deviations apart
    for _ in range(500):
        found = moved(random.normal(0.8, 1, 80).tolist(), random.normal(0, 1, 60).tolist(), 0.9).delta
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    assert 0.86 <= hits / 500 <= 0.94


@given(VALUES, VALUES)
def test_the_median_moves_in_robust_deviations_of_the_reference(run: list[float], reference: list[float]) -> None:
    values, others = np.array(run, np.float32), np.array(reference, np.float32)
    spread = 1.4826 * median_abs_deviation(others.astype(np.float64))
    found = median_shift(values, others)
    if spread == 0:
        assert found is None
    else:
        assert found == pytest.approx((np.median(values) - np.median(others)) / spread, rel=1e-6, abs=1e-6)


def test_images_wholly_apart_have_a_delta_of_one_and_an_interval() -> None:
    found = moved([3.0] * 40, [1.0] * 30)
    assert (found.delta.value, found.delta.high) == (1, 1)
    assert found.delta.low == pytest.approx(2 * 0.025 ** (1 / 30) - 1)
    assert found.state(0.2) == "moved"


def shifts(score: tuple[float, float, float], *pixels: tuple[float, float, float]) -> list[Shift]:
    names = (SCORE, *PIXEL_STATISTICS)
    return [Shift(name, Figure(*one), 1.5) for name, one in zip(names, (score, *pixels), strict=False)]


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (0.2, 0.4, "moved"),
        (-0.4, -0.2, "moved"),
        (0.19, 0.4, "unclear"),
        (-0.1, 0.19, "steady"),
        (-0.2, 0.1, "unclear"),
        (0.05, 0.1, "steady"),
        (-0.4, 0.4, "unclear"),
    ],
)
def test_a_quantity_has_moved_when_its_whole_interval_says_so(low: float, high: float, state: str) -> None:
    assert Shift(SCORE, Figure((low + high) / 2, low, high), None).state(0.2) == state


@pytest.mark.parametrize(
    ("score", "pixels", "expected"),
    [
        (STEADY, [STEADY, STEADY, STEADY, STEADY], "none"),
        (STEADY, [STEADY, MOVED, UNCLEAR, STEADY], "camera"),
        (UNCLEAR, [STEADY, MOVED, STEADY, STEADY], "camera, score unclear"),
        (MOVED, [STEADY, STEADY, STEADY, STEADY], "product"),
        (MOVED, [STEADY, UNCLEAR, STEADY, STEADY], "score, camera unclear"),
        (MOVED, [STEADY, MOVED, STEADY, STEADY], "both"),
        (MOVED, [], "score"),
        (STEADY, [], "unclear"),
        (STEADY, [STEADY, UNCLEAR, STEADY, STEADY], "unclear"),
        (UNCLEAR, [STEADY, STEADY, STEADY, STEADY], "unclear"),
    ],
)
def test_the_cause_is_told_as_far_as_the_figures_allow(
    score: tuple[float, float, float], pixels: list[tuple[float, float, float]], expected: str
) -> None:
    assert cause(shifts(score, *pixels), 0.2) == expected


def test_what_moved_is_told_with_its_direction_and_size() -> None:
    down = (-0.4, -0.5, -0.3)
    assert in_words(shifts(STEADY, down, STEADY, STEADY, MOVED), 0.2, "mse") == [
        "By mean brightness the images of the run are darker than the reference in 70 % of pairs, the median by +1.5 "
        "robust standard deviations.",
        "By sharpness the images of the run are sharper than the reference in 70 % of pairs, the median by +1.5 robust "
        "standard deviations.",
        IN_WORDS["camera"],
    ]
    assert in_words(shifts(MOVED), 0.2, "mse")[0].startswith(
        "By the score (mse) the images of the run are higher than "
    )


@pytest.mark.parametrize(
    ("score", "has"), [(STEADY, "has not moved by as much as matters"), (UNCLEAR, "may have moved;")]
)
def test_without_pixel_statistics_that_is_told(score: tuple[float, float, float], has: str) -> None:
    (sentence,) = in_words(shifts(score), 0.2, "mse")
    assert sentence.startswith(f"The score {has}")
    assert sentence.endswith("; there are no statistics of the reference's pixels to tell whether the pictures have.")


@given(st.integers(1, 1000))
def test_many_intervals_hold_together(figures: int) -> None:
    assert (1 - each_confidence(0.95, figures)) * figures == pytest.approx(0.05)


def test_a_shift_that_is_large_and_not_sure_is_told_with_what_to_do() -> None:
    wide = Shift("pixel_mean", Figure(0.7, -0.1, 0.95, "2 groups"), 2.5)
    steady = Shift("score", Figure(0.0, -0.05, 0.05, "2 groups"), 0.0)
    first, last = in_words([steady, wide], 0.2, "mse")
    assert "brighter than the reference in 85 % of pairs, the median by +2.5 robust standard deviations" in first
    assert last.startswith("That is as much as matters (Cliff's delta of 0.2 or more), but the interval reaches below")
    assert "to be sure it takes images of more groups, on both sides" in last


def test_a_large_shift_without_an_interval_is_not_said_to_have_one() -> None:
    alone = Shift("pixel_mean", Figure(1.0, reason="No interval: all images of a kind are of one group."), 2.5)
    _, last = in_words([Shift("score", Figure(0.0, -0.05, 0.05), 0.0), alone], 0.2, "mse")
    assert "but nobody can be sure: something may have moved" in last
