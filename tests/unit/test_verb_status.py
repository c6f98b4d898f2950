"""`rayae status`: how far a run is, and who is at it, from its files alone."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rayae import storage
from rayae.cli import main
from rayae.lease import LEASE, Holder
from rayae.manifest import Chunk
from rayae.results import ChunkSummary
from rayae.run import Run
from rayae.verbs import status
from rayae.verbs.status import look, rate, told
from tests.unit.small_runs import finish, plan, write_chunk

HOLDER = replace(Holder.here(), host="node-7", machine="another boot", pid=12, since="2026-01-01T00:00:00+00:00")


def said(run: Run, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["status", run.uri, *words]) == 0
    return capsys.readouterr().out


def test_a_run_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan(tmp_path)
    text = said(run, capsys)
    assert "0 of 10 images in 0 of 3 chunks\n" in text
    assert text.endswith(f"driver: none\nrun: not finished; `rayae score {run.uri}` goes on with it\n")


def test_a_run_under_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    write_chunk(run, run.chunks[1])
    storage.write_bytes(storage.join(run.uri, LEASE), replace(HOLDER, renewed=time.time() - 4).to_bytes())
    text = said(run, capsys)
    assert "8 of 10 images in 2 of 3 chunks\n" in text
    assert "scored  │      7 │ 87.50% │" in text
    assert "missing │      1 │ 12.50% │" in text
    assert "flagged as anomalies: 2\n" in text
    assert " images/s, 0:00:00 left\n" in text
    assert "driver: process 12 on node-7, since 2026-01-01T00:00:00+00:00, lease renewed 4 s ago\n" in text
    assert text.endswith("run: not finished\n")


def test_a_program_gets_the_figures_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    write_chunk(run, run.chunks[1])
    storage.write_bytes(storage.join(run.uri, LEASE), replace(HOLDER, renewed=time.time() - 4).to_bytes())
    found = json.loads(said(run, capsys, "log=json"))
    told = {
        "verb",
        "run",
        "images",
        "done",
        "left",
        "chunks",
        "chunks_done",
        "by_status",
        "failed",
        "flagged",
        "is_driven",
    }
    assert {key: found[key] for key in told} == {
        "verb": "status", "run": run.uri, "images": 10, "done": 8, "left": 2, "chunks": 3, "chunks_done": 2,
        "by_status": {"scored": 7, "missing": 1}, "failed": 1, "flagged": 2, "is_driven": True,
    }  # fmt: skip
    assert found["eta_s"] == pytest.approx(2 / found["per_second"], abs=0.1)
    assert found["finished"] is None
    finish(run)
    found = json.loads(said(run, capsys, "log=json"))
    assert (found["left"], found["per_second"], found["eta_s"]) == (0, None, None)
    success = run.success()
    assert success is not None
    assert found["finished"] == success["finished"]


def test_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finish(plan(tmp_path))
    success = run.success()
    assert success is not None
    text = said(run, capsys)
    assert "10 of 10 images in 3 of 3 chunks\n" in text
    assert text.endswith(f"driver: none\nrun: finished at {success['finished']}\n")
    Path(tmp_path / "_SUCCESS.json").unlink()
    assert "run: all rows are there, the end is not written; `rayae score" in said(run, capsys)


def test_a_finished_run_whose_rows_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finish(plan(tmp_path))
    Path(tmp_path / "chunks/chunk-000001.parquet").unlink()
    text = said(run, capsys)
    assert "6 of 10 images in 2 of 3 chunks\n" in text
    assert text.endswith(f", but 4 rows are gone since; `rayae score {run.uri}` goes on with it\n")


def test_status_of_a_run_that_is_compacted_meanwhile_is_that_of_the_compacted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish(plan(tmp_path))
    read = Run.summary_of

    def compacted_first(self: Run, uri: str, chunk: Chunk) -> ChunkSummary:
        monkeypatch.setattr(Run, "summary_of", read)
        assert main(["compact", run.uri]) == 0
        return read(self, uri, chunk)

    monkeypatch.setattr(Run, "summary_of", compacted_first)
    state = look(run, {})
    assert (state.summary.images, state.files, state.lost_files) == (10, 1, 0)


def test_a_compacted_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finish(plan(tmp_path))
    assert main(["compact", run.uri]) == 0
    text = said(run, capsys)
    assert "10 of 10 images in 3 of 3 chunks\n" in text
    assert text.endswith("run: finished, and compacted into 1 file(s)\n")


def test_status_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finish(plan(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    said(run, capsys)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_watching_ends_when_the_run_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "SECONDS_BETWEEN_LOOKS", 0.05)
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    threading.Timer(0.3, finish, [run]).start()
    lines = said(run, capsys, "watch=true").splitlines()
    assert lines[0] == "4 of 10 images in 1 of 3 chunks, 0 flagged, 0 failed, driver: none"
    assert sum("images in 1 of 3" in line for line in lines) >= 3
    assert lines[-1].startswith("run: finished at ")


def test_a_file_that_was_read_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    seen = status.Seen()
    look(run, seen)
    (first,) = seen
    seen[first] = replace(seen[first], flagged=99)
    assert look(run, seen).summary.flagged == 99
    time.sleep(0.01)
    write_chunk(run, run.chunks[0])
    assert look(run, seen).summary.flagged == 0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], None),
        ([(1000.0, 5)], None),
        ([(1000.0, 5), (1000.0, 5)], None),
        ([(1000.0, 5), (1010.0, 50)], 5.0),
        ([(1010.0, 50), (1000.0, 5)], 5.0),
        ([(0.0, 5), (100_000.0, 50), (100_100.0, 50)], 0.5),
        ([(0.0, 5), (100_000.0, 50)], 0.0005),
    ],
)
def test_the_rate_is_that_of_the_last_minutes(written: list[tuple[float, int]], expected: float | None) -> None:
    assert rate(written) == (None if expected is None else pytest.approx(expected))


def test_who_drives_is_told_in_words() -> None:
    assert told(None, 0.0) == ("none", False)
    assert told(replace(HOLDER, renewed=100.0), 109.6) == (f"{HOLDER}, lease renewed 10 s ago", True)
    assert told(replace(HOLDER, renewed=100.0), 1300.0) == (
        f"{HOLDER}, has not renewed its lease for 1,200 s; the next one takes over", False,
    )  # fmt: skip
    assert told(replace(HOLDER, renewed=100.0), 90.0)[1], "its clock is ahead"
    dead = replace(Holder.here(), process_started=1)
    assert told(dead, dead.renewed) == (f"{dead}, has ended without a word; the next one takes over at once", False)


def test_status_of_a_run_on_object_storage_without_times_has_no_rate() -> None:
    import pyarrow as pa

    from rayae.manifest import chunks_at, complete, write_manifest
    from tests.unit.small_runs import create

    uri = "memory://test-status/run"
    images = complete({"uri": pa.array([f"/data/{row}.png" for row in range(4)])})
    run = create(uri, write_manifest(images, f"{uri}/manifest.parquet"), chunks_at([0, 2], 4), threshold=True)
    for chunk in run.chunks:
        write_chunk(run, chunk)
    state = look(run, {})
    assert (state.summary.images, state.images_per_second) == (4, None)
    storage.remove(uri)
