import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.data

from rayae.bundle import Bundle
from rayae.cli import main
from rayae.errors import ClusterError
from rayae.on_ray.train import REFUSAL, _collect
from rayae.trial import Trial
from rayae.verbs.train_pictures import usable
from tests.conftest import SMALL_TRAINING, write_pictures

EPOCHS = 6


def train(pictures: Path, out: Path, *words: str) -> int:
    return main(["train", f"images={pictures}", "labels=folder", f"out={out}", *SMALL_TRAINING, *words])


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "bundle"
    assert train(pictures, out, "workers=2", f"epochs={EPOCHS}") == 0
    return out


def test_two_workers_make_a_calibrated_bundle(trained: Path) -> None:
    bundle = Bundle.open(str(trained))
    assert bundle.training["images"] == {"calibration": 48, "train": 168, "validation": 24}
    assert bundle.threshold is not None
    assert bundle.threshold.n == 48
    assert (bundle.detector["task"], bundle.network["kind"]) == ("repair", "unet")
    assert bundle.training["trial"]["images"] == 24
    assert bundle.primary_score == Trial(**bundle.training["trial"]).best
    assert bundle.calibration is not None
    assert np.all(np.diff(bundle.calibration) >= 0)


def test_each_epoch_is_a_json_line(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    assert lines == Bundle.open(str(trained)).training["history"]


def test_two_workers_learn_what_one_process_learns(pictures: Path, tmp_path: Path) -> None:
    """Without what each worker draws for itself, defects and changes of the pictures."""
    unchanged = [f"augment.{name}=0" for name in ("brightness", "contrast", "noise")]
    words = ["task=copy", *unchanged, f"epochs={EPOCHS}"]
    assert train(pictures, tmp_path / "alone", "placement=inline", *words) == 0
    assert train(pictures, tmp_path / "both", "workers=2", *words) == 0
    alone, both = (Bundle.open(str(tmp_path / name)).training["history"][-1] for name in ("alone", "both"))
    assert both["validation_loss"] == pytest.approx(alone["validation_loss"], rel=0.06)


def test_a_finished_training_is_not_done_again(
    trained: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, trained, "workers=2", f"epochs={EPOCHS}") == 0
    assert f"nothing to train: {trained} holds the bundle of this plan" in capfd.readouterr().out


def test_another_plan_is_refused_with_the_difference(
    trained: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, trained, "workers=2", f"epochs={EPOCHS + 1}") == 1
    assert f"  epochs: the run has {EPOCHS}, asked is {EPOCHS + 1}" in capfd.readouterr().err


def test_a_training_that_diverges_is_refused_without_another_try(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "bundle", "workers=2", "optimizer.weight_decay=1e30") == 1
    said = capfd.readouterr().err
    assert said.splitlines()[-1].startswith("error: the loss is ")
    assert "Traceback" not in said
    refusal = json.loads((tmp_path / "bundle" / "training" / REFUSAL).read_text())
    assert refusal["class"] == "TrainingError"
    assert said.endswith(f"error: {refusal['sentence']}\n")


def test_streamed_by_two_workers_it_is_the_same_bundle_to_the_last_bit(
    trained: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "bundle", "workers=2", f"epochs={EPOCHS}", "pictures=stream") == 0
    assert " free for pictures on 2 workers: streamed, decoded anew in each epoch\n" in capfd.readouterr().out
    one, other = (Bundle.open(str(path)) for path in (trained, tmp_path / "bundle"))
    assert one.bundle_id == other.bundle_id
    assert one.training["trial"] == other.training["trial"]
    assert one.training["verdicts"] == other.training["verdicts"]


def test_a_picture_that_one_worker_has_lost_ends_the_training_with_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_pictures(tmp_path / "images", 60)

    def lose_one(*arguments: Any) -> Any:
        found = usable(*arguments)
        (images / "good" / f"part{min(found):04}.png").unlink(missing_ok=True)
        return found

    monkeypatch.setattr("rayae.verbs.train_fit.usable", lose_one)
    words = ["workers=2", "epochs=50", "pictures=stream", "rule=none"]
    assert main(["train", f"images={images}", f"out={tmp_path / 'bundle'}", *SMALL_TRAINING, *words]) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: {images}/good/part")
    assert " could be read when training began, and now it is missing: " in said


def test_an_elastic_training_takes_as_many_workers_as_there_is_room_for(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "bundle", "workers=[2,3]", "epochs=2") == 0
    said = capfd.readouterr().out
    assert "training on 168 images with 2 to 3 workers, 0 GPU each" in said
    assert [epoch["workers"] for epoch in Bundle.open(str(tmp_path / "bundle")).training["history"]] == [3, 3]


def decoded(*ids: int) -> ray.data.DataIterator:
    """A dataset of one-pixel pictures that show their id."""
    return ray.data.from_items([{"image_id": i, "pixels": np.full((1, 1, 1), i, np.uint8)} for i in ids]).iterator()


def test_a_worker_takes_its_images_in_its_order() -> None:
    assert _collect(decoded(1, 5, 3, 9, 7), np.array([9, 1, 3])).ravel().tolist() == [9, 1, 3]


def test_an_image_that_does_not_reach_its_worker_is_no_made_up_pixel() -> None:
    sentence = r"^2 of the 3 images of a training worker did not reach it; run the same command again\.$"
    with pytest.raises(ClusterError, match=sentence):
        _collect(decoded(1, 5), np.array([9, 1, 3]))
