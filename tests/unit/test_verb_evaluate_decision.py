"""`rayae evaluate` with a decision: its cut, without the images that chose it; and rows that are only counted."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rayae.cli import main
from rayae.decisions import Decision, all_of
from rayae.errors import DataError
from rayae.flags import anomalies
from rayae.gates import Training
from rayae.run import Run
from rayae.threshold import exceeds
from rayae.verbs.evaluate_rows import Gathering, rows_of, training_of
from rayae.verbs.flag_bundle import bundle_of
from tests.unit.small_runs import finish, plan, write_chunk
from tests.unit.small_runs import scored as rows_scored
from tests.unit.small_things import TRAINING, small_bundle
from tests.unit.test_verb_flag_rules import grouped, own_images, run, scored, with_bundle

__all__ = ["grouped", "run", "scored"]


def decided(run: Run, *words: str) -> Decision:
    assert main(["flag", run.uri, *words, "borderline=0"]) == 0
    return all_of(run)[-1]


def evaluated(run: Run, *words: str, decision: Decision | None = None) -> dict:
    asked = [] if decision is None else [f"decision={decision.id}"]
    assert main(["evaluate", run.uri, "resamples=100", *asked, *words]) == 0
    folder = Path(run.uri) if decision is None else Path(run.uri, "decisions", decision.id)
    return json.loads((folder / "evaluation.json").read_text())


def test_the_cut_is_that_of_the_decision_and_stands_beside_it(run: Run) -> None:
    own, decision = evaluated(run), decided(run, "rule=fixed", "cut=0.001")
    before = Path(run.uri, "evaluation.json").read_bytes()
    found = evaluated(run, decision=decision)
    assert Path(run.uri, "evaluation.json").read_bytes() == before
    assert (found["threshold_id"], found["at_cut"]["cut"]) == (decision.threshold.id, decision.threshold.cut)
    assert found["decided"] == {"id": decision.id, "chose": 0, "cuts_of_groups": 0, "review": None}
    assert f"The cut is that of the decision {decision.id}; no label chose it." in found["words"]
    assert found["skill"] == own["skill"]
    images = own_images(run)
    defects = images[images["label"] == "scratch"]["score"].to_numpy()
    assert found["at_cut"]["true_positives"] == int(exceeds(defects, decision.threshold.cut).sum())
    assert found["at_cut"]["flags_that_differ"] is None


def test_a_false_discovery_rate_is_held_against_the_share_of_normal_images_among_the_flagged(run: Run) -> None:
    found = evaluated(run, decision=decided(run, "fdr=0.6"))
    (gate,) = (gate for gate in found["gates"] if gate["name"] == "guarantee")
    assert gate["limit"] == 0.6
    assert gate["figure"] == pytest.approx(1 - found["at_cut"]["precision"]["high"])
    assert "of the flagged labelled images are normal" in gate["sentence"]


def test_images_that_chose_the_cut_are_left_out_of_all_figures(run: Run) -> None:
    decision = decided(run, "rule=recall", "recall=0.8")
    found = evaluated(run, decision=decision)
    images = own_images(run)
    others = images[images["key"] >= 0.5]
    counts = others["label"].value_counts()
    assert (found["population"]["normal"], found["population"]["defect"]) == (counts["good"], counts["scratch"])
    assert decision.labels is not None
    assert found["decided"]["chose"] == sum(decision.labels["chosen_on"].values())
    assert found["at_cut"]["true_positives"] == decision.labels["measured_on"]["defects_flagged"]
    assert found["at_cut"]["false_positives"] == decision.labels["measured_on"]["normals_flagged"]
    told = f"the {found['decided']['chose']:,} labelled images that chose it are left out."
    assert f"The cut is that of the decision {decision.id}; {told}" in found["words"]


def test_labels_that_are_given_afterwards_leave_out_the_same_images(run: Run, tmp_path: Path) -> None:
    decision = decided(run, "rule=recall", "recall=0.8")
    before = evaluated(run, decision=decision)
    rows = run.results(["uri", "label"]).to_pandas().rename(columns={"uri": "path"})
    rows["group"] = rows["path"]
    rows.to_csv(tmp_path / "labels.csv", index=False)
    found = evaluated(run, f"labels={tmp_path}/labels.csv", decision=decision)
    assert found["decided"] == before["decided"]
    assert found["population"]["defect"] == before["population"]["defect"]


def test_images_of_a_group_that_chose_are_left_out_when_groups_are_given_afterwards(run: Run, tmp_path: Path) -> None:
    decision = decided(run, "rule=recall", "recall=0.8")
    before = evaluated(run, decision=decision)
    images = own_images(run)
    rows = run.results(["uri", "label"]).to_pandas().rename(columns={"uri": "path"})
    chooser = images[images["key"] < 0.5]["uri"].iloc[0]
    other = images[(images["key"] >= 0.5) & (images["label"] == "good")]["uri"].iloc[0]
    rows["group"] = np.where(rows["path"].isin([chooser, other]), "pair", rows["path"])
    rows.to_csv(tmp_path / "labels.csv", index=False)
    found = evaluated(run, f"labels={tmp_path}/labels.csv", decision=decision)
    assert found["population"]["normal"] == before["population"]["normal"] - 1


def test_a_decision_that_all_labels_chose_cannot_be_measured_by_them(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    decision = decided(run, "rule=recall", "recall=0.8", "choose_on=1")
    capsys.readouterr()
    assert main(["evaluate", run.uri, f"decision={decision.id}"]) == 1
    assert decision.labels is not None
    count = sum(decision.labels["chosen_on"].values())
    assert capsys.readouterr().err == (
        f"error: all {count} labelled images that could measure the decision {decision.id} have chosen its cut; decide "
        "again with a lower `choose_on=`, or give `labels=` for more images.\n"
    )


def test_images_for_review_are_counted_and_what_they_bring(tmp_path: Path) -> None:
    # scores are 0.02 times the number of the image; from 20 to 39 every other one is a defect, from 40 on all are
    labels = ["scratch" if number >= 40 or (number >= 20 and number % 2) else "good" for number in range(60)]
    run = with_bundle(finish(plan(tmp_path / "run", rows=60, label=pa.array(labels))), tmp_path / "bundle")
    costs = ["cost_fn=1", "cost_fp=1", "cost_review=0.02", "prevalence=0.5", "choose_on=0.7"]
    decision = decided(run, "rule=cost", *costs)
    found = evaluated(run, decision=decision)
    images = own_images(run)
    others = images[images["key"] >= 0.7]
    assert decision.threshold.review_cut is not None
    is_flagged = exceeds(others["score"].to_numpy(), decision.threshold.cut)
    band = exceeds(others["score"].to_numpy(), decision.threshold.review_cut) & ~is_flagged
    is_defect = (others["label"] == "scratch").to_numpy()
    review = found["decided"]["review"]
    assert (review["defects"], review["normals"]) == ((band & is_defect).sum(), (band & ~is_defect).sum())
    assert band.any()
    assert review["recall"]["value"] == pytest.approx((is_defect & (is_flagged | band)).sum() / is_defect.sum())
    assert any("more images are for a person to look at" in word for word in found["words"])
    assert main(["report", run.uri, f"decision={decision.id}", "gallery=0"]) == 0
    page = Path(run.uri, "decisions", decision.id, "report.html").read_text()
    assert f", {decision.counts.for_review} more for a person to look at" in page


def test_a_decision_that_is_not_there_is_refused_with_those_that_are(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", run.uri, "decision=0"]) == 2
    assert capsys.readouterr().err == f"error: {run.uri} has no decision '0': it has no decisions yet.\n"


def test_groups_are_judged_by_their_own_cuts(grouped: Run, capsys: pytest.CaptureFixture[str]) -> None:
    decision = decided(grouped, "rule=conformal", "alpha=0.02", "per_group=true")
    found = evaluated(grouped, decision=decision)
    rows = grouped.results(["status", "score", "group", "label"])
    flagged, labels = anomalies(rows, decision.ruling.thresholds), np.array(rows["label"].to_pylist(), dtype=object)
    assert found["at_cut"]["true_positives"] == int(flagged[labels == "scratch"].sum())
    assert found["at_cut"]["false_positives"] == int(flagged[labels == "good"].sum())
    assert found["decided"]["cuts_of_groups"] == 1
    assert "1 group(s) have a cut of their own, which is asked of their images." in found["words"]
    assert any(word.endswith(", where its group has no cut of its own.") for word in found["words"])
    (gate,) = (gate for gate in found["gates"] if gate["name"] == "guarantee")
    assert gate["limit"] == max(cut.upper_fpr or 0.0 for cut in decision.ruling.thresholds.values())


def test_a_decision_on_former_scores_is_said_to_be_one(grouped: Run, capsys: pytest.CaptureFixture[str]) -> None:
    decision = decided(grouped, "rule=fixed", "cut=0.1")
    rows = rows_scored(grouped, grouped.chunks[2])
    place = rows.column_names.index("score")
    changed = rows.set_column(place, rows.schema.field(place), pa.array([0.15, 0.16], pa.float32()))
    write_chunk(grouped, grouped.chunks[2], changed)
    capsys.readouterr()
    evaluated(grouped, decision=decision)
    assert f"warning: the decision {decision.id} was made before the scores of" in capsys.readouterr().err


def test_a_compacted_run_has_the_same_figures(run: Run, tmp_path: Path) -> None:
    """Its rows lie in the order of their scores, and resamples are drawn by place."""
    before = evaluated(run)
    assert main(["compact", run.uri]) == 0
    assert evaluated(run) == before


def test_only_rows_that_figures_stand_on_are_held(tmp_path: Path) -> None:
    found = with_bundle(finish(plan(tmp_path / "run", rows=300)), tmp_path / "bundle")
    gathering = Gathering(bundle_of(found))
    for table in rows_of(found, None, None):
        gathering.add(table)
    held = gathering.gathered()
    labels = [("good", None, "scratch")[row % 3] for row in range(300)]
    assert held.results["image_id"].to_pylist() == [row for row in range(300) if labels[row] and row != 5]
    assert (held.others.images, held.others.unscored, held.others.unlabelled) == (101, 1, 100)
    counts = evaluated(found)["population"]
    assert (counts["images"], counts["unscored"], counts["unlabelled"]) == (300, 1, 100)
    assert counts["normal"] + counts["defect"] == 199


def test_files_that_differ_in_their_columns_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = with_bundle(finish(plan(tmp_path / "run")), tmp_path / "bundle")
    write_chunk(found, found.chunks[1], rows_scored(found, found.chunks[1]).drop_columns("mae"))
    assert main(["evaluate", found.uri]) == 1
    assert capsys.readouterr().err == (
        f"error: the files of {found.uri} differ in their columns; `rayae verify {found.uri}` says where.\n"
    )


def test_images_that_the_bundle_was_made_with_are_held_without_a_label(run: Run, tmp_path: Path) -> None:
    rows = run.results(["uri", "label"]).to_pandas().rename(columns={"uri": "path"})
    known = pd.Series(own_images(run)["uri"])
    rows[rows["path"].isin(known)].to_csv(tmp_path / "labels.csv", index=False)
    errors = {one["role"]: one["images"] for one in evaluated(run, f"labels={tmp_path}/labels.csv")["errors"]}
    assert errors["train"] > 100
    assert errors["calibration"] > 10


def test_a_score_that_is_not_finite_is_refused_with_or_without_a_label(tmp_path: Path) -> None:
    found = with_bundle(finish(plan(tmp_path / "run")), tmp_path / "bundle")
    gathering = Gathering(bundle_of(found))
    for table in rows_of(found, None, None):
        place = table.column_names.index("score")
        scores = pa.array(np.where(table["image_id"].to_numpy() == 1, np.nan, 1).astype(np.float32))
        gathering.add(table.set_column(place, "score", scores))
    with pytest.raises(DataError, match=r"^1 of 9 scored images have no finite score; `rayae verify` says more\.$"):
        gathering.gathered()


def test_without_training_images_the_ratio_of_errors_is_that_of_the_training(tmp_path: Path) -> None:
    said = [
        {"name": "overfit", "figure": 3.5, "sentence": "-"},
        {"name": "leaking", "figure": 0.1, "sentence": "Twins."},
    ]
    model = small_bundle(tmp_path / "bundle", training=TRAINING | {"verdicts": said})
    assert training_of(model) == Training(3.5, "Twins.")
    assert training_of(small_bundle(tmp_path / "other")) == Training(None, None)
