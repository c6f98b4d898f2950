"""The gates of production: each fails at its own limit, says its figure, and all together give one paragraph."""

from dataclasses import replace

import pytest

from rayae.gates import (
    LEAST_DEFECTS,
    LEAST_GROUPS,
    LEAST_NORMALS,
    MEMORISED,
    MOST_OVERLAP,
    Evidence,
    Training,
    judge,
    paragraph,
)
from rayae.statistics import Figure, clopper_pearson

GOOD = Evidence(
    normals=200,
    defects=50,
    fewest_groups=12,
    error_ratio=Figure(1.1, method="median mse of unseen normal images over that of the training images"),
    overlap=Figure(0.02),
    leads={"the best trivial statistic": Figure(0.3, 0.2, 0.4), "the nearest training image": Figure(0.1, 0.05, 0.2)},
    f1=Figure(0.9),
    f1_of_flagging_everything=Figure(0.33),
    false_positive_rate=Figure(0.05, 0.02, 0.09),
    promised=0.08,
    promised_fdr=None,
    precision=Figure(0.8, 0.7, 0.88),
    has_cut=True,
    leaks={"share a group with images that the bundle was made with": 0},
    alike=0,
    calibrated_on_defects=0,
    training=Training(),
)
NO_LEAD = {"the best trivial statistic": Figure(0.3, 0.2, 0.4), "the nearest training image": Figure(0.1, -0.05, 0.2)}


def answers(evidence):
    return {gate.name: gate.passed for gate in judge(evidence)}


def test_images_of_groups_that_were_used_show_nothing_of_new_groups():
    evidence = replace(GOOD, leaks={"share a group": 3})
    assert answers(evidence)["leakage"] is None
    told = "Of the labelled images 3 share a group; what it is worth on new groups is not shown."
    assert told in paragraph(judge(evidence))


def test_a_leak_that_is_known_is_not_hidden_by_one_that_may_be() -> None:
    evidence = replace(GOOD, leaks={"share a group": 3}, training=Training(leak="Seven images are near-duplicates."))
    assert answers(evidence)["leakage"] is False
    assert "Seven images are near-duplicates." in paragraph(judge(evidence))


def test_images_with_the_name_and_size_of_others_are_neither_known_nor_cleared():
    evidence = replace(GOOD, alike=3)
    assert answers(evidence)["leakage"] is None
    assert "whether they are the same is not known" in paragraph(judge(evidence))


def test_what_has_nothing_against_it_is_ready():
    assert set(answers(GOOD).values()) == {True}
    assert paragraph(judge(GOOD)) == (
        "Ready for production: yes, all 6 gates are passed. These hold: No labelled image is known to have been seen "
        "in training. The median mse of unseen normal images over that of the training images is 1.1, below 2. There "
        "are 200 normal images of at least 59, 50 defects of at least 29, 12 groups of a class of at least 10. AUROC "
        "is at least +0.050 above that of the nearest training image, and has to be above it. 2 % of the defects lie "
        "among the lowest 95 % of the normal scores, at most 10 % may. 5 % of the normal images are flagged, at least "
        "2 % by its interval; the cut promises at most 8 %."
    )


FAILURES = {
    "leakage": [
        ({"training": Training(leak="Two images are one.")}, None, "Two images are one."),
    ],
    "memorised": [
        (
            {"error_ratio": Figure(20.0, method="median mse")},
            20.0,
            "No: it memorised. The median mse is 20, and has to be below 2.",
        ),
        (
            {"error_ratio": Figure(None, reason="-"), "training": Training(error_ratio=3.0)},
            3.0,
            "No: it memorised. The error of held-out images over that of the training images, at training, is 3, and "
            "has to be below 2.",
        ),
    ],
    "images": [
        (
            {"normals": 58},
            58,
            "There are too few images: at least 59 normal images are needed, 58 are there.",
        ),
        (
            {"defects": 28, "fewest_groups": 9},
            28,
            "There are too few images: at least 29 defects are needed, 28 are there; at least 10 groups of a class are "
            "needed, 9 are there.",
        ),
    ],
    "floors": [
        (
            {"leads": NO_LEAD},
            -0.05,
            "AUROC is at least -0.050 above that of the nearest training image, and has to be above it.",
        ),
        ({"f1": Figure(0.33)}, 0.33, "F1 is 0.330, no better than 0.330 of flagging everything."),
    ],
    "overlap": [
        (
            {"overlap": Figure(0.25)},
            0.25,
            "25 % of the defects lie among the lowest 95 % of the normal scores, and at most 10 % may.",
        )
    ],
    "guarantee": [
        (
            {"false_positive_rate": Figure(0.2, 0.15, 0.3)},
            0.15,
            "20 % of the normal images are flagged, at least 15 % by its interval; the cut promises at most 8 %.",
        ),
        (
            {"promised_fdr": 0.1},
            pytest.approx(0.12),
            "20 % of the flagged labelled images are normal, at least 12 % by the interval; the decision promises at "
            "most 10 % on average, if defects are labelled as often as normal images.",
        ),
        ({"promised": None}, None, "The cut states no bound of its false-positive rate."),
        ({"has_cut": False}, None, "There is no cut, so nothing is flagged."),
        ({"calibrated_on_defects": 4}, 4, "The cut was calibrated on 4 images that are labelled as defects."),
    ],
}


@pytest.mark.parametrize(
    ("name", "change", "figure", "sentence"),
    [(name, *case) for name, cases in FAILURES.items() for case in cases],
)
def test_each_gate_fails_alone_with_its_figure_and_its_limit(name, change, figure, sentence):
    gates = judge(replace(GOOD, **change))
    assert [gate.name for gate in gates if gate.passed is not True] == [name]
    (gate,) = [gate for gate in gates if gate.passed is False]
    assert (gate.figure, gate.sentence) == (figure, sentence)
    told = paragraph(gates)
    assert told.startswith(f"Ready for production: no, 1 of 6 gates failed ({name}). {sentence}")


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("memorised", {"error_ratio": Figure(None, reason="Nobody knows.")}, "Nobody knows."),
        ("overlap", {"overlap": Figure(None, reason="No defect.")}, "No defect."),
        ("floors", {"leads": {}}, "There is no floor that the score could be held against."),
        (
            "floors",
            {"leads": {"the nearest training image": Figure(0.2)}},
            "Whether the score ranks better than the nearest training image nobody can tell without an interval.",
        ),
        (
            "floors",
            {"leads": {"the best trivial statistic": Figure(0.3, 0.1, 0.5), "the nearest training image": Figure(0.4)}},
            "Whether the score ranks better than the nearest training image nobody can tell without an interval.",
        ),
        ("guarantee", {"false_positive_rate": Figure(None, reason="No normal image.")}, "No normal image."),
        ("guarantee", {"promised_fdr": 0.1, "precision": Figure(None, reason="No flag.")}, "No flag."),
    ],
)
def test_what_nobody_can_tell_is_no_pass(name, change, sentence):
    gates = judge(replace(GOOD, **change))
    assert [gate.name for gate in gates if gate.passed is None] == [name]
    assert paragraph(gates).startswith(
        f"Ready for production: not shown, of 6 gates 1 cannot be judged ({name}). {sentence}"
    )


def test_the_limits_themselves():
    def passes(name, **change):
        return answers(replace(GOOD, **change))[name]

    assert not passes("memorised", error_ratio=Figure(MEMORISED, method="ratio"))
    assert passes("overlap", overlap=Figure(MOST_OVERLAP))
    assert passes("images", normals=LEAST_NORMALS, defects=LEAST_DEFECTS, fewest_groups=LEAST_GROUPS)
    assert passes("images", fewest_groups=None)
    assert not passes("floors", leads={"a": Figure(0.1, 0.0, 0.2)})
    assert passes("guarantee", promised=0.02)
    assert passes("guarantee", promised_fdr=0.13, promised=None)


def test_the_fewest_images_bound_a_rate_as_they_say():
    """One-sided bounds of 95 %, which two-sided intervals of 90 % have at their ends."""
    assert clopper_pearson(0, LEAST_NORMALS, 0.9)[1] < 0.05 < clopper_pearson(0, LEAST_NORMALS - 1, 0.9)[1]
    assert clopper_pearson(LEAST_DEFECTS, LEAST_DEFECTS, 0.9)[0] > 0.9
    assert clopper_pearson(LEAST_DEFECTS - 1, LEAST_DEFECTS - 1, 0.9)[0] < 0.9


def test_a_failed_gate_outweighs_one_that_nobody_can_judge():
    gates = judge(replace(GOOD, overlap=Figure(0.9), leads={}))
    assert paragraph(gates).startswith("Ready for production: no, 1 of 6 gates failed (overlap).")
    assert "There is no floor that the score could be held against." in paragraph(gates)
