"""`rayae query` and `rayae top`, at the door."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rayae.cli import main
from rayae.run import Run
from tests.unit.small_runs import finish, plan, write_chunk


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def test_sql_is_the_second_word_and_its_answer_a_table(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "select status, count(*) as images from results where width=64 or status='missing' group by 1 order by 2 desc"
    assert main(["query", run.uri, sql]) == 0
    said = capsys.readouterr()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.out.splitlines() if "│" in line]
    assert cells == [["scored", "9"], ["missing", "1"]]
    assert "2 row(s)" in said.out
    assert said.err == ""


def test_a_long_answer_is_cut_and_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", run.uri, "select image_id from results", "rows=3"]) == 0
    said = capsys.readouterr().out
    assert "3 row(s), the first 3" in said
    assert "there are more rows; `rows=` shows more, and `format=csv out=FILE` writes all." in said


def test_csv_and_json_go_to_standard_output_and_nothing_else_does(
    run: Run, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    sql = "select image_id, uri from results order by image_id limit 2"
    assert main(["query", run.uri, sql, "format=csv"]) == 0
    assert capfdbinary.readouterr().out == b'"image_id","uri"\n0,"/data/0.png"\n1,"/data/1.png"\n'
    assert main(["query", run.uri, sql, "format=json"]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["image_id"] for line in lines] == [0, 1]


def test_with_log_json_standard_output_has_the_answer_and_no_line_beside(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    sql = "select image_id from results order by image_id limit 2"
    answers = {"csv": b'"image_id"\n0\n1\n', "json": b'{"image_id": 0}\n{"image_id": 1}\n'}
    for form, answer in answers.items():
        assert main(["query", run.uri, sql, f"format={form}", "log=json"]) == 0
        said = capfdbinary.readouterr()
        assert said.out == answer
        (warning,) = map(json.loads, said.err.splitlines())
        assert (warning["level"], warning["verb"]) == ("warning", "query")


def test_the_ending_of_out_says_the_format_and_all_rows_are_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.parquet"
    assert main(["query", run.uri, "select * from results order by image_id", f"out={out}", "rows=1"]) == 0
    assert pq.read_table(out).to_pylist() == run.results().to_pylist()
    assert capsys.readouterr().out == f"query: 10 row(s) in {out}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["format=parquet"], "format=parquet needs out=, the file to write."),
        (["format=table", "out=a.csv"], "format=table is for the terminal; with out= take csv, json or parquet."),
        (["out=a.txt"], "out=a.txt has no ending that says what to write; add format=, one of csv, json, parquet."),
    ],
)
def test_an_output_that_cannot_be_is_refused(
    words: list[str], sentence: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", run.uri, "select 1", *words]) == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


@pytest.mark.parametrize("name", ["", "run.json", "chunks/chunk-000000.parquet", "chunks", "decisions/a/flags.csv"])
def test_no_verb_writes_over_what_the_run_is_made_of(run: Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in Path(run.uri).rglob("*") if path.is_file()}
    out = f"{run.uri}/{name}"
    for words in (
        ["query", run.uri, "select 1", "format=csv"],
        ["drift", run.uri],
        ["compare", run.uri, f"{run.uri}/"],
    ):
        assert main([*words, f"out={out}"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        if words[0] != "compare":
            assert said == f"error: out={out} is a part of the run {run.uri} itself; name another place.\n"
    assert {path: path.read_bytes() for path in Path(run.uri).rglob("*") if path.is_file()} == before


def test_results_that_lack_columns_are_told_and_not_the_question(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pq.read_table(run.chunk_uri(0)).select(["uri"]), run.chunk_uri(0))
    assert main(["query", run.uri, "select 1 as a"]) == 1
    told = f"the first file of the results of {run.uri} lacks columns; `rayae verify {run.uri}` says more."
    assert told in capsys.readouterr().err


def test_a_question_that_fails_leaves_no_file(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert main(["query", run.uri, "select uri::integer from results", f"out={out}"]) == 2
    assert not out.exists()


def test_an_unfinished_run_is_asked_and_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    for words in (["query", run.uri, "select count(*) from results"], ["top", run.uri]):
        assert main(words) == 0
        said = f"warning: {run.uri} is not finished: 4 of 10 images have a row, and what follows is of these.\n"
        assert capsys.readouterr().err == said


def shown(run: Run, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, str]]:
    assert main(["top", run.uri, "log=json", *words]) == 0
    rows: list[dict[str, str]] = json.loads(capsys.readouterr().out)["rows"]
    return rows


def test_top_shows_the_highest_scores_and_leaves_out_what_has_none(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shown(run, capsys)
    assert [row["uri"] for row in rows] == [f"/data/{n}.png" for n in (9, 8, 7, 6, 4, 3, 2, 1, 0)]
    assert rows[0]["score"] == "0.18"
    assert list(rows[0]) == ["uri", "score", "p_value", "is_anomaly", "label", "group"]


def test_top_by_another_column_shows_it_too(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(run, capsys, "by=pixel_mean", "n=2")
    assert [row["uri"] for row in rows] == ["/data/0.png", "/data/1.png"]
    assert rows[0]["pixel_mean"] == "0.9"


def test_top_by_what_is_no_number_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", run.uri, "by=uri"]) == 2
    told = f"error: by=uri is no score of {run.uri}; its columns of numbers are weight, mse, mae, pixel_mean,"
    assert capsys.readouterr().err.startswith(told)
