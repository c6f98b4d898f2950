"""`rayae compact`, at the door: only of a finished run, and who reads it afterwards finds what stood there before."""

import json
from pathlib import Path

import pandas as pd
import pytest

from rayae.cli import main
from rayae.run import Run
from tests.conftest import write_pictures
from tests.unit.small_runs import finish, plan, write_chunk


@pytest.fixture
def run(bundle: Path, tmp_path: Path) -> Run:
    """A finished run over real pictures with labels, one of them broken."""
    images = write_pictures(tmp_path / "images", 24, defects=6)
    (images / "good" / "part0005.png").write_bytes(b"")
    words = [f"images={images}", f"bundle={bundle}", f"out={tmp_path}/run", "labels=folder", "chunk_images=8"]
    assert main(["score", *words, "placement=inline"]) == 0
    return Run.open(f"{tmp_path}/run")


def read(path: Path) -> str:
    return path.read_text()


def test_evaluation_and_report_of_a_compacted_run_are_those_of_before(run: Run) -> None:
    folder = Path(run.uri)
    for verb in ("evaluate", "report"):
        assert main([verb, run.uri]) == 0
    before = json.loads(read(folder / "evaluation.json")), read(folder / "report.html")
    for name in ("evaluation.json", "report.html"):
        (folder / name).unlink()
    assert main(["compact", run.uri]) == 0
    for verb in ("evaluate", "report", "verify"):
        assert main([verb, run.uri]) == 0
    assert (json.loads(read(folder / "evaluation.json")), read(folder / "report.html")) == before


def test_it_says_where_the_rows_are_now_and_they_are_sorted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["compact", run.uri]) == 0
    assert f"compacted: 30 rows in 1 file(s), highest scores first: {run.uri}/results\n" in capsys.readouterr().out
    scores = pd.read_parquet(f"{run.uri}/results")["score"]
    assert scores[:-1].is_monotonic_decreasing
    assert pd.isna(scores.iloc[-1])
    assert main(["verify", run.uri]) == 0
    said = f"whole: each of the 30 images has one row in 1 file(s), sorted by score, of {run.uri}\n"
    assert capsys.readouterr().out == said


def test_a_second_compact_does_nothing_and_so_does_a_second_score(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact", run.uri]) == 0
    before = {path: path.stat().st_mtime_ns for path in Path(run.uri).rglob("*")}
    capsys.readouterr()
    assert main(["compact", run.uri, "file_bytes=1048576"]) == 0
    assert capsys.readouterr().out == f"nothing to do: {run.uri} is compacted\n"
    assert main(["score", run.uri]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"nothing to do: all 30 images of {run.uri} have their rows\n")
    assert said.endswith(f"results: {run.uri}/results\n")
    assert {path: path.stat().st_mtime_ns for path in Path(run.uri).rglob("*")} == before


@pytest.mark.parametrize("lacking", ["chunks/chunk-000001.parquet", "_SUCCESS.json"])
def test_a_run_that_is_not_finished_is_refused(
    tmp_path: Path, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(plan(tmp_path))
    (tmp_path / lacking).unlink()
    assert main(["compact", run.uri]) == 1
    assert capsys.readouterr().err == (
        f"error: {run.uri} is not finished; `rayae score {run.uri}` scores the rest of it.\n"
    )
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "lease.json").exists()


def test_what_a_killed_compaction_has_left_is_told_by_verify_and_removed_by_compact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(plan(tmp_path))
    assert main(["compact", run.uri]) == 0
    write_chunk(run, run.chunks[0])
    assert main(["verify", run.uri]) == 1
    assert (
        "1 file(s) among the results are none of the run's, the first is chunks/chunk-000000.parquet; "
        f"`rayae compact {run.uri}` removes what a compaction has left"
    ) in capsys.readouterr().err
    assert main(["compact", run.uri]) == 0
    assert "is compacted already; 1 file(s) that were left over are removed\n" in capsys.readouterr().out
    assert main(["verify", run.uri]) == 0


def test_rows_that_were_left_before_the_switch_are_nobodys(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "part-00000-0123abcd.parquet").write_bytes(b"half")
    assert len(run.results()) == 10
    assert main(["verify", run.uri]) == 1
    assert main(["compact", run.uri]) == 0
    assert main(["verify", run.uri]) == 0


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_files_of_a_compacted_run_that_are_gone_are_told(
    run: Run, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compact", run.uri]) == 0
    (file,) = Path(run.uri, "results").iterdir()
    file.unlink() if how == "gone" else file.write_bytes(file.read_bytes()[:-100])
    sentence = f"error: 1 file(s) of the compacted run {run.uri} are gone or cut, the first is results/{file.name}; put"
    for verb in ("compact", "score"):
        capsys.readouterr()
        assert main([verb, run.uri]) == 1
        assert capsys.readouterr().err.startswith(sentence)
    assert main(["verify", run.uri]) == 1
    assert main(["status", run.uri]) == 0
    said = capsys.readouterr().out
    assert said.endswith(
        f"into 1 file(s), of which 1 are gone or cut; `rayae verify {run.uri}` names what was in them\n"
    )
