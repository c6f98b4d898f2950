"""Rows in files for other programs, read back with pandas, json and pyarrow."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae.answers import format_of, write
from rayae.errors import ConfigError

TABLE = pa.table({"uri": ['a,"b".png', None, "ü\n"], "score": pa.array([0.1, float("nan"), 3], pa.float32())})


def written(form: str, table: pa.Table = TABLE) -> bytes:
    file = io.BytesIO()
    assert write(file, form, table.schema, table.to_batches(2)) == table.num_rows
    return file.getvalue()


def test_parquet_holds_the_same_rows_and_types() -> None:
    assert pq.read_table(io.BytesIO(written("parquet"))).schema == TABLE.schema
    assert str(pq.read_table(io.BytesIO(written("parquet"))).to_pylist()) == str(TABLE.to_pylist())


def test_csv_is_read_back_by_pandas() -> None:
    found = pd.read_csv(io.BytesIO(written("csv")))
    assert found["uri"].fillna("").tolist() == ['a,"b".png', "", "ü\n"]
    assert found["score"].astype("float32").tolist()[::2] == TABLE["score"].to_pylist()[::2]


def test_json_is_an_object_a_line_and_what_is_no_number_is_null() -> None:
    rows = [json.loads(line) for line in written("json").decode().splitlines()]
    assert [row["uri"] for row in rows] == TABLE["uri"].to_pylist()
    assert rows[1]["score"] is None


def test_json_holds_times_decimals_lists_and_structs() -> None:
    when = datetime(2026, 11, 24, tzinfo=UTC)
    rows = [{"a": when, "b": Decimal("1.50"), "c": [1.0, float("inf")], "d": {"x": None}, "e": b"\x00\xff"}]
    (line,) = written("json", pa.Table.from_pylist(rows)).splitlines()
    told = {"a": "2026-11-24T00:00:00+00:00", "b": "1.50", "c": [1.0, None], "d": {"x": None}, "e": "00ff"}
    assert json.loads(line) == told


def test_an_answer_without_rows_keeps_its_columns() -> None:
    empty = TABLE.slice(0, 0)
    assert written("csv", empty).decode().strip() == '"uri","score"'
    assert pq.read_table(io.BytesIO(written("parquet", empty))).column_names == ["uri", "score"]
    assert written("json", empty) == b""


def test_two_columns_of_one_name_are_no_json() -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(
        ConfigError, match=r"^the rows cannot be written as json \(two columns of a, a have one name\); "
    ):
        written("json", table)


def test_lists_are_no_csv() -> None:
    with pytest.raises(
        ConfigError, match=r"^the rows cannot be written as csv \(.*\); cast those columns, or take json\.$"
    ):
        written("csv", pa.table({"a": [[1, 2]]}))


def test_the_ending_of_a_name_says_the_format() -> None:
    names = ("a.csv", "a.JSON", "a.jsonl", "a.ndjson", "s3://b/a.parquet")
    assert [format_of(name) for name in names] == ["csv", "json", "json", "json", "parquet"]
    with pytest.raises(
        ConfigError, match=r"^out=a\.txt has no ending that says what to write; add format=, one of csv, "
    ):
        format_of("a.txt")
