"""`rayae retry`, on real pictures that were away for a while: their rows are mended, and no other is touched."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest

from rayae import scoring
from rayae.cli import main
from rayae.errors import ConfigError
from rayae.lease import Limits, held
from rayae.manifest import Chunk
from rayae.result_files import read_chunk
from rayae.results import ChunkSummary, Status
from rayae.run import Run
from rayae.verbs.retry import failed_statuses
from tests.conftest import write_pictures

AWAY = ("part0003.png", "part0017.png", "part0018.png", "part0033.png")
GONE_FOR_EVER = "part0018.png"


@pytest.fixture
def run(bundle: Path, tmp_path: Path) -> Run:
    """A run over 40 pictures in 5 chunks while three were away and one was gone; now the three are back."""
    images = write_pictures(tmp_path / "images", 40) / "good"
    (tmp_path / "away").mkdir()
    asked = [f"images={images}", f"bundle={bundle}", "placement=inline", "chunk_images=8", "max_failed_fraction=0.01"]
    assert main(["index", f"images={images}", f"out={tmp_path}/m.parquet"]) == 0
    asked[0] = f"images={tmp_path}/m.parquet"
    assert main(["score", *asked, f"out={tmp_path}/whole"]) == 0
    for name in AWAY:
        shutil.move(images / name, tmp_path / "away" / name)
    assert main(["score", *asked, f"out={tmp_path}/run"]) == 0
    for name in AWAY:
        if name != GONE_FOR_EVER:
            shutil.move(tmp_path / "away" / name, images / name)
    return Run.open(f"{tmp_path}/run")


def contents(run: Run) -> dict[str, tuple[int, bytes]]:
    files = [path for path in Path(run.uri).rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(run.uri)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_images_that_are_back_get_their_scores_and_no_other_row_changes(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, files = run.results(), contents(run)
    capsys.readouterr()
    assert main(["retry", run.uri, "status=missing"]) == 0
    after, whole = run.results(), Run.open(f"{tmp_path}/whole").results()
    tried = pc.equal(before["status"], "missing")
    assert after.filter(pc.invert(tried)).equals(before.filter(pc.invert(tried)))
    gone = pc.equal(after["status"], "missing")
    assert [Path(uri).name for uri in after.filter(gone)["uri"].to_pylist()] == [GONE_FOR_EVER]
    mended = after.filter(pc.invert(gone)).drop_columns("pixel_mean")
    assert mended["score"].to_pylist() == pytest.approx(whole.filter(pc.invert(gone))["score"].to_pylist(), rel=1e-2)
    assert mended.drop_columns(["mse", "mae", "score"]).column_names[:3] == ["image_id", "uri", "label"]
    untouched = [f"chunks/chunk-00000{number}.parquet" for number in (1, 3)]
    assert {name: contents(run)[name] for name in untouched} == {name: files[name] for name in untouched}
    said = capsys.readouterr().out
    assert "retry: 4 images (missing) in 3 chunk(s), inline\n" in said
    assert re.search(r"missing +│ +4 │ +1 │", said)
    assert re.search(r"scored +│ +0 │ +3 │", said)
    assert main(["verify", run.uri]) == 0


def test_what_is_changed_stays_so_and_what_to_do_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (Path(run.uri).parent / "images" / "good").iterdir():
        if path.name in AWAY:
            path.write_bytes(path.read_bytes() + b"more")
    assert main(["retry", run.uri, "status=missing"]) == 0
    assert "what is `changed` is another file than the one that was listed" in capsys.readouterr().out


def test_the_end_of_the_run_is_written_anew_with_the_speed_of_the_whole(run: Run) -> None:
    before = run.success()
    assert main(["retry", run.uri, "status=[missing]"]) == 0
    success = run.success()
    assert success is not None
    assert success["statistics"]["by_status"] == {"scored": 39, "missing": 1}
    assert before is not None
    speed = ("wall_seconds", "images_per_second")
    assert [success["statistics"][name] for name in speed] == [before["statistics"][name] for name in speed]
    summary = run.summaries()[0]
    assert summary.seconds["fetch"] > 0


def test_a_second_retry_of_mended_images_finds_nothing_to_do(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", run.uri, "status=missing"]) == 0
    shutil.move(Path(run.uri).parent / "away" / GONE_FOR_EVER, Path(run.uri).parent / "images" / "good")
    assert main(["retry", run.uri, "status=missing"]) == 0
    files = contents(run)
    capsys.readouterr()
    assert main(["retry", run.uri, "status=missing", "placement=together"]) == 0  # no Ray is started for nothing
    assert capsys.readouterr().out == f"nothing to do: no image of {run.uri} has the status missing\n"
    assert contents(run) == files
    assert main(["retry", run.uri]) == 0
    assert capsys.readouterr().out == f"nothing to do: no image of {run.uri} has the status throttled or timeout\n"


def test_failures_that_go_on_stop_no_retry(run: Run) -> None:
    for name in AWAY:
        (Path(run.uri).parent / "images" / "good" / name).unlink(missing_ok=True)
    assert main(["retry", run.uri, "status=missing", "min_failed_sample=1"]) == 0
    assert main(["verify", run.uri]) == 0


def kill_with_the_second_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the driver as Ctrl-C ends it."""
    score, done = scoring.ChunkScorer.__call__, []

    def killed(scorer: scoring.ChunkScorer, chunk: Chunk) -> ChunkSummary:
        if done:
            raise KeyboardInterrupt
        done.append(chunk)
        return score(scorer, chunk)

    monkeypatch.setattr(scoring.ChunkScorer, "__call__", killed)


def test_a_retry_that_is_killed_goes_on_with_the_same_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patched:
        kill_with_the_second_chunk(patched)
        assert main(["retry", run.uri, "status=missing"]) == 130
    assert run.success() is None
    assert main(["evaluate", run.uri]) == 1
    assert "is not finished" in capsys.readouterr().err
    assert main(["retry", run.uri, "status=missing"]) == 0
    assert "retry: 3 images (missing) in 2 chunk(s)" in capsys.readouterr().out
    assert main(["verify", run.uri]) == 0


def test_a_retry_that_is_killed_before_its_last_word_is_finished_by_the_next(run: Run) -> None:
    assert main(["retry", run.uri, "status=missing"]) == 0
    Path(run.uri, "_SUCCESS.json").unlink()
    assert main(["retry", run.uri, "status=timeout"]) == 0
    assert main(["verify", run.uri]) == 0


def test_chunks_that_are_not_scored_yet_are_left_to_score(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path(run.chunk_uri(4)).unlink()
    Path(run.uri, "_SUCCESS.json").unlink()
    assert main(["retry", run.uri, "status=missing"]) == 0
    assert f"1 chunk(s) of {run.uri} are not scored yet; `rayae score {run.uri}` does them" in capsys.readouterr().out
    assert run.success() is None
    assert main(["score", run.uri]) == 0
    assert main(["verify", run.uri]) == 0


def test_the_metadata_of_a_mended_file_are_those_of_a_scored_one(run: Run) -> None:
    about = read_chunk(run.chunk_uri(0))[1]
    assert main(["retry", run.uri, "status=missing"]) == 0
    mended = read_chunk(run.chunk_uri(0))[1]
    assert mended.keys() == about.keys()
    assert mended["fingerprint"] == about["fingerprint"]
    assert mended["summary"]["by_status"] == {"scored": 8}


def test_statuses_come_as_a_text_or_a_list() -> None:
    assert failed_statuses("throttled,timeout") == failed_statuses(["throttled", "timeout"]) == ("throttled", "timeout")
    assert failed_statuses(" missing , missing") == ("missing",)


@pytest.mark.parametrize(
    ("asked", "name", "guess"),
    [
        ("throtled", "throtled", "; did you mean 'throttled'? The"),
        ("missing,TIMEOUT", "TIMEOUT", "; did you mean 'timeout'? The"),
        ("scored", "scored", ". The"),
        ("", "", ". The"),
        ([], "", ". The"),
    ],
)
def test_what_is_no_status_of_a_failed_image_is_refused(asked: str | list[str], name: str, guess: str) -> None:
    with pytest.raises(ConfigError) as refused:
        failed_statuses(asked)
    known = ", ".join(status for status in Status if status != "scored")
    expected = f"status={name}: no image fails with the status {name!r}{guess} statuses are {known}."
    assert str(refused.value) == expected


def test_a_limit_that_was_not_planned_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", run.uri, "status=too_large", "reader.max_bytes=9"]) == 1
    assert "max_bytes: the run has 268435456, asked is 9" in capsys.readouterr().err


def test_settings_of_the_record_that_are_none_are_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads(Path(run.uri, "run.json").read_text())
    record["settings"]["workers"] = "many"
    Path(run.uri, "run.json").write_text(json.dumps(record))
    for verb in ("retry", "score"):
        assert main([verb, run.uri]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {run.uri}/run.json was changed by hand: settings.workers: ")
        assert len(said.splitlines()) == 1


def test_a_compacted_run_cannot_be_retried(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compact", run.uri]) == 0
    capsys.readouterr()
    assert main(["retry", run.uri, "status=missing"]) == 1
    assert capsys.readouterr().err == (
        f"error: {run.uri} is compacted, so it has no chunk files that could be written anew. Write the column `uri` "
        "of the rows that failed into a list (a .txt, a line an image), and score that with `images=` into a new "
        "`out=`; next time retry before you compact.\n"
    )


@pytest.mark.parametrize("verb", ["retry", "score", "compact"])
def test_a_driver_is_refused_while_another_process_writes(
    run: Run, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if verb == "score":
        Path(run.chunk_uri(4)).unlink()
    files = contents(run)
    capsys.readouterr()
    with held(run.uri, Limits(renew_s=0.2)):
        assert main([verb, run.uri, *(["status=missing"] if verb == "retry" else [])]) == 1
        assert f"error: {run.uri} is being written by another process (process " in capsys.readouterr().err
    assert contents(run) == files
