"""A run as tables: what SQL sees of it, and what it cannot touch."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae import decisions
from rayae.assignment import ALL
from rayae.cli import main
from rayae.compaction import compact
from rayae.database import opened, unless_compacted
from rayae.decisions import Ruling, all_of
from rayae.errors import ConfigError, RunError
from rayae.flags import Cut
from rayae.run import Run
from rayae.threshold import fixed
from tests.unit.small_runs import CALIBRATION, THRESHOLD, finish, plan, write_chunk


def asked(run: Run, sql: str) -> list[dict[str, object]]:
    with opened([("main", run)]) as database:
        return database.table(sql).to_pylist()


def refused(run: Run, sql: str) -> str:
    with opened([("main", run)]) as database, pytest.raises(ConfigError) as error:
        database.table(sql)
    return str(error.value)


def test_results_are_the_rows_of_the_chunk_files(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    assert asked(run, "SELECT * FROM results ORDER BY image_id") == run.results().to_pylist()


def test_results_of_a_compacted_run_are_the_same(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    before = asked(run, "SELECT * FROM results ORDER BY image_id")
    compact(run, 1024**2, lambda: None)
    assert asked(run, "SELECT * FROM results ORDER BY image_id") == before


def test_flags_of_decisions_are_joined_by_the_image(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    assert asked(run, "SELECT * FROM flags") == asked(run, "SELECT * FROM decisions") == []
    for cut in (0.05, 0.13):
        assert main(["flag", run.uri, "rule=fixed", f"cut={cut}", "borderline=0"]) == 0
    sql = """
        SELECT uri, flags.score FROM decisions JOIN flags USING (decision) JOIN results USING (image_id)
        WHERE settings ->> 'cut' = '0.13' AND flags.is_anomaly AND needs_review IS NULL ORDER BY image_id
    """
    assert [row["uri"] for row in asked(run, sql)] == [f"/data/{number}.png" for number in (7, 8, 9)]
    rows = asked(run, 'SELECT decision, rule, cut, n, "group", review_cut FROM decisions ORDER BY cut')
    about = {"rule": "fixed", "n": 100, "group": None, "review_cut": None}
    made = [decision.id for decision in all_of(run)]
    cuts = [float(np.float32(cut)) for cut in (0.05, 0.13)]
    assert rows == [{"decision": name, "cut": cut} | about for name, cut in zip(made, cuts, strict=True)]


def test_a_band_for_review_is_a_column_of_all_flags(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    for review_cut in (None, 0.0625):
        threshold = replace(fixed(0.125, score="mse", bundle_id="b", calibration=None), review_cut=review_cut)
        made = Ruling("r", "s", {"rule": "fixed"}, {ALL: threshold})
        decisions.commit(
            run, made, decisions.write_flags(run, made.id, {ALL: Cut(threshold, CALIBRATION)}, lambda: None)
        )
    rows = asked(run, "SELECT image_id, needs_review FROM flags WHERE needs_review IS NOT NULL ORDER BY image_id")
    assert [row["image_id"] for row in rows if row["needs_review"]] == [4, 6]
    assert len(rows) == 9


@pytest.mark.parametrize("name", ["flags-000000.parquet", "threshold.json"])
def test_a_damaged_decision_is_left_out_and_the_others_are_asked(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(plan(tmp_path))
    ids = []
    for cut in (0.05, 0.13):
        threshold = fixed(cut, score="mse", bundle_id="b", calibration=None)
        made = Ruling("r", "s", {"rule": "fixed"}, {ALL: threshold})
        written = decisions.write_flags(run, made.id, {ALL: Cut(threshold, CALIBRATION)}, lambda: None)
        ids.append(decisions.commit(run, made, written).id)
    path = Path(decisions.place(run, ids[0], name))
    path.write_bytes(path.read_bytes()[:-9])
    assert asked(run, "SELECT count(*) AS n FROM results") == [{"n": 10}]
    assert asked(run, "SELECT DISTINCT decision FROM flags") == [{"decision": ids[1]}]
    told = capsys.readouterr().err
    assert f"warning: the decision {ids[0]} is left out: " in told
    assert f"; remove {decisions.place(run, ids[0])}, or ask for it again by `flag`." in told


def test_the_tables_of_an_unfinished_run_tell_what_is_done(tmp_path: Path) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[1])
    assert asked(run, "SELECT count(*) AS n FROM images") == [{"n": 10}]
    assert asked(run, "SELECT image_id FROM results ORDER BY image_id") == [{"image_id": n} for n in (4, 5, 6, 7)]
    assert asked(run, "SELECT image_id, status FROM failures") == [{"image_id": 5, "status": "missing"}]
    done = asked(run, "SELECT number, first_image_id, images, is_done FROM chunks ORDER BY number")
    assert [tuple(row.values()) for row in done] == [(0, 0, 4, False), (1, 4, 4, True), (2, 8, 2, False)]


def test_a_run_without_results_has_their_columns_and_no_rows(tmp_path: Path) -> None:
    run = plan(tmp_path / "none")
    other = finish(plan(tmp_path / "all"))
    with opened([("main", run)]) as database:
        found = database.table("SELECT * FROM results")
    assert (found.num_rows, found.column_names) == (0, other.results().column_names)


def test_thresholds_say_the_cut_of_the_run(tmp_path: Path) -> None:
    (row,) = asked(finish(plan(tmp_path)), "SELECT * FROM thresholds")
    assert (row["value"], row["threshold_id"], row["cut"]) == (None, THRESHOLD.id, THRESHOLD.cut)
    assert (row["rule"], row["n"], row["alpha"]) == ("conformal", THRESHOLD.n, THRESHOLD.alpha)


def test_a_run_without_threshold_has_its_bundle_there(tmp_path: Path) -> None:
    (row,) = asked(finish(plan(tmp_path, threshold=False)), "SELECT * FROM thresholds")
    assert (row["bundle_id"], row["score"], row["cut"]) == ("b" * 12, "mse", None)


def test_two_runs_are_asked_together(tmp_path: Path) -> None:
    first, second = finish(plan(tmp_path / "a")), finish(plan(tmp_path / "b"))
    with opened([("a", first), ("b", second)]) as database:
        found = database.table("SELECT count(*) AS n FROM a.results JOIN b.results USING (image_id)")
    assert found.to_pylist() == [{"n": 10}]


def test_no_character_in_the_name_of_a_run_is_a_pattern_or_ends_a_text(tmp_path: Path) -> None:
    run = finish(plan(tmp_path / "it's [1]*? a=b"))
    assert asked(run, "SELECT count(*) AS n FROM results") == [{"n": 10}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{other}')",
        "SELECT * FROM read_csv('{other}')",
        "SELECT * FROM '{other}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')",
    ],
)
def test_no_other_file_and_no_address_is_reached(sql: str, tmp_path: Path) -> None:
    run, other = finish(plan(tmp_path / "run")), tmp_path / "other.csv"
    other.write_text("secret\n1\n")
    assert refused(run, sql.format(other=other, folder=tmp_path)).startswith(
        "a question sees the tables of the run and nothing else: Permission Error: "
    )


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW results",
        "COPY results TO '{out}'",
        "SET memory_limit = '4GB'",
        "SELECT 1; SELECT 2",
        "ATTACH '{out}'",
        "CREATE TABLE mine AS SELECT 1",
        "",
    ],
)
def test_only_one_question_is_answered_and_nothing_written(sql: str, tmp_path: Path) -> None:
    run, out = finish(plan(tmp_path / "run")), tmp_path / "out"
    before = {path: path.read_bytes() for path in Path(run.uri).rglob("*") if path.is_file()}
    assert refused(run, sql.format(out=out)).startswith("a run answers one SELECT and changes nothing; asked were ")
    assert {path: path.read_bytes() for path in Path(run.uri).rglob("*") if path.is_file()} == before
    assert not out.exists()


def test_variables_of_the_program_are_no_tables(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    images_of_mine = run.results()
    assert images_of_mine.num_rows == 10
    assert "images_of_mine does not exist" in refused(run, "SELECT * FROM images_of_mine")


def test_a_wrong_question_is_told_in_the_words_of_duckdb(tmp_path: Path) -> None:
    told = refused(finish(plan(tmp_path)), "SELECT skore FROM results")
    assert told.startswith("the question cannot be answered: Binder Error: ")
    assert '"skore"' in told
    assert "\n" not in told


def test_values_that_do_not_fit_the_question_are_the_askers(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    assert "Invalid Input Error" in refused(run, "SELECT strptime(status, '%Y') FROM results")
    assert "Conversion Error" in refused(run, "SELECT status::INTEGER FROM results")


@pytest.mark.parametrize(
    "sql", ["SELECT 'a.parquet'::INTEGER FROM results", "SELECT error('no a.parquet') FROM results"]
)
def test_a_question_that_speaks_of_parquet_files_damages_no_run(sql: str, tmp_path: Path) -> None:
    assert refused(finish(plan(tmp_path)), sql).startswith("the question cannot be answered: ")


def test_what_goes_wrong_midway_is_the_askers_too(tmp_path: Path) -> None:
    sql = "SELECT CASE WHEN i < 900000 THEN 1 ELSE ('x' || i)::INTEGER END FROM range(1000000) numbers(i)"
    with opened([("main", finish(plan(tmp_path)))]) as database:
        answer = database.ask(sql)
        with pytest.raises(ConfigError, match=r"^the question cannot be answered: Conversion Error: Could not convert"):
            list(answer.batches)


def broken(run: Run, sql: str, harm: Callable[[Path], object]) -> str:
    """What is said when a file of results comes to harm after the tables were opened."""
    with opened([("main", run)]) as database:
        harm(Path(run.chunk_uri(1)))
        with pytest.raises(RunError) as error:
            database.table(sql)
    return str(error.value)


def test_a_damaged_file_of_results_is_told(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    told = broken(
        run, "SELECT sum(score) FROM results", lambda path: path.write_bytes(path.read_bytes()[:-4] + b"????")
    )
    assert told == (
        "the results cannot be read: Invalid Input Error: No magic bytes found at end of file "
        f"'{run.chunk_uri(1)}'; `rayae verify` says more."
    )


def test_a_file_of_results_that_is_gone_is_told(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    assert broken(run, "SELECT sum(score) FROM results", Path.unlink) == (
        f"the results cannot be read: there is no {run.chunk_uri(1)} any more; `rayae verify` says more."
    )


@pytest.mark.parametrize("seed", range(8))
def test_damage_within_a_file_is_never_the_askers(seed: int, tmp_path: Path) -> None:
    """Libraries within DuckDB say it in words and by errors of their own."""
    run, random = finish(plan(tmp_path)), np.random.default_rng(seed)
    path = Path(run.chunk_uri(1))
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[4:-3000] ^= random.integers(1, 256, len(data) - 3004, dtype=np.uint8)
    path.write_bytes(data.tobytes())
    with opened([("main", run)]) as database, pytest.raises(RunError, match=r"^the results cannot be read: .*\.$"):
        database.table("SELECT * FROM results")


def test_a_run_that_is_compacted_meanwhile_is_asked_once_more(tmp_path: Path) -> None:
    run, tried = finish(plan(tmp_path)), []

    def work() -> list[dict[str, object]]:
        with opened([("main", run)]) as database:
            if not tried:
                compact(run, 1024**2, lambda: None)
            tried.append(1)
            return database.table("SELECT count(*) AS n, sum(image_id) AS ids FROM results").to_pylist()

    assert unless_compacted(run, work) == [{"n": 10, "ids": 45}]
    assert len(tried) == 2


def test_a_run_that_was_not_compacted_is_asked_but_once(tmp_path: Path) -> None:
    run, tried = finish(plan(tmp_path)), []
    Path(run.chunk_uri(1)).write_bytes(b"")

    def work() -> object:
        tried.append(1)
        return asked(run, "SELECT sum(score) FROM results")

    with pytest.raises(RunError, match="too small to be a Parquet file"):
        unless_compacted(run, work)
    assert len(tried) == 1


def test_tables_are_made_of_answers_and_of_rows_for_further_questions(tmp_path: Path) -> None:
    with opened([("main", finish(plan(tmp_path)))]) as database:
        database.make("high", "SELECT image_id FROM results WHERE score > 0.15")
        database.add("names", pa.table({"image_id": [8, 9], "name": ["eight", "nine"]}))
        found = database.table("SELECT name FROM high JOIN names USING (image_id) ORDER BY image_id")
    assert found["name"].to_pylist() == ["eight", "nine"]


def test_a_table_of_a_wrong_question_is_refused(tmp_path: Path) -> None:
    with (
        opened([("main", finish(plan(tmp_path)))]) as database,
        pytest.raises(ConfigError, match="the question cannot be answered: Binder Error: "),
    ):
        database.make("high", "SELECT skore FROM results")


def test_what_does_not_fit_into_memory_goes_to_a_directory_that_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, scratch = finish(plan(tmp_path / "run")), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    sql = "SELECT uri, i FROM results, range(400000) t(i) ORDER BY hash(i), uri"
    with opened([("main", run)], 64 * 1024**2) as database:
        answer = database.ask(sql)
        first = next(answer.batches)
        spilled = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        assert first.num_rows > 0
        assert spilled > 0
        assert first.num_rows + sum(batch.num_rows for batch in answer.batches) == 4_000_000
    assert list(scratch.iterdir()) == []


def test_a_signal_ends_a_long_question(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with opened([("main", finish(plan(tmp_path)))]) as database:
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with pytest.raises(Stop):
                database.table("SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE i * j % 7 = 3")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
