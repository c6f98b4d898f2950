"""`rayae flag` by rules that ask for more than scores: labels of images that the bundle does not know, and groups."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rayae import bundle as bundles
from rayae.bundle import Bundle
from rayae.cli import main
from rayae.cuts.labelled import keys_of
from rayae.decisions import all_of
from rayae.run import Run
from rayae.threshold import Threshold, conformal
from tests.conftest import write_pictures
from tests.unit.small_runs import CALIBRATION, finish, plan
from tests.unit.small_things import small_bundle


@pytest.fixture(scope="module")
def scored(bundle: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over pictures of which some are normal, some have a scratch, and 264 were used to train."""
    folder = tmp_path_factory.mktemp("scored")
    images = write_pictures(folder / "images", 60, seed=7, defects=40)
    words = [f"images=[{images},{pictures}]", f"bundle={bundle}", f"out={folder}/run", "labels=folder"]
    assert main(["score", *words, "chunk_images=100", "placement=inline"]) == 0
    return folder / "run"


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> Run:
    """A copy that has no decisions."""
    return Run.open(str(shutil.copytree(scored, tmp_path / "run")))


def threshold_of(run: Run, *words: str) -> Threshold:
    assert main(["flag", run.uri, *words, "borderline=0"]) == 0
    return all_of(run)[-1].threshold


def own_images(run: Run) -> pd.DataFrame:
    """The images that the bundle was not made with: new normal ones, and all defects."""
    results = run.results(["uri", "label", "score"]).to_pandas()
    results["key"] = keys_of(results["uri"].tolist())
    known = set(Bundle.open(run.bundle_uri).training_images()["uri"].to_pylist())
    return results[~results["uri"].isin(known)]


@pytest.mark.parametrize(
    "words",
    [
        ["rule=certified", "alpha=0.2"],
        ["rule=recall", "recall=0.8"],
        ["rule=precision", "precision=0.4", "prevalence=0.2"],
        ["rule=f_beta", "beta=2", "prevalence=0.1"],
        ["rule=cost", "cost_fn=10", "cost_fp=1", "prevalence=0.1", "cost_review=0.2"],
        ["rule=capacity", "flags=12"],
        ["rule=sigma", "sigmas=2"],
    ],
    ids=lambda words: words[0],
)
def test_each_rule_is_a_decision_with_what_it_was_asked(words: list[str], run: Run) -> None:
    cut = threshold_of(run, *words)
    (decision,) = all_of(run)
    asked = dict(word.split("=") for word in words)
    assert {name: str(value) for name, value in decision.ruling.settings.items() if name in asked} == {
        name: value if name in ("rule", "flags") else str(float(value)) for name, value in asked.items()
    }
    assert cut.rule == asked["rule"]
    assert decision.counts.flagged == (run.results(["score"])["score"].to_numpy() > cut.cut).sum()


def test_labels_choose_by_their_share_and_the_others_measure(run: Run) -> None:
    cut = threshold_of(run, "rule=recall", "recall=0.8", "choose_on=0.4")
    own = own_images(run)
    defects, normals = own[own["label"] == "scratch"], own[own["label"] == "good"]
    (decision,) = all_of(run)
    assert decision.labels is not None
    others = [part[part["key"] >= 0.4] for part in (defects, normals)]
    assert decision.labels == {
        "left_out": 240,
        "chosen_on": {"defects": (defects["key"] < 0.4).sum(), "normals": (normals["key"] < 0.4).sum()},
        "measured_on": {
            "defects": len(others[0]),
            "normals": len(others[1]),
            "defects_flagged": (others[0]["score"] > cut.cut).sum(),
            "normals_flagged": (others[1]["score"] > cut.cut).sum(),
        },
    }
    found, counts = decision.labels["measured_on"], decision.labels["chosen_on"]
    assert cut.guarantee.endswith(
        f"{counts['defects']} defects and {counts['normals']} normal images of the run were there to choose the cut; "
        f"of the others it flags {found['defects_flagged']} of {found['defects']} defects and "
        f"{found['normals_flagged']} of {found['normals']} normal images."
    )


def test_images_that_the_bundle_was_made_with_choose_nothing_and_that_is_said(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    threshold_of(run, "rule=f_beta", "beta=1", "choose_on=1")
    said = capsys.readouterr().out
    told = "240 labelled images have no say: the bundle was made with them, or with images of their groups\n"
    assert said.startswith(told)
    assert "and no labelled image is left to measure it on." in said


def test_a_curve_tells_what_other_cuts_would_do(run: Run) -> None:
    words = ["rule=cost", "cost_fn=10", "cost_fp=1", "prevalence=0.1"]
    cut = threshold_of(run, *words)
    curve = pd.read_csv(Path(run.uri, "decisions", all_of(run)[0].id, "curve.csv"))
    assert [*curve.columns] == [
        *("cut", "flags", "false_positives", "lower_false_positives", "upper_false_positives"),
        *("recall", "lower_recall", "upper_recall", "cost"),
    ]
    scores = run.results(["score"])["score"].to_numpy()
    assert curve["flags"].tolist() == [(scores > np.float32(own)).sum() for own in curve["cut"]]
    assert cut.figures is not None
    assert curve["cost"].min() >= cut.figures["cost"]


def test_the_recall_of_a_curve_is_there_for_rules_that_need_no_labels(run: Run) -> None:
    threshold_of(run, "rule=fixed", "cut=1")
    curve = pd.read_csv(Path(run.uri, "decisions", all_of(run)[0].id, "curve.csv"))
    own = own_images(run)
    defects = own[own["label"] == "scratch"]["score"].to_numpy()
    assert curve["recall"].tolist() == pytest.approx([(defects > np.float32(cut)).mean() for cut in curve["cut"]])


def test_labels_cannot_choose_where_nobody_knows_what_the_bundle_was_made_with(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads(Path(run.uri, "run.json").read_text())
    record["fingerprint"]["bundle"] = "0" * 12
    Path(run.uri, "run.json").write_text(json.dumps(record))
    assert main(["flag", run.uri, "rule=recall", "recall=0.8"]) == 1
    assert f"{run.uri} was scored with the bundle 000000000000, but " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rule=recall", "recall=0.999"], "rule=recall with recall=0.999 needs at least 2,995 labelled defects"),
        (["rule=certified", "alpha=0.01"], "rule=certified with alpha=0.01 needs at least 299 normal calibration"),
        (["rule=peaks", "alpha=0.001"], "rule=peaks needs 50 scores in the tail, the highest tenth of 500 calibration"),
        (["rule=capacity", "flags=1000"], "rule=capacity with flags=1,000 has nothing to choose, since the run has no"),
    ],
)
def test_what_a_rule_cannot_do_is_its_sentence(
    words: list[str], sentence: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flag", run.uri, *words]) == 1
    assert f"error: {sentence}" in capsys.readouterr().err
    assert all_of(run) == []


def test_calibration_images_without_groups_have_no_cuts_of_groups(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flag", run.uri, "rule=conformal", "alpha=0.1", "per_group=true"]) == 2
    said = capsys.readouterr().err
    assert "error: per_group=true needs calibration images with a `group`, and none of " in said


def with_bundle(run: Run, folder: Path) -> Run:
    """The run as if a bundle had scored it that has 60 calibration images of the group a and 40 of b."""
    model = calibrated(small_bundle(folder))
    record = json.loads(Path(run.uri, "run.json").read_text())
    record["bundle"] = model.uri
    record["fingerprint"] |= {"bundle": model.bundle_id, "calibration": model.record["calibration"]}
    Path(run.uri, "run.json").write_text(json.dumps(record))
    return Run.open(run.uri)


@pytest.fixture
def grouped(tmp_path: Path) -> Run:
    """A run of images of the groups a, b and c."""
    groups = pa.array(["abc"[number % 3] for number in range(10)])
    return with_bundle(finish(plan(tmp_path / "run", group=groups)), tmp_path / "bundle")


def test_doubtful_images_are_for_a_person_where_a_review_pays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # scores are 0.02 times the number of the image; from 20 to 39 every other one is a defect, from 40 on all are
    labels = ["scratch" if number >= 40 or (number >= 20 and number % 2) else "good" for number in range(60)]
    run = with_bundle(finish(plan(tmp_path / "run", rows=60, label=pa.array(labels))), tmp_path / "bundle")
    costs = ["cost_fn=1", "cost_fp=1", "cost_review=0.1", "prevalence=0.5", "choose_on=1", "borderline=0"]
    assert main(["flag", run.uri, "rule=cost", *costs]) == 0
    (decision,) = all_of(run)
    assert decision.threshold.review_cut is not None
    scores = run.results(["score"])["score"].to_numpy(zero_copy_only=False)
    is_doubtful = (scores > np.float32(decision.threshold.review_cut)) & (scores <= decision.threshold.cut)
    flags = pd.concat(map(pd.read_parquet, sorted(Path(run.uri, "decisions", decision.id).glob("flags-*"))))
    assert flags[flags["needs_review"].fillna(False)]["image_id"].tolist() == np.flatnonzero(is_doubtful).tolist()
    assert decision.counts.for_review == is_doubtful.sum() > 5
    assert f", {decision.counts.for_review} more for a person to look at\n" in capsys.readouterr().out


def calibrated(model: Bundle, scores: np.ndarray[tuple[int], np.dtype[np.float32]] = CALIBRATION) -> Bundle:
    columns = dict.fromkeys((*model.scores, "score"), scores)
    about = {"uri": [f"c{number}.png" for number in range(100)], "group": ["a"] * 60 + ["b"] * 40}
    table = pa.table({**about, **columns, "is_defect": [False] * 100})
    cut = conformal(scores, score="mse", alpha=0.05, bundle_id=model.bundle_id)
    return bundles.calibrated(model, table, cut, None)


def test_groups_with_enough_calibration_images_have_their_own_cut_and_the_others_are_named(
    grouped: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flag", grouped.uri, "rule=conformal", "alpha=0.02", "per_group=true", "borderline=0"]) == 0
    told = "warning: 1 of 2 groups have fewer than 49 calibration images and get the cut of all: b.\n"
    said = capsys.readouterr()
    assert said.err == told
    assert "\n1 group(s) have a cut of their own, from 0.06 to 0.06, by the same rule\n" in said.out
    (decision,) = all_of(grouped)
    cuts = decision.ruling.thresholds
    assert {group: (cut.n, cut.cut) for group, cut in cuts.items()} == {
        "": (100, CALIBRATION[98]),
        "a": (60, CALIBRATION[59]),
    }
    flags = pd.concat(map(pd.read_parquet, sorted(Path(grouped.uri, "decisions", decision.id).glob("flags-*"))))
    # scores are 0.02 times the number of the image; those of a are 0, 3, 6 and 9, and 0.06 lies between the cuts
    assert flags[flags["is_anomaly"].fillna(False)]["image_id"].tolist() == [6, 7, 8, 9]
    assert flags["p_value"].tolist()[3] == 2 / 61
    assert main(["decisions", grouped.uri]) == 0
    listed = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "rule=conformal" in listed
    assert "2 cuts" in listed


def test_a_group_has_its_own_certificate_where_that_is_asked(grouped: Run) -> None:
    assert main(["flag", grouped.uri, "rule=certified", "alpha=0.1", "per_group=true", "borderline=0"]) == 0
    cuts = all_of(grouped)[0].ruling.thresholds
    assert {group: cut.n for group, cut in cuts.items()} == {"": 100, "a": 60, "b": 40}
    assert all(cut.upper_fpr is not None and cut.upper_fpr <= 0.1 for cut in cuts.values())


def test_how_many_groups_the_calibration_has_is_in_the_guarantee(grouped: Run) -> None:
    assert threshold_of(grouped, "rule=fixed", "cut=0.1").guarantee.endswith(
        "The calibration images are of only 2 groups, and images of a group are alike: the certificate is optimistic."
    )


def test_groups_of_another_calibration_are_not_taken(grouped: Run, capsys: pytest.CaptureFixture[str]) -> None:
    calibrated(Bundle.open(grouped.bundle_uri), CALIBRATION * 2)
    assert main(["flag", grouped.uri, "rule=conformal", "alpha=0.1", "per_group=true"]) == 1
    told = f"error: {grouped.bundle_uri} was calibrated again since {grouped.uri} was planned, so the groups of its "
    assert told in capsys.readouterr().err
