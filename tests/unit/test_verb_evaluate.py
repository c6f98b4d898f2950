"""The verb: who has been seen comes from the bundle, the cut from the run, labels from either; JSON beside the run."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae import bundle, storage
from rayae.bundle import Bundle
from rayae.errors import DataError, RunError
from rayae.manifest import complete, plan_chunks, sizes_of, write_manifest
from rayae.preprocess import Preprocess
from rayae.results import PIXEL_STATISTICS, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import Run, total
from rayae.settings import EvaluateSettings, RunnerSettings
from rayae.threshold import fixed
from rayae.verbs.evaluate import evaluate
from rayae.verbs.score import fingerprint, plan_run
from tests.unit.small_things import DETECTOR

LABELS = ["good", "good", "good", "good", "good", "crack", "crack", "crack"]
SCORES = np.array([0.01, 0.02, 0.03, 0.02, 0.05, 0.03, 0.08, 0.09], dtype=np.float32)
SPLITS = {"0.png": "train", "1.png": "train", "2.png": "calibration"}


def calibrate(made: Bundle, folder: Path, cut: float) -> Bundle:
    """A cut by hand, and a calibration image (3.png) that was not there when the model was trained."""
    known = SCORES[3:4]
    names = {"uri": [f"{folder}/3.png"], "group": ["g3"], "digest": ["3"]}
    table = pa.table({**names, "mse": known, "score": known, "chose_score": [False]})
    return bundle.calibrated(made, table, fixed(cut, score="mse", bundle_id=made.bundle_id, calibration=known))


@pytest.fixture
def judging(tmp_path: Path) -> Bundle:
    images = pa.table(
        {
            "uri": [f"{tmp_path}/{name}" for name in SPLITS],
            "size_bytes": [1000, 1001, 1002],
            "digest": list(SPLITS),
            "group": pa.array(["g0", "g1", "g2"]),
            "split": list(SPLITS.values()),
        }
    )
    made = bundle.create(
        str(tmp_path / "bundle"),
        weights=b"not read here",
        network={"kind": "convolutional"},
        detector=DETECTOR,
        preprocess=Preprocess("grey", 32, 32),
        scores=["mse"],
        choice=bundle.Choice("mse", "as asked", {}),
        precision="float32",
        training={"images": {"train": 2}, "best_epoch": 1, "epochs_done": 1},
        training_images=images,
    )
    return calibrate(made, tmp_path, 0.04)


def score(folder: Path, judging: Bundle, labels: list[str | None], out: str = "run") -> Run:
    """A finished run over eight images of `folder`."""
    count = len(SCORES)
    images = complete(
        {
            "uri": [f"{folder}/{row}.png" for row in range(count)],
            "size_bytes": pa.array(range(1000, 1000 + count), pa.int64()),
            "label": pa.array(labels, pa.string()),
        }
    )
    uri = str(Path(judging.uri).with_name(out))
    manifest = write_manifest(images, f"{uri}/manifest.parquet")
    chunks = plan_chunks(sizes_of(images), None)
    firsts = [chunk.first for chunk in chunks]
    found = fingerprint(manifest.content_hash, manifest.rows, judging, firsts, RunnerSettings())
    made = plan_run(uri, judging, firsts, found, {"images": str(folder), "settings": {}})
    pixels = dict.fromkeys(PIXEL_STATISTICS, SCORES)
    side, sizes = [40] * count, images["size_bytes"].to_pylist()
    outcome = Outcome([Status.SCORED] * count, [None] * count, side, side, sizes, {"mse": SCORES} | pixels)
    table = result_table(images, outcome, Judge("mse", judging.bundle_id, judging.threshold, judging.calibration))
    data = chunk_bytes(table, summarise(0, table, {}), made.record["fingerprint_hash"])
    storage.write_bytes(made.chunk_uri(0), data)
    made.finish(total(made.summaries()) | {"wall_seconds": 1.0, "images_per_second": 8.0})
    return made


def written(run: Run, **more: object) -> dict:
    evaluate(EvaluateSettings(run=run.uri, resamples=100, **more))
    return json.loads(Path(run.uri, "evaluation.json").read_text())


def test_only_images_that_the_bundle_was_not_made_with_count(
    tmp_path: Path, judging: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    run = score(tmp_path, judging, LABELS)
    found = written(run)
    assert (found["population"]["used"], found["population"]["normal"], found["population"]["defect"]) == (4, 1, 3)
    assert [(e["role"], e["images"]) for e in found["errors"]][:3] == [
        ("train", 2),
        ("validation", 0),
        ("calibration", 2),
    ]
    assert (found["at_cut"]["true_positives"], found["at_cut"]["false_positives"]) == (2, 1)
    assert (found["bundle_id"], found["threshold_id"]) == (judging.bundle_id, judging.threshold.id)
    assert found["settings"]["resamples"] == 100
    said = capsys.readouterr()
    assert said.out.endswith(f"evaluation: {run.uri}/evaluation.json\n")
    assert "At the cut 0.04" in said.out
    assert said.err == ""


def test_the_cut_is_that_of_the_run_when_the_bundle_was_calibrated_again(tmp_path: Path, judging: Bundle) -> None:
    run = score(tmp_path, judging, LABELS)
    calibrate(judging, tmp_path, 0.5)
    at_cut = written(run)["at_cut"]
    assert at_cut["cut"] == float(np.float32(0.04))
    assert at_cut["flags_that_differ"] == 0


def test_labels_can_be_given_afterwards(tmp_path: Path, judging: Bundle) -> None:
    run = score(tmp_path, judging, [None] * len(LABELS))
    rows = [f"{row}.png,{label}" for row, label in enumerate(LABELS)]
    Path(tmp_path, "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    found = written(run, labels=str(tmp_path / "labels.csv"))
    assert (found["population"]["normal"], found["population"]["defect"]) == (1, 3)


def test_a_run_without_labels_is_refused_with_the_way_to_give_them(tmp_path: Path, judging: Bundle) -> None:
    run = score(tmp_path, judging, [None] * len(LABELS))
    with pytest.raises(DataError) as caught:
        written(run)
    assert str(caught.value) == (
        f"{run.uri} has no labels; give labels=, a CSV with `path` and `label`, or `folder` for the names "
        f"of the folders."
    )


def test_an_unfinished_run_is_refused(tmp_path: Path, judging: Bundle) -> None:
    run = score(tmp_path, judging, LABELS)
    Path(run.uri, "_SUCCESS.json").unlink()
    with pytest.raises(RunError, match="is not finished; `rayae score "):
        written(run)


def test_a_finished_run_whose_chunks_are_partly_gone_is_refused(tmp_path: Path, judging: Bundle) -> None:
    run = score(tmp_path, judging, LABELS)
    Path(run.chunk_uri(0)).unlink()
    with pytest.raises(RunError) as caught:
        written(run)
    assert str(caught.value) == f"{run.uri} is not finished; `rayae score {run.uri}` scores the rest of it."


def test_the_floors_come_from_the_pixels_of_the_run(
    tmp_path: Path, judging: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    found = written(score(tmp_path, judging, LABELS))
    assert [(floor["name"], floor["auroc"]["value"]) for floor in found["floors"]["trivial"]] == [
        ("size_bytes", 1.0),
        ("pixel_mean", 2 / 3),
        ("pixel_std", 2 / 3),
        ("pixel_p01", 2 / 3),
        ("pixel_sharpness", 2 / 3),
    ]
    said = capsys.readouterr().out
    assert "drawing" not in said
    assert "The best trivial statistic, file size alone (defects larger), reaches 1.000" in said


def test_a_run_of_many_images_says_what_takes_so_long(
    tmp_path: Path, judging: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayae.verbs.evaluate.MANY_IMAGES", 7)
    written(score(tmp_path, judging, LABELS))
    assert "drawing 100 resamples of up to 8 images for the intervals\n" in capsys.readouterr().out


def test_a_run_of_another_bundle_is_refused(tmp_path: Path, judging: Bundle) -> None:
    run = score(tmp_path, judging, LABELS)
    storage.remove(judging.uri)
    bundle.create(
        judging.uri,
        weights=b"other weights",
        network={"kind": "convolutional"},
        detector=DETECTOR,
        preprocess=judging.preprocess,
        scores=["mse"],
        choice=bundle.Choice("mse", "as asked", {}),
        precision="float32",
        training={"images": {"train": 1}, "best_epoch": 1, "epochs_done": 1},
        training_images=pa.table(
            {"uri": ["a"], "size_bytes": [1], "digest": ["a"], "group": ["g"], "split": ["train"]}
        ),
    )
    with pytest.raises(RunError, match=f"was scored with the bundle {judging.bundle_id}, but "):
        written(run)


def test_training_images_at_another_address_are_warned_of(
    tmp_path: Path, judging: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    written(score(tmp_path / "moved", judging, LABELS))
    assert capsys.readouterr().err == (
        "warning: 3 images have the name and the size of images that the bundle was made with, at another address; "
        "if they are the same, the figures are too good.\n"
    )
