"""Folds of the quality benchmark: no group on two sides, every picture tested once, both classes everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.folds import FOLDS, number_folds, split


def uneven(seed=0, groups=24):
    """Groups of 5 to 60 pictures, of which none to most are defects."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(groups).repeat(rng.integers(5, 60, groups))
    return rng.random(len(numbers)) < rng.uniform(0, 0.6, groups)[numbers], numbers


@given(st.integers(0, 200), st.integers(0, 5))
def test_no_group_is_on_two_sides(data_seed, seed):
    is_defect, groups = uneven(data_seed)
    for sides in split(is_defect, groups, "group", seed)[1]:
        train, calibration, test = (set(groups[rows]) for rows in (sides.train, sides.calibration, sides.test))
        assert not train & calibration
        assert not (train | calibration) & test


@pytest.mark.parametrize("kind", ["group", "random"])
def test_every_picture_is_tested_once_and_no_defect_is_trained_on(kind):
    is_defect, groups = uneven()
    numbers, sides = split(is_defect, groups, kind, 0)
    tested = np.concatenate([side.test for side in sides])
    assert sorted(tested) == list(range(len(groups)))
    for fold, side in enumerate(sides):
        assert (numbers[side.test] == fold).all()
        assert not is_defect[np.concatenate([side.train, side.calibration])].any()
        used = np.concatenate([side.train, side.calibration])
        assert sorted(used) == np.flatnonzero((numbers != fold) & ~is_defect).tolist()


def test_both_classes_are_spread_evenly_by_group_and_exactly_at_random():
    for seed in range(20):
        is_defect, groups = uneven(seed)
        for kind, most in (("group", 0.1), ("random", 0.01)):
            numbers, _ = split(is_defect, groups, kind, seed)
            for chosen in (is_defect, ~is_defect):
                share = np.bincount(numbers[chosen], minlength=FOLDS) / chosen.sum()
                assert np.abs(share - 1 / FOLDS).max() < most


def test_a_random_split_takes_groups_apart():
    is_defect, groups = uneven()
    numbers, _ = split(is_defect, groups, "random", 0)
    assert all(len(set(numbers[groups == group])) > 1 for group in set(groups))


def test_calibration_is_a_fifth_of_the_normal_pictures_of_the_other_folds():
    is_defect, groups = uneven(groups=80)
    for side in split(is_defect, groups, "group", 0)[1]:
        share = len(side.calibration) / (len(side.train) + len(side.calibration))
        assert share == pytest.approx(0.2, abs=0.04)


def test_the_seed_decides_the_folds():
    is_defect, groups = uneven()
    alone = np.arange(len(groups))
    first, again, other = (number_folds(is_defect, alone, FOLDS, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
