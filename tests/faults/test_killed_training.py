"""A training is killed at some moment; it, or the same command again, ends with each epoch once."""

import json
import signal
from pathlib import Path

import pytest

from rayae.bundle import Bundle
from rayae.checkpoints import reached
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import PATIENCE_S, descendants, ends_well, kill_one, start, wait_for

EPOCHS = 25
LOST = {"inline": 1, "together": 3}
"""Epochs that a death may cost: on Ray that in hand, and those whose checkpoints are on their way into its books."""


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


def test_a_killed_worker_is_replaced_and_only_what_was_on_its_way_is_trained_again(
    pictures: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    process = start(*words(pictures, out, "workers=2"), log=log)
    wait_for(lambda: len(epochs(out)) >= 6 or process.poll() is not None, "six epochs")
    kill_one(process.pid, "RayTrainWorker")
    before = lines(out)
    assert len(before) < EPOCHS, "killed too late to be midway"
    ends_well(process, log)
    assert epochs(out) == list(range(1, EPOCHS + 1))
    kept = len(before) - LOST["together"]
    assert lines(out)[:kept] == before[:kept]  # with their seconds, so they were not trained again


@pytest.mark.parametrize("placement", ["inline", "together"])
def test_a_killed_driver_started_again_goes_on_from_the_last_epoch(
    pictures: Path, tmp_path: Path, placement: str
) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    asked = words(pictures, out, f"placement={placement}", "workers=2")
    process = start(*asked, log=log)
    wait_for(lambda: len(epochs(out)) >= 6 or process.poll() is not None, "six epochs")
    workers = {pid for pid, line in descendants(process.pid).items() if "Worker" in line}
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log.read_text()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of its workers")
    done = len(epochs(out))
    assert 6 <= done < EPOCHS
    kept = done - LOST[placement]
    before = lines(out)[:kept]
    ends_well(start(*asked, log=log), log)
    assert epochs(out) == list(range(1, EPOCHS + 1))
    assert lines(out)[:kept] == before
    assert "going on with the training" in log.read_text()
    assert f"the first {done} of {EPOCHS} epochs are done" in log.read_text()


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


def test_sigterm_ends_a_training_in_this_process_after_its_epoch_and_the_same_command_goes_on(
    pictures: Path, tmp_path: Path
) -> None:
    stopped, whole, log = tmp_path / "stopped", tmp_path / "whole", tmp_path / "log"
    process = start(*words(pictures, stopped, "placement=inline"), log=log)
    wait_for(lambda: len(epochs(stopped)) >= 2 or process.poll() is not None, "two epochs")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_S) == 143, log.read_text()
    assert log.read_text().endswith("stopped: what is committed stays, and the same command goes on from there.\n")
    before = lines(stopped)
    assert 2 <= len(before) < EPOCHS
    checkpoint = (stopped / "training" / "checkpoint.pt").read_bytes()
    assert [epoch.epoch for epoch in reached(checkpoint).history] == epochs(stopped)
    ends_well(start(*words(pictures, stopped, "placement=inline"), log=log), log)
    assert lines(stopped)[: len(before)] == before
    ends_well(start(*words(pictures, whole, "placement=inline"), log=log), log)
    assert Bundle.open(str(stopped)).bundle_id == Bundle.open(str(whole)).bundle_id


def test_sigterm_ends_the_workers_of_a_training_and_the_same_command_goes_on(pictures: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    process = start(*words(pictures, out, "workers=2"), log=log)
    wait_for(lambda: len(epochs(out)) >= 6 or process.poll() is not None, "six epochs")
    workers = {pid for pid, line in descendants(process.pid).items() if "Worker" in line}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=PATIENCE_S) == 143, log.read_text()
    assert log.read_text().endswith("stopped: what is committed stays, and the same command goes on from there.\n")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of its workers")
    done = len(epochs(out))
    kept = done - LOST["together"]
    before = lines(out)[:kept]
    ends_well(start(*words(pictures, out, "workers=2"), log=log), log)
    assert epochs(out) == list(range(1, EPOCHS + 1))
    assert lines(out)[:kept] == before
