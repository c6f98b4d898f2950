"""A scoring run is killed at some moment; started again, every image has its row, with the undisturbed scores."""

import os
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from rayae.cli import main
from rayae.run import Run
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, descendants, ends_well, kill_one, start, wait_for


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("archive"), 900, seed=1, defects=60)


@pytest.fixture(scope="module")
def undisturbed(archive: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    folder = tmp_path_factory.mktemp("undisturbed")
    ends_well(start(*words(archive, bundle, folder / "run", "inline"), log=folder / "log"), folder / "log")
    return Run.open(str(folder / "run")).results()


def words(archive: Path, bundle: Path, run: Path, placement: str) -> list[str]:
    asked = [f"images={archive}", f"bundle={bundle}", f"out={run}", f"placement={placement}"]
    return ["score", *asked, "chunk_images=8", *(["workers=2"] if placement == "together" else [])]


def written(run: Path) -> set[Path]:
    return set((run / "chunks").glob("chunk-*.parquet"))


def check_whole(run: Path, undisturbed: pa.Table) -> None:
    assert main(["verify", str(run)]) == 0
    assert Run.open(str(run)).results().equals(undisturbed)


def killed_midway(process: "subprocess.Popen[bytes]", run: Path, log: Path) -> set[Path]:
    """SIGKILL to the driver when three chunks are there; the chunks that it has left behind when all has ended."""
    wait_for(lambda: len(written(run)) >= 3 or process.poll() is not None, "three chunks")
    workers = {pid for pid, line in descendants(process.pid).items() if "Worker" in line}
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log.read_text()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of its workers")
    left_behind = written(run)
    assert 3 <= len(left_behind) < 120, "killed too late to be midway"
    return left_behind


@pytest.mark.parametrize("placement", ["inline", "together"])
def test_a_killed_driver_started_again_does_the_rest_and_only_the_rest(
    archive: Path, bundle: Path, undisturbed: pa.Table, tmp_path: Path, placement: str
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    process = start(*words(archive, bundle, run, placement), log=log)
    left_behind = {path: path.stat().st_mtime_ns for path in killed_midway(process, run, log)}
    ends_well(start(*words(archive, bundle, run, placement), log=log), log)
    assert {path: path.stat().st_mtime_ns for path in left_behind} == left_behind
    check_whole(run, undisturbed)


@pytest.mark.parametrize("placement", ["inline", "together"])
def test_sigterm_ends_a_run_with_143_and_a_word_and_the_same_command_goes_on(
    archive: Path, bundle: Path, undisturbed: pa.Table, tmp_path: Path, placement: str
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    process = start(*words(archive, bundle, run, placement), log=log)
    wait_for(lambda: len(written(run)) >= 3 or process.poll() is not None, "three chunks")
    process.terminate()
    assert process.wait(timeout=PATIENCE_S) == 143, log.read_text()
    assert "stopped: what is committed stays, and the same command goes on from there." in log.read_text()
    assert "*** SIGTERM" not in log.read_text()
    assert not (run / "lease.json").exists()
    assert not (run / "in_hand.json").exists(), "the chunk in hand was finished"
    assert 3 <= len(written(run)) < 120
    ends_well(start(*words(archive, bundle, run, placement), log=log), log)
    check_whole(run, undisturbed)


def test_a_killed_actor_costs_no_row_and_no_restart(
    archive: Path, bundle: Path, undisturbed: pa.Table, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    process = start(*words(archive, bundle, run, "together"), log=log)
    wait_for(lambda: len(written(run)) >= 3 or process.poll() is not None, "three chunks")
    kill_one(process.pid, "MapWorker")
    assert len(written(run)) < 120, "killed too late to be midway"
    ends_well(process, log)
    check_whole(run, undisturbed)


def poisoned(archive: Path, folder: Path) -> Path:
    """A copy of some pictures with one among them that kills the process that decodes it (see `poison`)."""
    folder.mkdir()
    for picture in sorted((archive / "good").glob("*.png"))[:40]:
        os.link(picture, folder / picture.name)
    with Image.open(folder / "part0020.png") as picture:
        picture.save(folder / "part0020b.jpg", comment="POISON-PILL")
    return folder


@pytest.mark.parametrize("placement", ["inline", "together"])
def test_a_picture_that_kills_its_process_is_named_and_costs_no_neighbour(
    archive: Path, bundle: Path, tmp_path: Path, placement: str
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    asked = words(poisoned(archive, tmp_path / "images"), bundle, run, placement)
    path = [str(Path(__file__).parent / "poison"), os.environ.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    process = start(*asked, env=env, log=log)
    if placement == "inline":  # here the process is the run itself; the next one knows over which chunk it died
        assert process.wait() == -signal.SIGABRT, log.read_text()
        process = start(*asked, env=env, log=log)
    ends_well(process, log)
    assert main(["verify", str(run)]) == 0
    rows = Run.open(str(run)).results().to_pandas().set_index("uri")
    failed = rows[rows["status"] != "scored"]
    assert [Path(uri).name for uri in failed.index] == ["part0020b.jpg"]
    assert failed["status"].tolist() == ["decoder_crashed"]
    assert len(rows) == 41
