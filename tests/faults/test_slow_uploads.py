"""Checkpoints that travel slowly, or do not arrive, while training goes on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayae.bundle import Bundle
from rayae.history import read_history
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import PATIENCE_S, ends_well, kill_one, start, wait_for
from tests.s3.conftest import Bucket
from tests.servers import Front

EPOCHS = 12
DELAY_MS = 150


def words(pictures: Path, out: str, *more: str) -> list[str]:
    asked = [f"images={pictures}", "labels=folder", f"out={out}", f"epochs={EPOCHS}", f"patience={EPOCHS}"]
    return ["train", *asked, *SMALL_TRAINING, "rule=none", "workers=2", *more]


@pytest.fixture
def slow(front: Front) -> Iterator[Front]:
    """Storage on which an upload, of several requests, takes longer than an epoch."""
    front.set(delay_ms=DELAY_MS)
    os.environ["AWS_ENDPOINT_URL"] = front.url
    yield front
    front.set()


def kept(bucket: Bucket) -> set[str]:
    """The folders of checkpoints in the bucket."""
    return {name.split("/")[-2] for name in bucket.names() if name.endswith("/checkpoint.pt")}


def test_a_worker_that_dies_while_a_checkpoint_travels_goes_on_from_the_last_whole_one(
    slow: Front, bucket: Bucket, few: Path, tmp_path: Path
) -> None:
    out, log = f"{bucket.uri}/bundle", tmp_path / "log"
    process = start(*words(few, out), log=log)
    wait_for(lambda: len(kept(bucket)) >= 2 or process.poll() is not None, "two checkpoints")
    assert process.poll() is None, log.read_text()
    kill_one(process.pid, "RayTrainWorker")
    before = read_history(f"{out}/training")
    assert len(before) < EPOCHS, "killed too late to be midway"
    most = 0
    while process.poll() is None:
        most = max(most, len(kept(bucket)))
    slow.set()
    ends_well(process, log)
    assert most <= 5  # two that are kept, one that is being removed, one that has come and one on its way
    found = Bundle.open(out).training["history"]
    assert [epoch["epoch"] for epoch in found] == list(range(1, EPOCHS + 1))
    ends_well(start(*words(few, str(tmp_path / "whole")), log=log), log)
    whole = Bundle.open(str(tmp_path / "whole"))
    assert [epoch["train_loss"] for epoch in found] == [epoch["train_loss"] for epoch in whole.training["history"]]
    assert Bundle.open(out).bundle_id == whole.bundle_id


def test_a_checkpoint_that_cannot_be_stored_ends_training_with_the_reason_and_the_last_one_is_gone_on_from(
    few: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    asked = words(few, str(out), "max_worker_failures=1")
    process = start(*asked, log=log)
    first = wait_for(lambda: next(out.glob("training/*/epoch-000002"), None), "the second checkpoint")
    in_the_way = first.with_name("epoch-000008")
    in_the_way.write_text("no folder")
    assert process.wait(PATIENCE_S) == 1, log.read_text()
    said = log.read_text().splitlines()[-1]
    assert said == f"error: cannot write {in_the_way}/checkpoint.pt: File exists."
    assert len(read_history(str(out / "training"))) == 7
    in_the_way.unlink()
    ends_well(start(*asked, log=log), log)
    assert [epoch["epoch"] for epoch in Bundle.open(str(out)).training["history"]] == list(range(1, EPOCHS + 1))
