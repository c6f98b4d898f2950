"""A run on S3 is driven, retried, compacted and verified as one on disk, and two drivers never write to it at once."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rayae import storage
from rayae.cli import main
from rayae.errors import RunError
from rayae.lease import LEASE, Limits, held, holder_of
from rayae.run import Run
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, start, wait_for
from tests.s3.conftest import Bucket

QUICK = Limits(renew_s=0.2, void_s=1.5, look_s=0.05)


def test_of_many_drivers_that_begin_at_once_one_holds_the_lease(bucket: Bucket) -> None:
    got: list[str] = []

    def drive() -> None:
        try:
            with held(f"{bucket.uri}/run", QUICK) as lease:
                got.append("held")
                time.sleep(2.5)
                lease.check()
        except RunError as error:
            got.append(str(error))

    drivers = [threading.Thread(target=drive) for _ in range(5)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert got.count("held") == 1
    assert sum(f"{bucket.uri}/run is being written by another process (process " in text for text in got) == 4
    assert holder_of(f"{bucket.uri}/run") is None


def test_a_lease_that_nobody_renews_is_taken_over_by_one(bucket: Bucket) -> None:
    run = f"{bucket.uri}/run"
    with held(run, Limits(renew_s=60, void_s=60)) as asleep, held(run, QUICK):
        assert not storage.replace(f"{run}/{LEASE}", b"mine", asleep.version)
        asleep._renew()
        with pytest.raises(RunError, match="was taken over by process"):
            asleep.check()


def test_the_verbs_of_a_run_on_s3(
    bucket: Bucket, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "images", 20, defects=4)
    images, out = bucket.put_folder(folder, "images"), f"{bucket.uri}/run"
    lost = (folder / "good" / "part0007.png").read_bytes()
    assert main(["index", f"images={images}/", f"out={bucket.uri}/m.parquet", "labels=folder"]) == 0
    bucket.delete("images/good/part0007.png")
    words = [f"images={bucket.uri}/m.parquet", f"bundle={bundle}", f"out={out}", "placement=inline", "chunk_images=5"]
    assert main(["score", *words]) == 0
    assert main(["status", out]) == 0
    assert "24 of 24 images to do, in 5 of 5 chunks" in capsys.readouterr().out
    assert main(["verify", out]) == 0
    assert main(["retry", out, "status=missing"]) == 0
    run = Run.open(out)
    assert run.results()["status"].to_pylist().count("missing") == 1
    bucket.put("images/good/part0007.png", lost)
    assert main(["retry", out, "status=missing,changed"]) == 0
    before = run.results()
    assert main(["evaluate", out, "resamples=100"]) == 0
    assert main(["compact", out]) == 0
    assert main(["verify", out]) == 0
    assert run.results().equals(before)
    assert main(["evaluate", out, "resamples=100"]) == 0
    kept = {key.split("/")[1] for key in bucket.names() if key.startswith("run/")}
    assert kept == {"run.json", "manifest.parquet", "calibration.parquet", "_SUCCESS.json", "files.json", "results",
                    "evaluation.json"}  # fmt: skip


def test_the_status_of_a_run_under_way_is_told_from_elsewhere(
    bucket: Bucket, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = bucket.put_folder(write_pictures(tmp_path / "images", 300), "images"), f"{bucket.uri}/run"
    words = ["score", f"images={images}/", f"bundle={bundle}", f"out={run}", "placement=inline", "chunk_images=2"]

    def status() -> dict[str, Any]:
        capsys.readouterr()
        assert main(["status", run, "log=json"]) == 0
        return json.loads(capsys.readouterr().out)

    driver = start(*words, log=tmp_path / "log")
    try:
        wait_for(lambda: "run/run.json" in bucket.names(), "a plan")
        told = wait_for(lambda: (found := status())["eta_s"] and found, "chunks of two seconds, which tell a speed")
        there = sum(key.startswith("run/chunks/") for key in bucket.names())
    finally:
        driver.terminate()
        driver.wait(PATIENCE_S)
    assert driver.returncode == 143, (tmp_path / "log").read_text()
    assert (told["is_driven"], told["finished"], told["images"], told["chunks"]) == (True, None, 300, 150)
    assert 2 <= told["chunks_done"] <= there < 150
    assert told["done"] == 2 * told["chunks_done"] == told["by_status"]["scored"]
    told = status()
    assert (told["is_driven"], told["driver"], told["per_second"], told["eta_s"]) == (False, "none", None, None)
    assert told["message"].endswith(f"not finished; `rayae score {run}` goes on with it")
