"""Figures by kind of defect and by group against scikit-learn and scipy, and the gap between the classes."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from rayae.breakdowns import GROUPS_AT_MOST, KINDS_AT_MOST, Evaluated, area, break_down, no_breakdown
from rayae.operating_points import Resampling
from rayae.statistics import skills

HOW = Resampling(None, 0.95, 200, 0)
LABELS = ["good"] * 40 + ["crack"] * 10 + ["stain"] * 6


def images(labels=LABELS, groups=None, cut=1.0, seed=0):
    generator = np.random.default_rng(seed)
    shift = np.array([{"good": 0.0, "stain": 0.5}.get(label, 1.8) for label in labels])
    scores = (generator.normal(size=len(labels)) + shift).astype(np.float32)
    defect = np.array([label != "good" for label in labels])
    flagged = None if cut is None else scores > np.float32(cut)
    return Evaluated(scores, defect, labels, groups or [None] * len(labels), flagged)


def test_each_kind_is_ranked_against_all_normal_images():
    given = images()
    labels = np.array(given.labels)
    crack, stain = break_down(given, HOW).kinds
    for kind, name in ((crack, "crack"), (stain, "stain")):
        own = (labels == name) | ~given.defect
        assert (kind.label, kind.images) == (name, int((labels == name).sum()))
        assert kind.auroc.value == pytest.approx(roc_auc_score(labels[own] == name, given.scores[own]))
        assert kind.auroc.low < kind.auroc.value < kind.auroc.high
        assert kind.auroc.method == "DeLong, logit scale"
        exact = binomtest(int(given.flagged[labels == name].sum()), kind.images).proportion_ci(method="exact")
        assert (kind.recall.low, kind.recall.high) == pytest.approx((exact.low, exact.high))
    words = list(break_down(given, HOW).words)
    assert words == [
        f"By kind of defect AUROC goes from {stain.auroc.value:.3f} (stain) to {crack.auroc.value:.3f} (crack); each "
        "is held against all normal images."
    ]


def test_groups_have_rates_of_their_own():
    groups = [None if number % 7 == 0 else f"line-{number % 2}" for number in range(len(LABELS))]
    given = images(groups=groups)
    found = break_down(given, Resampling(np.arange(len(LABELS)), 0.95, 200, 0)).groups
    assert {one.group for one in found} == {"line-0", "line-1"}
    for one in found:
        own = np.array([group == one.group for group in groups])
        normal, defect = own & ~given.defect, own & given.defect
        assert (one.normal, one.defect) == (normal.sum(), defect.sum())
        assert one.false_positive_rate.value == given.flagged[normal].mean()
        assert one.recall.value == given.flagged[defect].mean()
        exact = binomtest(int(given.flagged[normal].sum()), one.normal).proportion_ci(method="exact")
        assert (one.false_positive_rate.low, one.false_positive_rate.high) == pytest.approx((exact.low, exact.high))


def test_the_group_with_the_most_false_alarms_is_named():
    given = images(groups=["quiet"] * 20 + ["loud"] * 20 + ["quiet"] * 16)
    given.flagged[:20], given.flagged[20:40] = False, np.arange(20) < 5
    assert list(break_down(given, HOW).words)[-1] == (
        "Of 2 groups, loud has the most false alarms: 25 % of its 20 normal images."
    )


def test_a_group_of_one_class_has_a_reason_for_the_other_rate():
    groups = ["normal only"] * 40 + ["defects only"] * 16
    first, second = break_down(images(groups=groups), HOW).groups
    assert first.recall.reason == "A group without defects has no recall."
    assert second.false_positive_rate.reason == "A group without normal images has no false-positive rate."


def test_without_a_cut_there_are_ranks_and_no_rates():
    found = break_down(images(cut=None, groups=["a"] * 56), HOW)
    assert found.kinds[0].auroc.value is not None
    assert {found.kinds[0].recall.reason, found.groups[0].false_positive_rate.reason} == {
        "The bundle has no threshold, so nothing is flagged."
    }


def test_those_with_the_most_images_are_told_apart_and_the_others_counted():
    kinds = [f"kind-{number:02}" for number in range(KINDS_AT_MOST + 5) for _ in range(2)]
    labels = ["good"] * 30 + kinds + ["kind-24"]
    groups = [f"group-{number // 3:02}" for number in range(len(labels))]
    found = break_down(images(labels, groups), HOW)
    assert found.kinds[0].label == "kind-24"
    assert [kind.label for kind in found.kinds[1:]] == [f"kind-{number:02}" for number in range(KINDS_AT_MOST - 1)]
    assert (found.other_kinds, len(found.groups)) == (5, GROUPS_AT_MOST)
    assert found.other_groups == len(set(groups)) - GROUPS_AT_MOST
    words = list(found.words)
    assert "5 more kinds of defects have fewer images and are not told apart." in words
    assert words[-1].startswith("Of the ")


def test_a_single_defect_of_a_kind_has_no_interval_and_says_so():
    (kind,) = break_down(images(["good"] * 20 + ["crack"]), HOW).kinds
    assert kind.auroc.low is None
    assert kind.auroc.reason == "No interval: it needs at least two images of each class."


@pytest.mark.parametrize("groups", [None, np.arange(56) // 4])
def test_an_area_alone_is_that_of_all_scores_together(groups):
    given, how = images(), Resampling(groups, 0.95, 200, 0)
    (together,) = skills([given.scores], given.defect, groups, confidence=0.95, resamples=200, seed=0)
    assert area(given.scores, given.defect, how) == together.auroc


def test_perfectly_parted_classes_have_a_gap_above_zero_and_no_spread():
    scores = np.array([1, 2, 3, 10, 11], np.float32)
    given = Evaluated(scores, scores > 5, ["good"] * 3 + ["crack"] * 2, [None] * 5, scores > 5)
    found = break_down(given, HOW)
    assert found.gap.value == 7.0
    assert found.kinds[0].auroc.reason.startswith("No interval: the figure is the same in every resample")


def test_classes_that_overlap_have_a_gap_below_zero():
    scores = np.array([1, 8, 3, 10, 6], np.float32)
    given = Evaluated(
        scores, np.array([False, False, False, True, True]), ["good"] * 3 + ["crack"] * 2, [None] * 5, None
    )
    assert break_down(given, HOW).gap.value == -2.0


def test_without_two_classes_there_is_a_reason_alone():
    found = no_breakdown("No defect.")
    assert (found.kinds, found.groups, found.gap.reason, list(found.words)) == ((), (), "No defect.", [])
