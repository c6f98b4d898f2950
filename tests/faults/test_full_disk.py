"""A disk that fills up under a run: a sentence, nothing half-written, and the same command goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rayae.cli import main
from rayae.run import Run

SMALL, LARGE = "160k", "20m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own in memory, which holds a part of the run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount(disk, "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def mount(disk: Path, *words: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a small disk")
    done = subprocess.run(["mount", *words, str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")


def test_a_full_disk_is_a_sentence_leaves_nothing_half_written_and_the_run_goes_on_when_there_is_space(
    small_disk: Path, pictures: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = small_disk / "run", tmp_path / "other"
    words = ["score", f"images={pictures}", f"bundle={bundle}", "chunk_images=16", "placement=inline"]
    assert main([*words, f"out={run}"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: cannot write "), said
    assert said.endswith(": No space left on device."), said
    left_behind = {path: path.stat().st_mtime_ns for path in (run / "chunks").glob("chunk-*.parquet")}
    assert 0 < len(left_behind) < 17
    for path in left_behind:
        assert pq.read_table(path).num_rows in (8, 16)  # each is whole
    assert not list(run.rglob("*.part"))
    assert not list(run.rglob("_SUCCESS.json"))
    mount(small_disk, "-o", f"remount,size={LARGE}")
    assert main([*words, f"out={run}"]) == 0
    assert {path: path.stat().st_mtime_ns for path in left_behind} == left_behind
    assert main(["verify", str(run)]) == 0
    assert main([*words, f"out={other}"]) == 0
    assert Run.open(str(run)).results().equals(Run.open(str(other)).results())


def test_a_full_disk_ends_an_index_with_a_sentence_and_without_a_manifest(
    small_disk: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "ballast").write_bytes(b"x" * 156 * 1024)
    assert main(["index", f"images={pictures}", f"out={small_disk / 'manifest.parquet'}"]) == 1
    assert capsys.readouterr().err.strip().endswith(": No space left on device.")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
