"""Two processes that score the same run at the same time: one does, the other is told who."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayae.cli import main
from rayae.run import Run
from tests.faults.processes import PATIENCE_S, ends_well, start, wait_for
from tests.s3.conftest import Bucket
from tests.servers import Front


@pytest.mark.parametrize("place", ["disk", "storage"])
def test_of_two_drivers_at_once_the_second_is_refused_and_told_who_holds_the_run(
    front: Front, bucket: Bucket, few: Path, bundle: Path, tmp_path: Path, place: str
) -> None:
    images, out = bucket.put_folder(few, "images"), f"{bucket.uri}/run" if place == "storage" else str(tmp_path / "run")
    os.environ["AWS_ENDPOINT_URL"] = front.url
    words = [f"images={images}", f"bundle={bundle}", f"out={out}", "placement=inline", "chunk_images=2"]
    one, other = tmp_path / "one", tmp_path / "other"
    front.set(delay_ms=300)
    first = start("score", *words, "reader.concurrency=1", log=one)
    wait_for(
        lambda: "of 48 images to do, in 24 of 24 chunks" in one.read_text() or first.poll() is not None, "the first"
    )
    second = start("score", out, log=other)
    code = second.wait(PATIENCE_S)
    front.set()
    assert code == 1, other.read_text()
    assert first.poll() is None, one.read_text()
    assert "Traceback" not in other.read_text()
    said = other.read_text().splitlines()[-1]
    assert said.startswith(f"error: {out} is being written by another process (process {first.pid} on ")
    ends_well(first, one)
    assert main(["verify", out]) == 0
    assert set(Run.open(out).results(["status"])["status"].to_pylist()) == {"scored"}


WITHOUT_A_LEASE = """
import sys
from rayae.bundle import Bundle
from rayae.run import Run
from rayae.scoring import score_inline
from rayae.settings import ScoreSettings
from rayae.verbs.score import scoring_plan

run = Run.open(sys.argv[1])
settings = ScoreSettings(out=run.uri, placement="inline")
list(score_inline(scoring_plan(run, Bundle.open(run.bundle_uri), settings, None), run, run.chunks))
"""


def test_two_drivers_that_know_of_no_lease_write_the_same_rows(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [f"images={pictures}", f"bundle={bundle}", f"out={run}", "placement=inline", "chunk_images=8"]
    assert main(["score", *words]) == 0
    undisturbed = Run.open(str(run)).results()
    for path in [run / "_SUCCESS.json", *(run / "chunks").iterdir()]:
        path.unlink()
    both = [subprocess.Popen([sys.executable, "-c", WITHOUT_A_LEASE, str(run)]) for _ in range(2)]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]
    assert main(["score", *words]) == 0
    assert main(["verify", str(run)]) == 0
    assert Run.open(str(run)).results().equals(undisturbed)
