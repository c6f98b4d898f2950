"""A training is killed at some moment; it, or the same command again, ends with each epoch once."""

import json
import signal
from pathlib import Path

import pytest

from rayae.bundle import Bundle
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import PATIENCE_S, descendants, ends_well, kill_one, start, wait_for

EPOCHS = 25


def words(pictures: Path, out: Path, *more: str) -> list[str]:
    asked = [f"images={pictures}", "labels=folder", f"out={out}", f"epochs={EPOCHS}", f"patience={EPOCHS}"]
    return ["train", *asked, *SMALL_TRAINING, *more]


def epochs(out: Path) -> list[int]:
    metrics = out / "training" / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] if metrics.exists() else []


def lines(out: Path) -> list[str]:
    return (out / "training" / "metrics.jsonl").read_text().splitlines()


def losses(out: Path) -> list[float]:
    return [epoch["validation_loss"] for epoch in Bundle.open(str(out)).training["history"]]


def test_a_killed_worker_is_replaced_and_no_epoch_is_lost(pictures: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    process = start(*words(pictures, out, "workers=2"), log=log)
    wait_for(lambda: len(epochs(out)) >= 2 or process.poll() is not None, "two epochs")
    kill_one(process.pid, "RayTrainWorker")
    before = lines(out)
    assert len(before) < EPOCHS, "killed too late to be midway"
    ends_well(process, log)
    assert epochs(out) == list(range(1, EPOCHS + 1))
    assert lines(out)[: len(before) - 1] == before[:-1]  # with their seconds, so they were not trained again


@pytest.mark.parametrize("placement", [["placement=inline"], ["workers=2"]], ids=["inline", "together"])
def test_a_killed_driver_started_again_goes_on_from_the_last_epoch(
    pictures: Path, tmp_path: Path, placement: list[str]
) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    process = start(*words(pictures, out, *placement), log=log)
    wait_for(lambda: len(epochs(out)) >= 2 or process.poll() is not None, "two epochs")
    workers = {pid for pid, line in descendants(process.pid).items() if "Worker" in line}
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log.read_text()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of its workers")
    done = len(epochs(out))
    assert 2 <= done < EPOCHS
    before = lines(out)[: done - 1]
    ends_well(start(*words(pictures, out, *placement), log=log), log)
    assert epochs(out) == list(range(1, EPOCHS + 1))
    assert lines(out)[: done - 1] == before
    assert "going on with the training" in log.read_text()


def test_a_killed_training_learns_what_an_undisturbed_one_learns(pictures: Path, tmp_path: Path) -> None:
    killed, whole, log = tmp_path / "killed", tmp_path / "whole", tmp_path / "log"
    process = start(*words(pictures, killed, "placement=inline"), log=log)
    wait_for(lambda: len(epochs(killed)) >= 2 or process.poll() is not None, "two epochs")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log.read_text()
    ends_well(start(*words(pictures, killed, "placement=inline"), log=log), log)
    ends_well(start(*words(pictures, whole, "placement=inline"), log=log), log)
    assert losses(killed) == losses(whole)
    assert Bundle.open(str(killed)).bundle_id == Bundle.open(str(whole)).bundle_id


def test_ctrl_c_ends_a_training_with_130_and_a_word(pictures: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    process = start(*words(pictures, out, "workers=2", "epochs=500", "patience=500"), log=log)
    wait_for(lambda: len(epochs(out)) >= 2 or process.poll() is not None, "two epochs")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 130, log.read_text()
    assert log.read_text().endswith("stopped: what is committed stays, and the same command goes on from there.\n")
