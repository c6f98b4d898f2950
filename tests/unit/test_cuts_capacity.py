"""The cut of a capacity: exactly the highest of a run, in parts and in any order, with ties released."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayae.cuts.capacity import capacity
from rayae.cuts.highest import highest
from rayae.errors import ConfigError, DataError
from rayae.threshold import exceeds
from tests.unit.cut_things import basis

tied = st.lists(st.sampled_from([-2.0, -0.0, 0.0, 1e-45, 0.5, 3e38]), min_size=1, max_size=30)
any_scores = st.one_of(tied, st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))


def parts(scores, number=3):
    return lambda: iter(np.array_split(np.asarray(scores, np.float32), number))


@settings(deadline=None)
@given(any_scores, st.integers(0, 40))
def test_the_highest_are_those_of_a_sort(scores, count):
    found = highest(parts(scores), count)
    if count >= len(scores):
        assert found is None
        return
    narrow = np.asarray(scores, np.float32)
    assert found.score == np.sort(narrow)[::-1][count]
    assert found.above == (narrow > found.score).sum() <= count
    assert (found.equal, found.scores) == ((narrow == found.score).sum(), len(scores))
    assert found == highest(parts(scores[::-1], 2), count)


@settings(deadline=None)
@given(any_scores, st.integers(1, 40))
def test_never_more_are_flagged_than_asked_for_and_a_lower_cut_would_flag_more(scores, flags):
    if flags >= len(scores):
        return
    cut = capacity(basis([]), parts(scores), flags).cut
    assert exceeds(np.asarray(scores), cut).sum() <= flags
    assert (np.asarray(scores, np.float32) >= np.float32(cut)).sum() > flags


def test_many_random_scores_are_cut_exactly():
    scores = np.random.default_rng(0).lognormal(size=100_000).astype(np.float32)
    threshold = capacity(basis([]), parts(scores, 7), 123)
    assert exceeds(scores, threshold.cut).sum() == 123
    assert threshold.figures == {"flags": 123, "flagged": 123, "images": 100_000}
    assert threshold.guarantee == (
        "123 of the run's 100,000 scored images are above the cut, of 123 asked for; nothing is said of other runs. "
        "No calibration scores tell how many normal images it flags."
    )


def test_images_that_tie_with_the_cut_are_released_and_it_is_said():
    threshold = capacity(basis([]), parts([5.0, 4.0, 4.0, 4.0, 1.0]), 2)
    assert exceeds(np.array([5.0, 4.0]), threshold.cut).tolist() == [True, False]
    assert threshold.figures["flagged"] == 1
    assert threshold.guarantee.startswith(
        "1 of the run's 5 scored images are above the cut, of 2 asked for; 3 more have the very score of the cut, and "
        "are released since with them there would be 4. Nothing is said of other runs."
    )


def test_the_rates_are_those_of_a_given_cut():
    threshold = capacity(basis(range(100)), parts(range(200)), 110)
    assert (threshold.cut, threshold.expected_fpr) == (89, 0.1)
    assert threshold.upper_fpr == basis(range(100)).rates(89, chosen_by_them=False)[1]


def test_a_run_that_can_be_looked_at_whole_is_refused():
    with pytest.raises(DataError) as raised:
        capacity(basis([]), parts([1.0, 2.0]), 2)
    assert str(raised.value) == (
        "rule=capacity with flags=2 has nothing to choose, since the run has no more scored images than that. Lower "
        "flags, or look at all of them."
    )
    with pytest.raises(ConfigError, match=r"^flags must be a number of images, 1 or more; found 0\.$"):
        capacity(basis([]), parts([1.0, 2.0]), 0)


def test_scores_that_are_not_finite_or_change_meanwhile_are_refused():
    with pytest.raises(DataError, match=r"^A score of the run is not finite"):
        highest(parts([1.0, np.nan]), 1)
    passes = iter([[np.float32([1, 2, 3])], [np.float32([1, 3])]])
    with pytest.raises(DataError, match=r"^Scores changed while they were counted: 1 of a kind became 0\."):
        highest(lambda: iter(next(passes)), 1)
