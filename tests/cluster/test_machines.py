"""Machines of a cluster that die, are drained and are cut off while a run is scored: every image has its row, once.

The first case runs always; the others by `make machines`, which sets RAYAE_MACHINES.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from rayae.cli import main
from rayae.run import Run
from tests.cluster.machines import Machines, machines, pause, why_impossible
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.faults.processes import ends_well, wait_for

WHY = why_impossible()
pytestmark = pytest.mark.skipif(WHY is not None, reason=str(WHY))
long = pytest.mark.skipif(not os.environ.get("RAYAE_MACHINES"), reason="takes minutes: make machines")
IMAGES, CHUNK_IMAGES = 640, 16
CHUNKS = IMAGES // CHUNK_IMAGES
Disturbed = Callable[[Callable[[Machines], None]], tuple[Path, str]]
GONE_S = 20.0
"""Until a machine that answers nothing counts as dead; see FAST."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("archive"), IMAGES, seed=4)


@pytest.fixture(scope="module")
def slow_bundle(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that takes its time: a chunk lasts about a second."""
    out, few = tmp_path_factory.mktemp("bundle") / "bundle", sorted(archive.rglob("*.png"))[:120]
    names = tmp_path_factory.mktemp("few") / "few.txt"
    names.write_text("".join(f"{path}\n" for path in few))
    size = ["preprocess.height=96", "preprocess.width=96", "network.base_width=48"]
    words = ["train", f"images={names}", f"out={out}", "epochs=1", "placement=inline", "precision=float32"]
    assert main([*words, *SMALL_TRAINING, *size]) == 0
    return out


@pytest.fixture(scope="module")
def undisturbed(archive: Path, slow_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    with machines(2) as cluster:
        ends_well(cluster.start(*words(archive, slow_bundle, out, 2), log=(log := out.with_name("log"))), log)
    return Run.open(str(out)).results()


def words(archive: Path, bundle: Path, run: Path, workers: int) -> list[str]:
    asked = [f"images={archive}", f"bundle={bundle}", f"out={run}", f"workers={workers}"]
    return ["score", *asked, f"chunk_images={CHUNK_IMAGES}"]


def written(run: Path) -> int:
    return len(list(run.glob("chunks/chunk-*.parquet")))


def midway(run: Path, log: Path, chunks: int = 5) -> None:
    wait_for(lambda: written(run) >= chunks or "error" in log.read_text(), f"{chunks} chunks; see {log}")
    assert written(run) < CHUNKS - 5, "too late to be midway"


def assert_whole(run: Path, undisturbed: pa.Table) -> None:
    """Each image has one row, and that of the undisturbed run."""
    assert main(["verify", str(run)]) == 0
    found = Run.open(str(run)).results()
    assert found["image_id"].to_pylist() == list(range(IMAGES))
    assert found.equals(undisturbed)


@pytest.fixture
def disturbed(archive: Path, slow_bundle: Path, tmp_path: Path) -> Disturbed:
    """Score on three machines, do something to them midway; the run, and what the driver has said."""

    def score(disturb: Callable[[Machines], None]) -> tuple[Path, str]:
        run, log = tmp_path / "run", tmp_path / "log"
        with machines(3) as cluster:
            driver = cluster.start(*words(archive, slow_bundle, run, 3), log=log)
            midway(run, log)
            disturb(cluster)
            ends_well(driver, log)
        return run, log.read_text()

    return score


def test_a_machine_that_dies_costs_no_row(disturbed: Disturbed, undisturbed: pa.Table) -> None:
    run, _ = disturbed(lambda cluster: cluster.machines[1].kill())
    assert_whole(run, undisturbed)


@long
def test_a_machine_that_is_drained_hands_its_work_over(
    disturbed: Disturbed,
    undisturbed: pa.Table,
) -> None:
    def drain(cluster: Machines) -> None:
        cluster.drain(cluster.machines[1], deadline_s=10)
        pause(10)
        cluster.machines[1].kill()  # as who drains a machine does at the deadline

    run, said = disturbed(drain)
    assert_whole(run, undisturbed)
    assert "waiting for 1 of 3 workers: the cluster has 2 CPUs and 0 GPUs" in said


@long
def test_a_machine_that_gets_sigterm_drains_itself(disturbed: Disturbed, undisturbed: pa.Table) -> None:
    run, said = disturbed(lambda cluster: cluster.machines[1].terminate())
    assert_whole(run, undisturbed)
    assert "waiting for 1 of 3 workers: the cluster has 2 CPUs and 0 GPUs" in said


@long
def test_a_machine_that_is_cut_off_and_comes_back_changes_no_row(
    disturbed: Disturbed,
    undisturbed: pa.Table,
) -> None:
    def cut(cluster: Machines) -> None:
        cluster.cut(cluster.machines[1])
        pause(GONE_S)
        cluster.mend(cluster.machines[1])

    run, said = disturbed(cut)
    assert_whole(run, undisturbed)
    assert "waiting for 1 of 3 workers: the cluster has 2 CPUs and 0 GPUs" in said


@long
def test_a_head_that_dies_ends_the_driver_and_another_cluster_does_the_rest(
    archive: Path, slow_bundle: Path, undisturbed: pa.Table, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    asked = words(archive, slow_bundle, run, 2)
    with machines(2) as cluster:
        driver = cluster.start(*asked, log=log)
        midway(run, log)
        cluster.head.kill()
        began = time.monotonic()
        assert driver.wait(timeout=120) != 0
    left_behind = {path: path.stat().st_mtime_ns for path in run.glob("chunks/chunk-*.parquet")}
    assert 5 <= len(left_behind) < CHUNKS, f"the driver ended after {time.monotonic() - began:.0f} s"
    with machines(2) as another:
        ends_well(another.start(*asked, log=log), log)
    assert {path: path.stat().st_mtime_ns for path in left_behind} == left_behind
    assert_whole(run, undisturbed)
