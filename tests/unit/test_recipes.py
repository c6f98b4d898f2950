"""The lines of docs/recipes.md, run from the text of the page: every tool gives the same five answers."""

import json
import re
import shlex
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae.cli import main
from rayae.decisions import all_of
from rayae.flags import FLAGS
from rayae.run import Run
from tests.unit.small_runs import finish, plan

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
ID = "d0c1de0d0c1d"
QUESTIONS = ("flagged", "by_group", "by_label", "top", "failed")
TYPES = {
    "bigint": pa.int64(),
    "int": pa.int32(),
    "string": pa.string(),
    "float": pa.float32(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in the folder `run` of thirty images, of which one is missing, with a decision."""
    groups = pa.array([("line-a", "line-b", None)[row % 3] for row in range(30)])
    made = finish(plan(tmp_path / "run", rows=30, group=groups))
    assert main(["flag", made.uri, "rule=fixed", "cut=0.3", "borderline=0"]) == 0
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def page(run: Run) -> str:
    """The page, with the id of that decision."""
    (decision,) = all_of(run)
    return PAGE.replace(ID, decision.id)


@pytest.fixture
def expected(run: Run) -> dict[str, list[tuple]]:
    """The five answers by numpy: scores are 0.02 times the number of the image, the run's cut is near 0.1."""
    numbers = np.array([number for number in range(30) if number != 5])
    above = numbers[numbers > 4]
    uris = [(f"/data/{number}.png", float(np.float32(number / 50))) for number in above[::-1]]
    group = {name: numbers[numbers % 3 == rest] for rest, name in enumerate(("line-a", "line-b"))}
    label = {name: numbers[numbers % 3 == rest] for name, rest in (("good", 0), ("scratch", 2))}
    return {
        "flagged": uris,
        "by_group": [(name, len(own), int((own > 4).sum())) for name, own in group.items()],
        "by_label": [(name, len(own), int((own > 15).sum())) for name, own in label.items()],
        "top": uris[:5],
        "failed": [("missing", 1)],
    }


def blocks(page: str, section: str, language: str) -> list[str]:
    """The code of a language in a section of the page."""
    (text,) = re.findall(rf"(?ms)^## {section}\n(.*?)(?=^## |\Z)", page)
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def as_rows(answer: object) -> list[tuple]:
    """Rows of the answer of a tool; a group that is no group is left out, as pandas does."""
    name = type(answer).__module__.partition(".")[0]
    if name == "polars":
        rows = answer.rows()
    elif name == "pandas":
        rows = list(answer.items()) if answer.ndim == 1 else None
        if rows is None:
            frame = answer if "uri" in answer else answer.reset_index()
            rows = list(frame.itertuples(index=False, name=None))
    else:
        rows = answer.fetchall()
    plain = [tuple(value.item() if hasattr(value, "item") else value for value in row) for row in rows]
    return [row for row in plain if not pd.isna(row[0]) and row[0]]


@pytest.mark.parametrize("section", ["pandas", "Polars", "DuckDB"])
def test_what_python_says_is_run_as_it_stands(section: str, page: str, expected: dict[str, list[tuple]]) -> None:
    (code,) = blocks(page, section, "python")
    names: dict[str, object] = {}
    exec(compile(code, f"recipes.md, {section}", "exec"), names)
    assert {question: as_rows(names[question]) for question in QUESTIONS} == expected


def test_rayae_query_answers_the_same(
    run: Run, page: str, expected: dict[str, list[tuple]], capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(page, "rayae query", "bash")
    for question, line in zip(QUESTIONS, code.splitlines(), strict=True):
        words = shlex.split(line)
        capsys.readouterr()
        assert words[0] == "rayae"
        assert main([*words[1:], "format=json"]) == 0
        rows = [tuple(json.loads(row).values()) for row in capsys.readouterr().out.splitlines()]
        assert [row for row in rows if row[0]] == [pytest.approx(row) for row in expected[question]], question


@pytest.mark.parametrize("section", ["Spark", "Athena"])
def test_sql_for_elsewhere_answers_the_same_in_duckdb(
    section: str, run: Run, page: str, expected: dict[str, list[tuple]]
) -> None:
    (decision,) = all_of(run)
    with duckdb.connect() as connection:
        connection.execute("CREATE VIEW results AS FROM 'run/chunks/*.parquet'")
        connection.execute(f"CREATE VIEW flags AS FROM 'run/decisions/{decision.id}/flags-*.parquet'")
        (code,) = blocks(page, section, "sql")
        found = re.findall(rf"(?s)-- {section}: (\w+)\n(.*?);", code)
        assert [question for question, _ in found] == list(QUESTIONS)
        for question, sql in found:
            assert as_rows(connection.sql(sql.replace("`", '"'))) == expected[question], question


def test_the_tables_of_athena_have_the_columns_and_types_of_the_files(run: Run) -> None:
    (code,) = blocks(PAGE, "Athena", "athena")
    tables = dict(re.findall(r"(?s)CREATE EXTERNAL TABLE (\w+) \((.*?)\n\)", code))
    schemas = {"results": pq.read_schema(run.result_files()[0]), "flags": FLAGS}
    assert set(tables) == set(schemas)
    for name, columns in tables.items():
        pairs = [column.split() for column in columns.replace("`", "").split(",")]
        assert len(pairs) > 3
        assert all(schemas[name].field(column).type == TYPES[kind] for column, kind in pairs)


def test_a_compacted_run_is_asked_by_the_other_folder(run: Run, page: str, expected: dict[str, list[tuple]]) -> None:
    assert main(["compact", run.uri]) == 0
    (code,) = blocks(page, "DuckDB", "python")
    names: dict[str, object] = {}
    exec(compile(code.replace("run/chunks/", "run/results/"), "recipes.md", "exec"), names)
    assert {question: as_rows(names[question]) for question in QUESTIONS} == expected
    assert not list(Path(run.uri, "chunks").glob("*.parquet"))


def test_every_tool_has_its_section() -> None:
    assert re.findall(r"(?m)^## (.*)$", PAGE) == ["rayae query", "pandas", "Polars", "DuckDB", "Spark", "Athena"]
