"""Flags and scores of two runs on the same images: held against scipy, and what the sentences say of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from rayae.agreement import NO_DEFECT, NO_NORMAL, Flags, LabelledPairs, flags_by_label, in_words, rank, rates

COUNTS = st.integers(0, 60)


@given(COUNTS, COUNTS)
def test_mcnemars_p_value_is_the_exact_binomial_one(only_a: int, only_b: int) -> None:
    found = Flags(5, only_a, only_b, 7).p_value
    expected = binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert found == pytest.approx(expected, rel=1e-9)


def test_the_interval_of_a_difference_is_that_of_newcombe() -> None:
    # Newcombe 1998, table III: 36, 12, 2 and 0 of 50, by method 10
    found = Flags(36, 12, 2, 0).difference(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b", "images"), [(0.05, 0.0, 1000), (0.02, 0.001, 2000), (0.1, 0.0, 64)])
def test_the_interval_of_a_difference_holds_as_often_as_stated(only_a: float, only_b: float, images: int) -> None:
    random, holds = np.random.default_rng(0), 0
    for drawn in random.multinomial(images, (0.3, only_a, only_b, 0.7 - only_a - only_b), 2000):
        found = Flags(*map(int, drawn)).difference(0.95)
        assert found.low is not None
        assert found.high is not None
        holds += found.low <= only_a - only_b <= found.high
    assert holds / 2000 > 0.95 - 0.015


def test_shares_are_those_of_all_that_a_run_flags() -> None:
    found = rates(Flags(4, 3, 1, 2), 0.95, NO_DEFECT)
    assert (found.a.value, found.b.value, found.difference.value) == pytest.approx((0.7, 0.5, 0.2))
    interval = binomtest(7, 10).proportion_ci(0.95, "exact")
    assert (found.a.low, found.a.high) == pytest.approx((interval.low, interval.high))


def test_without_images_the_shares_have_their_reason() -> None:
    found = rates(Flags(0, 0, 0, 0), 0.95, NO_DEFECT)
    assert {found.a.reason, found.b.reason, found.difference.reason} == {NO_DEFECT}
    assert found.p_value is None


def labelled(count: int = 40, better: float = 1.0) -> LabelledPairs:
    """`count` defects and as many normal images; B sees no difference between them."""
    random = np.random.default_rng(0)
    is_defect = np.arange(2 * count) < count
    a, b = (random.normal(size=2 * count) for _ in range(2))
    a += better * is_defect
    return LabelledPairs(a.astype(np.float32), b.astype(np.float32), is_defect, np.arange(2 * count, dtype=np.uint64))


def test_areas_are_those_of_scikit_learn_and_their_difference_is_between_them() -> None:
    images = labelled()
    found = rank(images, 0.95)
    areas = [roc_auc_score(images.is_defect, scores) for scores in (images.a, images.b)]
    assert (found.a.value, found.b.value) == pytest.approx(areas)
    assert found.difference.value == pytest.approx(areas[0] - areas[1])
    assert (found.defects, found.normals) == (40, 40)


@pytest.mark.parametrize(("is_defect", "reason"), [(True, NO_NORMAL), (False, NO_DEFECT)])
def test_with_one_class_only_nothing_is_ranked(is_defect: bool, reason: str) -> None:
    scores = np.arange(3, dtype=np.float32)
    images = LabelledPairs(scores, scores, np.full(3, is_defect), np.arange(3, dtype=np.uint64))
    found = rank(images, 0.95)
    assert (found.difference.value, found.difference.reason) == (None, reason)
    assert in_words(found, None, None, 0.95) == [f"Which of the two ranks better is not known: {reason}"]


@pytest.mark.parametrize(
    ("better", "verdict"),
    [(2.0, "A ranks better"), (-2.0, "B ranks better"), (0.0, "either may be the better one")],
)
def test_the_verdict_follows_from_the_interval(better: float, verdict: str) -> None:
    (sentence,) = in_words(rank(labelled(better=better), 0.95), None, None, 0.95)
    assert sentence.endswith(f", 95 % interval) on 40 defects and 40 normal images: {verdict}.")


def test_the_rates_are_told_with_counts_interval_and_p_value() -> None:
    recall = rates(Flags(70, 10, 1, 19), 0.95, NO_DEFECT)
    alarms = rates(Flags(0, 0, 0, 9), 0.95, NO_NORMAL)
    assert in_words(rank(labelled(), 0.95), recall, alarms, 0.95)[1:] == [
        "Of 100 defects A flags 80 and B 71; 10 only A and 1 only B: +9 points (+2.41 to +15.8) at 95 % confidence, "
        "McNemar's exact p = 0.0117.",
        "Of 9 normal images A flags 0 and B 0; 0 only A and 0 only B: +0 points (-29.9 to +29.9) at 95 % confidence, "
        "McNemar's exact p = 1.",
    ]


def test_flags_are_counted_by_label_in_their_order() -> None:
    rows = [(None, True, True, 2), ("good", False, False, 5), ("crack", True, False, 3), ("crack", False, True, 1)]
    found = flags_by_label(rows)
    assert list(found) == ["crack", "good", None]
    assert found == {"crack": Flags(0, 3, 1, 0), "good": Flags(0, 0, 0, 5), None: Flags(2, 0, 0, 0)}
