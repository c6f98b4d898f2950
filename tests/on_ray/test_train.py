import json
from pathlib import Path

import numpy as np
import pytest

from rayae.bundle import Bundle
from rayae.cli import main
from tests.conftest import SMALL_TRAINING


def train(pictures: Path, out: Path, *words: str) -> int:
    return main(["train", f"images={pictures}", "labels=folder", f"out={out}", *SMALL_TRAINING, *words])


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "bundle"
    assert train(pictures, out, "workers=2", "epochs=2") == 0
    return out


def test_two_workers_make_a_calibrated_bundle(trained: Path) -> None:
    bundle = Bundle.open(str(trained))
    assert bundle.training["images"] == {"calibration": 48, "train": 168, "validation": 24}
    assert bundle.threshold is not None
    assert bundle.threshold.n == 48
    assert bundle.calibration is not None
    assert np.all(np.diff(bundle.calibration) >= 0)


def test_each_epoch_is_a_json_line(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert lines == Bundle.open(str(trained)).training["history"]


def test_two_workers_learn_what_one_process_learns(trained: Path, pictures: Path, tmp_path: Path) -> None:
    assert train(pictures, tmp_path / "alone", "placement=inline", "epochs=2") == 0
    alone, both = (Bundle.open(str(uri)).training["history"][-1] for uri in (tmp_path / "alone", trained))
    assert both["validation_loss"] == pytest.approx(alone["validation_loss"], rel=0.1)


def test_a_finished_training_is_not_done_again(
    trained: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, trained, "workers=2", "epochs=2") == 0
    assert f"nothing to train: {trained} holds the bundle of this plan" in capfd.readouterr().out


def test_another_plan_is_refused_with_the_difference(
    trained: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, trained, "workers=2", "epochs=3") == 1
    assert "  epochs: the run has 2, asked is 3" in capfd.readouterr().err
