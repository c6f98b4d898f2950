"""The evaluation: who counts, what the figures are, what is missing and why, and what is said about it."""

import dataclasses
import json
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import quantile_test
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from rayae.errors import DataError
from rayae.evaluated import About
from rayae.evaluation import COLUMNS, evaluate
from rayae.exhibits import tables
from rayae.floors import FLOOR_COLUMNS
from rayae.manifest import complete
from rayae.results import PIXEL_STATISTICS, Status, result_schema
from rayae.score_names import COMPONENT_SCORES, IN_WORDS, NEAREST_SCORES, SCORE_NAMES, TEXTURE_SCORES, UNTRAINED_SCORES
from rayae.statistics import Figure, clopper_pearson

SCORED = str(Status.SCORED)


def table(scores, labels, *, groups=None, status=None, sizes=None, pixels=None, cut=None, **other):
    """A result table as `results` writes it, of the columns that an evaluation reads."""
    count = len(scores)
    status = status or [SCORED] * count
    values = pa.array([x if s == SCORED else None for x, s in zip(scores, status, strict=True)], pa.float32())
    flags = [None if cut is None or x is None else np.float32(x) > np.float32(cut) for x in values.to_pylist()]
    return pa.table(
        {
            "uri": pa.array([f"/images/{number:03}.png" for number in range(count)]),
            "label": pa.array(labels, pa.string()),
            "group": pa.array(groups or [None] * count, pa.string()),
            "status": pa.array(status, pa.string()),
            "size_bytes": pa.array(sizes or [1000] * count, pa.int64()),
            **{name: pa.array((pixels or {}).get(name, [0.5] * count), pa.float32()) for name in PIXEL_STATISTICS},
            "score": values,
            "is_anomaly": pa.array(flags, pa.bool_()),
            **{name: pa.array(column, pa.float32()) for name, column in other.items()},
        }
    )


def judge(results, *, roles=None, cut=None, scores=("mse",), **more):
    roles = [None] * results.num_rows if roles is None else roles
    return evaluate(results, scores=scores, cut=cut, roles=roles, **{"primary": "mse", "resamples": 200, **more})


def archive(count=120, seed=0, shift=1.5, groups=None):
    """Normal images and defects whose scores overlap."""
    generator = np.random.default_rng(seed)
    labels = ["crack" if generator.random() < 0.4 else "good" for _ in range(count)]
    scores = np.exp(generator.normal(size=count) + shift * np.array([label == "crack" for label in labels]))
    return table(scores.astype(np.float32).tolist(), labels, groups=groups, cut=2.0), labels, scores


def figures(node):
    """All figures of an evaluation."""
    if isinstance(node, Figure):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from figures(item)
    elif dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            yield from figures(getattr(node, field.name))


def all_text(evaluation):
    return json.dumps([evaluation.to_dict(), tables(evaluation)])


def test_the_columns_that_are_read_are_those_of_the_results():
    assert set(COLUMNS) == set(table([1.0], ["good"]).column_names)
    assert set(COLUMNS) <= set(result_schema(complete({"uri": ["a.png"]}).schema, []).names)


def test_each_image_is_counted_once_for_one_reason():
    status = [SCORED, SCORED, SCORED, SCORED, SCORED, "missing", "truncated", SCORED]
    labels = ["good", "NORMAL", "crack", None, "good", "crack", "good", "crack"]
    roles = [None, None, None, None, "train", None, "calibration", "validation"]
    p = judge(table([1.0] * 8, labels, status=status), roles=roles).population
    assert (p.images, p.unscored, p.used, p.unlabelled, p.normal, p.defect) == (8, 2, 2, 1, 2, 1)
    assert p.unscored + p.used + p.unlabelled + p.normal + p.defect == p.images
    assert (p.trained_on_defects, p.calibrated_on_defects) == (1, 0)
    other = judge(table([1.0] * 8, labels, status=status), roles=[None, None, "calibration", *[None] * 5]).population
    assert (other.trained_on_defects, other.calibrated_on_defects) == (0, 1)
    assert p.defect_share == pytest.approx(1 / 3)


def test_what_the_bundle_was_made_with_changes_no_figure():
    results, labels, scores = archive()
    alone = judge(results, cut=2.0)
    more = table([*scores.tolist(), 99.0, 99.0], [*labels, "good", "good"], cut=2.0)
    roles = [None] * len(labels) + ["train", "calibration"]
    beside = judge(more, roles=roles, cut=2.0)
    assert (beside.skill, beside.at_cut, beside.floors) == (alone.skill, alone.at_cut, alone.floors)
    assert beside.examples == alone.examples


def test_the_ranking_is_that_of_scikit_learn_for_every_score():
    results, labels, scores = archive()
    other = np.random.default_rng(1).random(len(labels)).astype(np.float32)
    results = results.append_column("mae", pa.array(other))
    truth = [label == "crack" for label in labels]
    skill = judge(results, scores=("mae", "mse")).skill
    assert [s.name for s in skill] == ["mse", "mae"]
    for found, values in zip(skill, (scores.astype(np.float32), other), strict=True):
        assert found.auroc.value == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
        assert found.average_precision.value == pytest.approx(average_precision_score(truth, values), abs=1e-12)
        assert found.auroc.low < found.auroc.value < found.auroc.high
        assert found.auroc.method == "DeLong, logit scale"


def test_the_rates_at_the_cut_are_those_of_scikit_learn_with_exact_intervals():
    results, labels, scores = archive()
    truth, flagged = [label == "crack" for label in labels], scores.astype(np.float32) > np.float32(2.0)
    at = judge(results, cut=2.0).at_cut
    assert at.precision.value == pytest.approx(precision_score(truth, flagged))
    assert at.recall.value == pytest.approx(recall_score(truth, flagged))
    assert at.f1.value == pytest.approx(f1_score(truth, flagged))
    counts = (at.true_positives, at.false_positives, at.false_negatives, at.true_negatives)
    assert sum(counts) == len(labels)
    positives = at.true_positives + at.false_negatives
    assert (at.recall.low, at.recall.high) == clopper_pearson(at.true_positives, positives, 0.95)
    negatives = at.false_positives + at.true_negatives
    assert at.false_positive_rate.value == at.false_positives / negatives
    assert at.flags_that_differ == 0


def test_a_score_that_equals_the_cut_in_float32_is_not_flagged():
    equal = np.float32(0.004)
    scores = [float(equal), float(np.nextafter(equal, np.float32(1)))]
    at = judge(table(scores, ["crack", "crack"], cut=0.004), cut=0.004).at_cut
    assert (at.true_positives, at.false_negatives) == (1, 1)


def test_the_lesson_table_flags_the_third_and_the_fifth():
    results = table([0.002, 0.0015, 0.005, 0.0008, 0.007], ["good", "good", "crack", "good", "crack"], cut=0.004)
    highest = judge(results, cut=0.004).examples.highest
    assert [(x.uri[-7:-4], x.flagged) for x in highest] == [
        ("004", True),
        ("002", True),
        ("000", False),
        ("001", False),
        ("003", False),
    ]


def test_flags_of_another_cut_are_noticed():
    results, _, scores = archive()
    evaluation = judge(results, cut=3.0)
    between = int(((scores > 2.0) & (scores <= 3.0)).sum())
    assert evaluation.at_cut.flags_that_differ == between > 0
    assert any(f"{between} of these images carry another flag" in sentence for sentence in evaluation.words)


def test_the_floors_are_those_of_the_trivial_rules():
    results, labels, _ = archive()
    truth = [label == "crack" for label in labels]
    floors = judge(results, cut=2.0).floors
    assert floors.f1_flag_everything.value == pytest.approx(f1_score(truth, [True] * len(truth)))
    assert floors.average_precision_random.value == pytest.approx(np.mean(truth))
    assert [floor.name for floor in floors.trivial] == ["size_bytes", *PIXEL_STATISTICS]
    assert [floor.auroc.value for floor in floors.trivial] == [0.5] * 5


@pytest.mark.parametrize(
    ("name", "of_defects", "title"),
    [
        ("size_bytes", 2000, "file size alone (defects larger)"),
        ("size_bytes", 500, "file size alone (defects smaller)"),
        ("pixel_mean", 0.75, "mean brightness alone (defects brighter)"),
        ("pixel_mean", 0.25, "mean brightness alone (defects darker)"),
        ("pixel_std", 0.25, "contrast alone (defects lower)"),
        ("pixel_p01", 0.25, "brightness of the darkest 1 % alone (defects darker)"),
        ("pixel_sharpness", 0.25, "sharpness alone (defects blurrier)"),
    ],
)
def test_what_gives_the_defects_away_without_a_model_is_told(name, of_defects, title):
    labels = ["good"] * 20 + ["crack"] * 20
    values = [1000 if name == "size_bytes" else 0.5] * 20 + [of_defects] * 20
    given = {"sizes": values} if name == "size_bytes" else {"pixels": {name: values}}
    evaluation = judge(table(np.random.default_rng(0).random(40).tolist(), labels, **given))
    [floor] = [floor for floor in evaluation.floors.trivial if floor.name == name]
    assert (floor.title, floor.auroc.value, floor.is_beaten) == (title, 1.0, False)
    assert evaluation.floors.best["the best trivial statistic"] == floor
    [told] = [words for words in evaluation.words if words.startswith("The best trivial statistic")]
    assert told.startswith(f"The best trivial statistic, {title}, reaches 1.000: mse is 0.")
    assert told.endswith("), which is not better.")
    rows = next(rows for name, _, rows in tables(evaluation) if name == "Floors, which need no trained network")
    [row] = [row for row in rows if row[0] == title]
    assert (row[1], row[-1]) == ("1", "no")


def with_floors(strength, groups=None, primary="mse"):
    """An evaluation of a score of AUROC 0.97 beside all floors, of which those of components are as `strength` says."""
    generator = np.random.default_rng(0)
    truth = np.arange(160) % 2
    columns = {name: generator.normal(size=160) for name in (*PIXEL_STATISTICS, *UNTRAINED_SCORES)}
    columns["component_gradient"] = truth * strength + generator.normal(size=160)
    pixels = {name: columns.pop(name) for name in PIXEL_STATISTICS}
    scores = (truth * 2.7 + generator.normal(size=160)).astype(np.float32)
    labels = ["crack" if hit else "good" for hit in truth]
    results = table(scores.tolist(), labels, groups=groups, pixels=pixels, **columns)
    return judge(results, primary=primary, scores=("mse", *UNTRAINED_SCORES))


def test_a_score_that_beats_all_floors_is_said_to_and_one_that_does_not_is_not():
    best, even, behind = (with_floors(strength).words for strength in (0.5, 2.4, 6.0))
    assert "So mse beats every floor: the detector knows more than what needs no training." in best
    told = "So mse has not been shown to beat the best score by principal components: look whether the detector is "
    assert f"{told}worth its training." in even
    assert f"{told}worth its training." in behind
    assert any(words.startswith("The nearest training image, nearest_distance, reaches 0.") for words in best)
    [close] = [
        words for words in even if words.startswith("The best score by principal components, component_gradient,")
    ]
    assert "95 % interval of the difference -0." in close
    assert close.endswith("which is not clearly better.")
    [ahead] = [
        words for words in behind if words.startswith("The best score by principal components, component_gradient,")
    ]
    assert re.search(r"mse is 0\.0\d\d below it \(95 % interval of the difference .*\), which is not better\.$", ahead)


def test_what_needs_no_network_stands_among_the_floors_and_not_among_the_scores():
    evaluation = with_floors(1.0)
    assert [one.name for one in evaluation.skill] == ["mse"]
    assert [one.name for one in evaluation.floors.components] == [*COMPONENT_SCORES, *TEXTURE_SCORES]
    assert [one.name for one in evaluation.floors.nearest] == list(NEAREST_SCORES)
    assert [one.name for one in evaluation.floors.all] == list(FLOOR_COLUMNS)


def test_a_primary_score_that_is_a_floor_is_said_to_be_one_and_is_not_held_against_itself():
    evaluation = with_floors(1.0, primary="component_mse")
    assert [one.name for one in evaluation.floors.components] == [
        "component_worst1",
        "component_gradient",
        "texture_worst1",
    ]
    assert [one.name for one in evaluation.skill] == ["component_mse", "mse"]
    assert (
        "component_mse needs no trained network and is a floor itself: the network adds nothing to this score."
    ) in evaluation.words


def test_intervals_of_floors_come_from_groups():
    floors = with_floors(1.0, groups=[f"module-{number // 8}" for number in range(160)]).floors
    for floor in floors.components:
        assert floor.lead.method == floor.auroc.method == "bootstrap of 20 groups, 200 resamples"
        assert floor.lead.low < floor.lead.value < floor.lead.high


@pytest.mark.parametrize("primary", SCORE_NAMES)
def test_every_score_is_told_in_words_that_fit_it(primary):
    evaluation = with_floors(1.0, primary=primary)
    description = f"The score is {primary}: {IN_WORDS[primary]}."
    assert description in evaluation.words
    told = " ".join(words for words in evaluation.words if words != description and "ratio of errors" not in words)
    titles = " ".join(title for title, _, _ in tables(evaluation))
    assert f"{primary} by role" in titles
    for text in (told, titles):
        assert not re.search("error|reproduc|reconstruct", text.replace(primary, ""))


def test_without_an_interval_no_score_is_called_better_than_a_floor():
    words = judge(table([1.0, 2, 3, 4], ["good", "good", "good", "crack"], sizes=[1, 4, 2, 3])).words
    assert (
        "The best trivial statistic, file size alone (defects larger), reaches 0.667: mse is 0.333 above it, and "
        "without an interval nobody can tell."
    ) in words


def test_a_floor_that_is_not_known_is_left_out_or_is_a_reason():
    labels = ["good", "good", "crack", "crack"]
    some = judge(table([1.0, 2, 3, 4], labels, sizes=[1, None, 3, 3])).floors.trivial[0]
    assert some.auroc.value == 1.0
    assert some.auroc.method == "defects taken to be larger, of the 3 images whose file size is known"
    none = judge(table([1.0, 2, 3, 4], labels, sizes=[None, None, 3, 3]))
    assert none.floors.trivial[0].auroc.value is None
    assert "No floor by file size: it is not known of a whole class." in none.words
    assert none.floors.best["the best trivial statistic"].auroc.value == 0.5


def test_results_of_an_older_schema_lack_some_floors_and_that_is_said_once():
    results = table([1.0, 2, 3, 4], ["good", "good", "crack", "crack"]).drop_columns(list(PIXEL_STATISTICS))
    evaluation = judge(results)
    assert [floor.auroc.value for floor in evaluation.floors.all] == [0.5, *[None] * 9]
    [told] = [words for words in evaluation.words if words.startswith("The results have no ")]
    assert told == (
        "The results have no pixel_mean, pixel_std, pixel_p01, pixel_sharpness, component_mse, component_worst1, "
        "component_gradient, texture_worst1, nearest_distance to hold the score against."
    )


def test_errors_stand_side_by_side_by_role():
    labels = ["good"] * 6 + ["crack", None]
    scores = [0.25, 0.75, 2.0, 2.0, 3.0, 6.0, 9.0, 50.0]
    roles = ["train", "train", "train", "calibration", None, None, None, None]
    errors = judge(table(scores, labels), roles=roles).errors
    assert [(e.role, e.images, e.mean, e.median) for e in errors] == [
        ("train", 3, 1.0, 0.75),
        ("validation", 0, None, None),
        ("calibration", 1, 2.0, 2.0),
        ("unseen normal", 2, 4.5, 4.5),
        ("unseen defect", 1, 9.0, 9.0),
    ]
    assert errors[1].reason == "No validation image is scored in this run."


@pytest.mark.parametrize(
    ("train", "held_out", "words"),
    [
        (0.0005, 0.01, "No, it does not generalise"),
        (0.01, 0.015, "it memorised some of these"),
        (0.01, 0.011, "That is near 1"),
        (0.01, 0.001, "easier than the training images"),
    ],
)
def test_the_ratio_of_errors_says_whether_it_generalises(train, held_out, words):
    results = table([train] * 3 + [held_out] * 3, ["good"] * 6)
    evaluation = judge(results, roles=["train"] * 3 + [None] * 3)
    assert evaluation.error_ratio.value == pytest.approx(held_out / train, rel=1e-6)
    assert sum(words in sentence for sentence in evaluation.words) == 1


def test_the_ratio_of_errors_has_an_interval_from_those_of_both_medians():
    generator = np.random.default_rng(0)
    train, held_out = generator.lognormal(0, 0.3, 200), generator.lognormal(0.5, 0.3, 100)
    results = table([*train.tolist(), *held_out.tolist()], ["good"] * 300)
    ratio = judge(results, roles=["train"] * 200 + [None] * 100).error_ratio
    ends = [quantile_test(values.astype(np.float32), p=0.5).confidence_interval(0.975) for values in (held_out, train)]
    assert ratio.low == pytest.approx(ends[0].low / ends[1].high)
    assert ratio.high == pytest.approx(ends[0].high / ends[1].low)
    assert ratio.low < np.exp(0.5) < ratio.high


def test_without_unseen_normal_images_the_ratio_takes_those_of_calibration():
    ratio = judge(table([1.0, 3.0], ["good"] * 2), roles=["train", "calibration"]).error_ratio
    assert ratio.value == 3.0
    assert ratio.method.startswith("median mse of calibration images")


@pytest.mark.parametrize("primary", ["head_max", "latent_distance", "nearest_distance", "combined"])
def test_the_ratio_of_errors_is_of_the_reconstruction_whatever_the_score(primary):
    roles = ["train", "train", None]
    results = table([-3.0, 5.0, 9.0], ["good"] * 3, mse=[0.25, 0.75, 1.0])
    ratio = judge(results, primary=primary, roles=roles).error_ratio
    assert (ratio.value, ratio.method) == (2.0, "median mse of unseen normal images over that of the training images")
    without = judge(results.drop_columns("mse"), primary=primary, roles=roles)
    assert without.error_ratio.reason == "No ratio of errors: the results have no column mse."


@pytest.mark.parametrize(
    ("scores", "roles", "reason"),
    [
        ([1.0, 2.0], [None, None], "no image of this run was trained on"),
        ([1.0, 2.0], ["train", "train"], "no normal image of this run was kept out"),
        ([0.0, 2.0], ["train", None], "is not above 0"),
    ],
)
def test_a_ratio_that_cannot_be_had_has_its_reason(scores, roles, reason):
    evaluation = judge(table(scores, ["good", "good"]), roles=roles)
    assert evaluation.error_ratio.value is None
    assert reason in evaluation.error_ratio.reason
    assert evaluation.error_ratio.reason in evaluation.words


def test_overlap_is_the_share_of_defects_among_the_normal_scores():
    normals, defects = list(range(1, 41)), [5, 38.5, 39.5, 100]
    evaluation = judge(table([*normals, *defects], ["good"] * 40 + ["crack"] * 4))
    overlap = evaluation.overlap
    assert overlap.below_highest_normal.value == 0.75
    assert overlap.below_95_percent_of_normal.value == 0.25
    assert (overlap.below_highest_normal.low, overlap.below_highest_normal.high) == clopper_pearson(3, 4, 0.95)
    assert evaluation.breakdown.gap.value == -35.0


def test_classes_that_are_parted_are_said_to_be_with_the_gap_between_them():
    evaluation = judge(table([1.0, 2.0, 5.0, 6.0], ["good", "good", "crack", "crack"]))
    assert "Every defect here scores higher than every normal image, the lowest by 3." in evaluation.words


def test_recall_at_fixed_rates_is_told_or_why_it_cannot_be():
    evaluation = judge(archive(count=240)[0])
    points = {point.false_positive_rate: point for point in evaluation.recall_at}
    assert list(points) == [0.001, 0.01, 0.05]
    assert points[0.001].recall.reason in evaluation.words
    told = [words for words in evaluation.words if words.startswith("With 5 % of the normal images flagged or less, ")]
    assert len(told) == 1
    assert told[0].endswith(" of the defects could be found, by a cut chosen on these images.")
    names = [title for title, _, _ in tables(evaluation)]
    assert "Recall at fixed false-positive rates" in names


def test_kinds_and_groups_have_tables_of_their_own():
    labels = ["good"] * 30 + ["crack"] * 5 + ["stain"] * 5
    groups = [f"line-{number % 3}" for number in range(40)]
    evaluation = judge(table(np.arange(40.0).tolist(), labels, groups=groups, cut=32.0), cut=32.0)
    found = {title: [row[0] for row in rows] for title, _, rows in tables(evaluation)}
    assert found["By kind of defect"] == ["crack", "stain"]
    assert found["By group"] == ["line-0", "line-1", "line-2"]
    assert found["Gates of production"] == [gate.name for gate in evaluation.gates]


def test_the_f1_at_the_cut_has_an_interval():
    f1 = judge(archive()[0], cut=2.0).at_cut.f1
    assert f1.low < f1.value < f1.high


def test_the_verdict_comes_first_and_names_what_may_be_copies_of_training_images():
    evaluation = judge(archive()[0], cut=2.0, about=About(copies=3))
    assert evaluation.words[0].startswith("Ready for production: n")
    told = "3 labelled images have the name and the size of images that the bundle was made with; whether they are the"
    assert told in evaluation.words[0]


def test_with_groups_the_intervals_come_from_groups():
    _, labels, _ = archive()
    names = [f"module-{number // 10}" for number in range(len(labels))]
    evaluation = judge(archive(groups=names)[0], cut=2.0)
    assert evaluation.population.groups == 12
    assert evaluation.skill[0].auroc.method == "bootstrap of 12 groups, 200 resamples"
    assert any("The images come from 12 groups" in sentence for sentence in evaluation.words)


def test_images_without_a_group_among_grouped_ones_are_groups_of_their_own():
    groups = ["a", "a", None, None, "b", "b"]
    p = judge(table([1.0, 2, 3, 4, 5, 6], ["good", "crack"] * 3, groups=groups)).population
    assert (p.groups, p.normal_groups, p.defect_groups) == (4, 3, 3)


def test_few_groups_are_said_to_be_unreliable():
    _, labels, _ = archive()
    names = [f"module-{number // 30}" for number in range(len(labels))]
    evaluation = judge(archive(groups=names)[0])
    assert "One class comes from 4 group(s) only, so no interval here is reliable." in evaluation.words


def test_images_of_groups_that_the_bundle_was_made_with_are_counted():
    results = table([1.0] * 5, ["good"] * 5, groups=["a", "a", "b", "c", None])
    roles = ["train", None, None, None, None]
    assert judge(results, roles=roles).population.from_used_groups == 1
    assert judge(results, roles=roles, used_groups={"b", "z"}).population.from_used_groups == 2


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([None] * 4, "No unseen image is scored and labelled"),
        (["good"] * 4, "No unseen defect is scored and labelled"),
        (["crack"] * 4, "No unseen normal image is scored and labelled"),
    ],
)
def test_without_two_classes_there_is_a_reason_and_no_ranking(labels, reason):
    evaluation = judge(table([1.0, 2, 3, 4], labels, cut=2.5), cut=2.5)
    for found in (
        evaluation.skill[0].auroc,
        evaluation.overlap.below_highest_normal,
        *figures(evaluation.floors),
    ):
        assert found.value is None
        assert reason in found.reason
    assert any(reason in sentence for sentence in evaluation.words)


def test_with_normal_images_only_the_false_positive_rate_is_still_had():
    at = judge(table([1.0, 2, 3, 4], ["good"] * 4, cut=2.5), cut=2.5).at_cut
    assert at.false_positive_rate.value == 0.5
    assert at.recall.value is None
    assert at.f1.value is None


def test_without_a_cut_there_is_a_reason_and_nothing_is_flagged():
    evaluation = judge(archive()[0], cut=None)
    assert evaluation.at_cut.reason == "The bundle has no threshold, so nothing is flagged."
    assert all(f.value is None for f in figures(evaluation.at_cut))
    assert all(x.flagged is None for x in evaluation.examples.highest)
    assert evaluation.at_cut.reason in evaluation.words


def test_a_cut_above_everything_has_no_precision():
    at = judge(archive()[0], cut=1e6).at_cut
    assert (at.precision.value, at.recall.value, at.f1.value) == (None, 0.0, 0.0)
    assert at.precision.reason == "No image is above the cut, so there is no precision."


def test_a_score_that_is_absent_or_not_finite_has_its_reason_and_the_others_stand():
    results, labels, _ = archive()
    results = results.append_column("mae", pa.array([float("nan")] * len(labels), pa.float32()))
    skill = judge(results, scores=("mse", "mae", "lpips")).skill
    assert [s.auroc.value is None for s in skill] == [False, True, True]
    assert skill[1].auroc.reason == "Some scored images have no finite mae."
    assert skill[2].auroc.reason == "The results have no column lpips."


def test_a_scored_row_without_a_finite_score_is_refused():
    with pytest.raises(DataError, match="1 of 3 scored images have no finite score"):
        judge(table([1.0, float("nan"), 2.0], ["good"] * 3))


def test_roles_of_another_length_are_a_bug():
    with pytest.raises(ValueError, match="1 roles for 3 result rows"):
        judge(table([1.0, 2.0, 3.0], ["good"] * 3), roles=[None])


@pytest.mark.parametrize("count", [0, 1, 2, 3, 30])
@pytest.mark.parametrize("cut", [None, 2.0])
def test_json_has_no_nan_and_nothing_is_missing_without_a_reason(count, cut):
    results = archive()[0].slice(0, count)
    evaluation = judge(results, roles=[None] * count, cut=cut)
    json.dumps(evaluation.to_dict(), allow_nan=False)
    for found in figures(evaluation):
        assert found.value is not None or found.reason
    for found in (f for s in evaluation.skill for f in figures(s)):
        assert found.low is not None or found.reason
    for error in evaluation.errors:
        assert error.median is not None or error.reason


ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["good", "crack", "stain", None]),
        st.sampled_from(["a", "b", None]),
        st.sampled_from([SCORED, SCORED, "missing"]),
        st.sampled_from([None, None, "train", "calibration"]),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.sampled_from([None, 1.0, 4.0]))
def test_ties_single_classes_few_images_and_failures_have_figures_or_reasons(rows, cut):
    scores, labels, groups, status, roles = (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 5
    evaluation = judge(table(scores, labels, groups=groups, status=status, cut=cut), roles=roles, cut=cut)
    json.dumps(evaluation.to_dict(), allow_nan=False)
    assert all(found.value is not None or found.reason for found in figures(evaluation))
    assert evaluation.words[0].startswith("Ready for production: ")
    assert len(evaluation.gates) == 6
    assert not all(gate.passed for gate in evaluation.gates)


@pytest.mark.parametrize("labels", [["good", "crack"] * 20, ["good"] * 40, [None] * 40])
def test_accuracy_is_never_named(labels):
    evaluation = judge(table(np.arange(40.0).tolist(), labels, cut=20.0), cut=20.0)
    assert "accura" not in all_text(evaluation).lower()


def test_the_words_are_whole_sentences_without_repetition():
    for results in (archive()[0], table([1.0, 2.0], [None, None])):
        words = judge(results, cut=2.0).words
        assert len(words) == len(set(words))
        assert all(sentence[0].isalnum() and sentence.endswith(".") for sentence in words)


def test_precision_is_tied_to_the_share_of_defects():
    evaluation = judge(table([1.0, 2, 3, 4], ["good", "good", "good", "crack"], cut=2.5), cut=2.5)
    [sentence] = [s for s in evaluation.words if "precision" in s]
    assert "holds at this set's share of defects, 25 %" in sentence
    assert "lower where defects are rarer" in sentence


def test_a_score_worse_than_chance_is_called_so():
    evaluation = judge(table([4.0, 3, 2, 1], ["good", "good", "crack", "crack"]))
    assert evaluation.skill[0].auroc.value == 0.0
    assert any("worse than chance" in sentence for sentence in evaluation.words)


def test_the_tables_are_text_of_one_width():
    for evaluation in (judge(archive()[0], cut=2.0), judge(table([1.0], [None]))):
        for title, columns, rows in tables(evaluation):
            assert title
            assert rows
            assert all(len(row) == len(columns) and all(isinstance(cell, str) for cell in row) for row in rows)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("crack", "No unseen normal image is scored and labelled, so false alarms and ranking cannot be had."),
        ("good", "No unseen defect is scored and labelled, so recall and ranking cannot be had."),
    ],
)
def test_without_one_of_the_classes_a_sentence_stands_for_the_ranking_and_no_table_of_dashes(label, sentence):
    evaluation = judge(table([1.0, 2.0, 3.0], [label] * 3), roles=["calibration", None, None], cut=1.5)
    assert [title for title, _, _ in tables(evaluation)][1:4] == ["Images", "At the cut 1.5", "mse by role"]
    assert sentence in evaluation.words


def test_without_a_cut_a_sentence_stands_for_its_figures_and_roles_without_images_have_no_row():
    evaluation = judge(archive()[0], cut=None)
    titles = [title for title, _, _ in tables(evaluation)]
    assert not any("cut" in title for title in titles)
    assert "The bundle has no threshold, so nothing is flagged." in evaluation.words
    (roles,) = (rows for title, _, rows in tables(evaluation) if title == "mse by role")
    assert [row[0] for row in roles] == ["unseen normal", "unseen defect"]


def test_examples_are_the_highest_the_missed_and_the_false_alarms():
    results, labels, scores = archive()
    examples = judge(results, cut=2.0).examples
    assert len(examples.highest) == 10
    assert [x.score for x in examples.highest] == sorted(scores.astype(np.float32), reverse=True)[:10]
    assert {x.label for x in examples.lowest_defects} == {"crack"}
    defects = sorted(s for s, label in zip(scores.astype(np.float32), labels, strict=True) if label == "crack")
    assert [x.score for x in examples.lowest_defects] == defects[:5]
    assert {x.label for x in examples.highest_normals} == {"good"}
    assert not examples.lowest_defects[0].flagged
    assert examples.highest_normals[0].flagged


def test_the_same_seed_gives_the_same_evaluation():
    results = archive()[0]
    assert judge(results, seed=3) == judge(results, seed=3)
