"""The cut of a precision: the lowest of an unbroken sequence of cuts whose bound by scipy keeps it."""

import numpy as np
import pytest
from scipy.stats import binomtest

from rayae.cuts.labelled import Labelled
from rayae.cuts.precision import Bounds, precision, without_pilot
from rayae.errors import ConfigError, DataError
from rayae.threshold import HIGHEST, exceeds
from tests.unit.cut_things import basis, labelled

NOTHING = basis([])
RANDOM = np.random.default_rng(4)
DEFECTS, NORMALS = RANDOM.normal(3, 1, 120).astype(np.float32), RANDOM.normal(size=1500).astype(np.float32)


def lower_precision(defects, normals, cut, prevalence, error):
    hits, alarms = int((defects > cut).sum()), int((normals > cut).sum())
    recall = binomtest(hits, len(defects), alternative="greater").proportion_ci(1 - error / 2).low
    fpr = binomtest(alarms, len(normals), alternative="less").proportion_ci(1 - error / 2).high
    return prevalence * recall / (prevalence * recall + (1 - prevalence) * fpr)


def test_the_cut_is_the_lowest_of_the_sequences_by_the_bounds_of_scipy():
    one = labelled(DEFECTS, NORMALS[:500])
    threshold = precision(basis(NORMALS[500:]), one, 0.5, 0.05)
    pilot, rest = without_pilot(one)
    kept = np.float32(rest.defects)
    expected = HIGHEST
    for start in np.sort(pilot)[[5, 11, 17]]:  # the quartiles of 24
        first = np.nextafter(start, np.float32(-np.inf))
        for cut in [first, *np.sort([*kept, *NORMALS])[::-1]]:
            if cut <= first:
                if lower_precision(kept, NORMALS, cut, 0.05, 0.05 / 3) < 0.5:
                    break
                expected = min(expected, cut)
    assert len(pilot) == 24
    assert threshold.cut == expected
    assert threshold.figures == {
        "precision": 0.5,
        "prevalence": 0.05,
        "recall": (kept > expected).mean(),
        "defects": 96,
        "normals": 1500,
    }


def test_a_sequence_ends_at_its_first_failure_though_lower_cuts_would_pass():
    defects, normals = np.array([10.0] * 5 + [1.0] * 200), np.array([5.0] + [0.0] * 2000)
    bounds = Bounds(labelled(defects, normals).roc(), 0.1, 0.95)
    assert bounds.lower(bounds.place_of(0.5)) > 0.9
    assert bounds.lower(bounds.place_of(5.0)) < 0.7
    assert bounds.lowest_from(7.0, 0.7) is None
    assert bounds.lowest_from(0.5, 0.7) == bounds.place_of(0.0)


def test_images_that_tie_with_the_cut_are_not_flagged():
    threshold = precision(NOTHING, labelled([2.0] * 100, [1.0] * 1000), 0.6, 0.1)
    assert exceeds(np.array([1.0, 2.0]), threshold.cut).tolist() == [False, True]


def test_a_target_below_the_prevalence_is_kept_by_flagging_everything():
    assert precision(NOTHING, labelled(DEFECTS, NORMALS), 0.05, 0.1).cut == -HIGHEST


def test_the_pilot_is_of_whole_groups_and_takes_no_other_normal_images():
    names = [f"part {number // 4}" for number in range(40)] + [str(number) for number in range(60)]
    one = Labelled(np.arange(100, dtype=np.float32), np.arange(100) < 40, labelled(range(100), names=names).keys)
    pilot, rest = without_pilot(one)
    assert len(pilot) == 8
    assert len({int(score) // 4 for score in pilot}) == 2
    assert (len(rest.defects), len(rest.normals)) == (32, 60)


def test_it_says_what_it_stands_on():
    threshold = precision(basis(NORMALS, groups=700), labelled(DEFECTS), 0.5, 0.05)
    assert threshold.guarantee.startswith(
        "At least 50 % of what is flagged are defects where 5 % of all images are, with 95 % confidence, if new "
        "defects are exchangeable with the 96 labelled defects that tested the cut and new normal images with the "
        "1,500 normal ones, labelled and of the calibration together. Of these defects it flags "
    )
    assert threshold.upper_fpr == basis(NORMALS).rates(threshold.cut, chosen_by_them=True)[1]


def test_a_precision_that_so_few_images_cannot_show_is_refused_with_the_number_that_can():
    def refusal(number):
        with pytest.raises(DataError) as raised:
            precision(NOTHING, labelled(np.full(50, 9.0), np.zeros(number)), 0.9, 0.02)
        return str(raised.value)

    assert refusal(500) == (
        "rule=precision with precision=0.9 at prevalence=0.02 finds no cut that keeps it: 71.7 % is the best lower "
        "bound where the tests start, and no more than 71.7 % can be shown by 40 defects and 500 normal images. It "
        "takes 1,783 normal images or more, or less to ask for."
    )
    assert refusal(1782).endswith("It takes 1,783 normal images or more, or less to ask for.")
    assert precision(NOTHING, labelled(np.full(50, 9.0), np.zeros(1783)), 0.9, 0.02).cut == 0


def test_scores_that_overlap_too_much_are_refused():
    with pytest.raises(DataError) as raised:
        precision(NOTHING, labelled(RANDOM.normal(size=200), RANDOM.normal(size=2000)), 0.5, 0.1)
    assert "finds no cut that keeps it: " in str(raised.value)
    assert str(raised.value).endswith(
        " Label more defects, calibrate on more normal images, train a better detector, or ask for less."
    )


def test_one_class_or_one_group_of_defects_only_is_refused():
    same = labelled([1.0, 2.0], [0.0], names=["a", "a", "b"])
    for one in (labelled([1.0, 2.0]), labelled([], [1.0, 2.0]), labelled([1.0], [0.0]), same):
        with pytest.raises(
            DataError, match=r"^rule=precision needs labelled defects of two groups or more, and normal"
        ):
            precision(NOTHING, one, 0.5, 0.1)


def test_shares_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"^precision must be above 0 and below 1; found 1\.$"):
        precision(NOTHING, labelled(DEFECTS, NORMALS), 1, 0.1)
    with pytest.raises(ConfigError, match=r"^prevalence must be above 0 and below 1; found nan\.$"):
        precision(NOTHING, labelled(DEFECTS, NORMALS), 0.5, np.nan)
