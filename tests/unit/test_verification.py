"""Whether a run is whole: every way in which its files can be wrong is found, and said in a sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import compaction, completeness, manifest, storage
from rayae.errors import RayaeError, RunError
from rayae.lease import held
from rayae.manifest import Chunk, complete, write_manifest
from rayae.results import summarise
from rayae.run import Run, short_hash
from rayae.settings import VerifySettings
from rayae.verbs.verify import verify
from rayae.verification import problems
from tests.unit.small_runs import THRESHOLD, finish, plan, scored, write_chunk


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def edited(run: Run, number: int, column: str, row: int, value: Any) -> None:
    """Write a chunk anew with one value changed, its summary as it was for the edited rows."""
    table = scored(run, run.chunks[number])
    values = table[column].to_pylist()
    values[row] = value
    place = table.column_names.index(column)
    write_chunk(run, run.chunks[number], table.set_column(place, column, pa.array(values, table[column].type)))


def rewritten_record(run: Run, change: Callable[[dict[str, Any]], object]) -> Run:
    record = json.loads(json.dumps(run.record))
    change(record)
    storage.write_json(f"{run.uri}/run.json", record)
    return Run.open(run.uri)


def test_a_whole_run_has_no_problems(tmp_path: Path) -> None:
    assert problems(finish(plan(tmp_path / "a"))) == []
    assert problems(finish(plan(tmp_path / "b", threshold=False))) == []
    assert problems(finish(plan(tmp_path / "c", rows=1, chunk_images=100))) == []
    assert problems(finish(plan(tmp_path / "d", heat=pa.array([float("nan")] * 10)))) == []


def test_a_missing_chunk_file_is_found(run: Run) -> None:
    Path(run.chunk_uri(1)).unlink()
    assert problems(run) == [
        "4 of 10 rows are missing, in 1 chunk(s): chunk-000001.parquet; the first: 4 (/data/4.png), 5 (/data/5.png), "
        "6 (/data/6.png)."
    ]


def test_a_truncated_chunk_file_is_found(run: Run) -> None:
    path = Path(run.chunk_uri(1))
    path.write_bytes(path.read_bytes()[:-10])
    (problem,) = problems(run)
    assert problem.startswith(f"{path} cannot be read (")
    assert problem.endswith("; remove it and run the same command again.")


def test_a_flipped_byte_is_found(run: Run) -> None:
    path = Path(run.chunk_uri(1))
    column = pq.read_metadata(path).row_group(0).column(10)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3] ^= 1
    path.write_bytes(bytes(data))
    (problem,) = problems(run)
    assert problem.startswith(f"{path} cannot be read (")


def test_swapped_chunk_files_are_found(run: Run) -> None:
    first, second = (Path(run.chunk_uri(number)) for number in (0, 1))
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert problems(run) == [
        f"{path} does not have the 4 planned rows: its column image_id differs from the manifest."
        for path in (first, second)
    ]


def test_a_file_with_too_few_rows_is_found(run: Run) -> None:
    write_chunk(run, run.chunks[1], scored(run, run.chunks[1]).slice(0, 3))
    assert problems(run) == [
        f"{run.chunk_uri(1)} does not have the 4 planned rows: its column image_id differs from the manifest."
    ]


def test_a_chunk_of_another_plan_is_found(run: Run) -> None:
    write_chunk(run, run.chunks[2], fingerprint="another")
    assert problems(run) == [f"{run.chunk_uri(2)} belongs to another plan: its fingerprint differs."]


def test_a_chunk_file_under_the_name_of_no_chunk_is_found(run: Run) -> None:
    storage.write_bytes(f"{run.uri}/chunks/chunk-000003 (copy).parquet", storage.read_bytes(run.chunk_uri(1)))
    assert problems(run) == [
        "1 file(s) among the results are none of the run's, the first is chunks/chunk-000003 (copy).parquet; remove "
        "them, since whoever reads the folder reads them too."
    ]


@pytest.mark.parametrize(
    ("column", "value"),
    [("image_id", 5), ("uri", "/data/other.png"), ("label", "good"), ("group", ""), ("weight", None), ("weight", 2.5)],
)
def test_an_edited_row_that_is_not_the_manifests_is_found(run: Run, column: str, value: Any) -> None:
    edited(run, 1, column, 0, value)
    assert problems(run) == [
        f"{run.chunk_uri(1)} does not have the 4 planned rows: its column {column} differs from the manifest."
    ]


ONE = "1 row(s) {}, the first is the image 4."


@pytest.mark.parametrize(
    ("column", "value", "sentences"),
    [
        ("status", "lost", ["have a status that nobody knows", "are not scored and give no reason"]),
        ("status", None, ["have a status that nobody knows", "are not scored and give no reason"]),
        ("status", "missing", ["are not scored and give no reason", "have no score though scored"]),
        ("error", "Odd.", ["are not scored and give no reason, or are scored and give one"]),
        ("mse", None, ["have no score though scored, or one though not", "have a score that is not their mse"]),
        ("score", 0.09, ["have a score that is not their mse"]),
        ("mae", float("inf"), ["have a score that is no finite number"]),
        ("mae", float("nan"), ["have a score that is no finite number"]),
        ("pixel_mean", None, ["have no pixel statistic though scored, or one though not"]),
        ("pixel_p01", float("inf"), ["have a pixel statistic that is no finite number"]),
        ("pixel_std", float("nan"), ["have a pixel statistic that is no finite number"]),
        ("p_value", None, ["have no p-value though scored, or one though not"]),
        ("p_value", 0.0, ["have a p-value that is none"]),
        ("p_value", float("nan"), ["have a p-value that is none"]),
        ("is_anomaly", True, ["are flagged otherwise than their score and the threshold say"]),
        ("is_anomaly", None, ["are flagged otherwise than their score and the threshold say"]),
        ("bundle_id", "other", ["name another bundle or threshold"]),
        ("threshold_id", None, ["name another bundle or threshold"]),
    ],
)
def test_an_edited_outcome_is_found(run: Run, column: str, value: Any, sentences: list[str]) -> None:
    edited(run, 1, column, 0, value)
    found = problems(run)
    for sentence in sentences:
        assert any(sentence in problem for problem in found), found
    if len(sentences) == 1 and ", or" in sentences[0]:
        assert found[0] == f"{run.chunk_uri(1)}: {ONE.format(sentences[0])}"


@pytest.mark.parametrize("column", ["score", "mse", "pixel_std", "is_anomaly", "p_value"])
def test_a_value_where_nobody_looked_is_found(run: Run, column: str) -> None:
    edited(run, 1, column, 1, False if column == "is_anomaly" else 0.5)
    assert any("the first is the image 5." in problem for problem in problems(run))


def test_a_flag_at_the_cut_follows_the_strict_float32_rule(tmp_path: Path) -> None:
    run = plan(tmp_path, rows=3)
    cut = np.float32(THRESHOLD.cut)
    table = scored(run, run.chunks[0])
    values = pa.array([cut, np.nextafter(cut, np.float32(1)), 0.0], pa.float32())
    for name in ("mse", "score"):
        table = table.set_column(table.column_names.index(name), name, values)
    place = table.column_names.index("is_anomaly")
    for flags, whole in (([False, True, False], True), ([True, True, False], False), ([False, False, False], False)):
        write_chunk(run, run.chunks[0], table.set_column(place, "is_anomaly", pa.array(flags)))
        assert (problems(finish(run)) == []) is whole


def test_flags_without_a_threshold_are_found(tmp_path: Path) -> None:
    run = finish(plan(tmp_path, threshold=False))
    edited(run, 0, "is_anomaly", 0, False)
    assert problems(run) == [
        f"{run.chunk_uri(0)}: 1 row(s) are flagged otherwise than their score and the threshold say, "
        "the first is the image 0."
    ]


def test_other_columns_types_or_orders_are_found(run: Run) -> None:
    table = scored(run, run.chunks[0])
    wrong = [
        table.drop_columns("mae"),
        table.drop_columns("pixel_p01"),
        table.append_column("more", pa.nulls(4)),
        table.set_column(11, "mae", table["mae"].cast(pa.float64())),
        table.select(list(reversed(table.column_names))),
    ]
    for other in wrong:
        write_chunk(run, run.chunks[0], other)
        assert problems(run) == [
            f"{run.chunk_uri(0)} does not have the columns of a result, or not with their types and in their order."
        ]


def test_a_summary_that_is_not_of_its_rows_is_found(run: Run) -> None:
    path = run.chunk_uri(1)
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"rayae"])
    about["summary"]["flagged"] += 1
    pq.write_table(table.replace_schema_metadata({b"rayae": json.dumps(about).encode()}), path)
    assert problems(run) == [f"{path}: its rows do not add up to its summary."]
    about["summary"] = {"chunk": 1}
    pq.write_table(table.replace_schema_metadata({b"rayae": json.dumps(about).encode()}), path)
    assert problems(run) == [f"{path}: its summary is damaged."]


def test_an_edited_manifest_is_found(run: Run) -> None:
    path = f"{run.uri}/manifest.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "label", pa.array(["good"] * 10)), path)
    (problem,) = problems(run)
    assert problem.startswith(f"the manifest {path} was changed after it was written: ")


def test_another_manifest_in_its_place_is_found(run: Run) -> None:
    write_manifest(complete({"uri": pa.array(["/data/0.png"])}), f"{run.uri}/manifest.parquet")
    assert problems(run) == [
        f"{run.uri}/manifest.parquet is not the manifest of the plan; the run cannot go on. Score into a new `out=`."
    ]


def test_a_missing_or_damaged_manifest_is_found(run: Run) -> None:
    Path(f"{run.uri}/manifest.parquet").write_bytes(b"PAR1")
    assert "manifest.parquet cannot be read as Parquet (" in problems(run)[0]
    Path(f"{run.uri}/manifest.parquet").unlink()
    assert problems(run) == [f"cannot read {run.uri}/manifest.parquet: there is no such file or directory."]


def test_an_edited_record_is_found(run: Run) -> None:
    def move_a_chunk(record: dict[str, Any]) -> None:
        record["chunks"][1] = 5

    def rename_the_bundle(record: dict[str, Any]) -> None:
        record["fingerprint"]["bundle"] = "other"

    def lower_the_cut(record: dict[str, Any]) -> None:
        record["threshold"] |= {"cut": 0.0}

    for change, key in (
        (move_a_chunk, "chunks"),
        (rename_the_bundle, "fingerprint_hash"),
        (lower_the_cut, "threshold"),
    ):
        found = problems(rewritten_record(run, change))
        assert found[0] == f"{run.uri}: run.json was changed by hand: {key} do not follow from the plan."


def test_a_threshold_that_is_none_is_found(run: Run) -> None:
    found = problems(rewritten_record(run, lambda record: record["threshold"].pop("cut")))
    assert found[0].startswith(f"{run.uri}: run.json was changed by hand: A threshold was read ")


def test_a_missing_success_is_found_only_when_all_else_is_well(run: Run) -> None:
    Path(f"{run.uri}/_SUCCESS.json").unlink()
    assert problems(run) == [
        f"all chunks are there but _SUCCESS.json is not; run `rayae score {run.uri}` to finish the run."
    ]
    Path(run.chunk_uri(0)).unlink()
    assert len(problems(run)) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"statistics": null}', '{"statistics": {"images": 9}}'])
def test_a_success_that_says_something_else_is_found(run: Run, text: str) -> None:
    Path(f"{run.uri}/_SUCCESS.json").write_text(text)
    (problem,) = problems(run)
    assert "_SUCCESS.json" in problem


def test_verify_tells_what_is_wrong_and_no_more_than_a_screen_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(plan(tmp_path, rows=30, chunk_images=1))
    verify(VerifySettings(run=run.uri))
    assert capsys.readouterr().out == f"whole: each of the 30 images has one row in 30 chunk(s) of {run.uri}\n"
    for chunk in run.chunks:
        write_chunk(run, chunk, fingerprint="x")
    with pytest.raises(RunError) as error:
        verify(VerifySettings(run=run.uri))
    lines = str(error.value).splitlines()
    assert lines[0] == f"{run.uri} is not whole:"
    assert lines[1] == f"  {run.chunk_uri(0)} belongs to another plan: its fingerprint differs."
    assert lines[21:] == ["  and 10 more"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "another"])
def test_damaged_calibration_scores_are_found_and_never_used(run: Run, damage: str) -> None:
    path = Path(run.uri) / "calibration.parquet"
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "another":
        pq.write_table(pa.table({"score": pa.array([1e-9] * 48, pa.float32())}), path)
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "flipped" else data[:1])
    (problem,) = problems(run)
    assert "calibration.parquet" in problem
    with pytest.raises(RayaeError, match=r"calibration\.parquet"):
        _ = run.calibration


def test_a_run_that_is_compacted_while_it_is_verified_is_whole(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = Run.chunks_left

    def and_compact(self: Run) -> list[Chunk]:
        monkeypatch.setattr(Run, "chunks_left", left)
        found = left(self)
        compaction.compact(run, 1, lambda: None)
        return found

    monkeypatch.setattr(Run, "chunks_left", and_compact)
    verify(VerifySettings(run=run.uri))
    assert "10 images has one row in 1 file(s), sorted by score" in capsys.readouterr().out


def test_verify_tells_who_is_at_work_on_a_run_that_is_not_whole(run: Run) -> None:
    Path(run.chunk_uri(1)).unlink()
    with (
        held(run.uri),
        pytest.raises(RunError, match=r"4 of 10 rows are missing.*\n  it is being worked on by process"),
    ):
        verify(VerifySettings(run=run.uri))
    with pytest.raises(RunError) as alone:
        verify(VerifySettings(run=run.uri))
    assert "worked on" not in str(alone.value)


@pytest.fixture
def sorted_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same run, compacted into files of four rows: 9 8 7 6, 4 3 2 1, 0 5."""
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 4)
    compaction.compact(run, 1, lambda: None)
    return run


def put_part(run: Run, number: int, change: Callable[[pa.Table], pa.Table]) -> str:
    """Write a file of a compacted run anew, changed, with its metadata; its URI."""
    uri = run.result_files()[number]
    table = pq.read_table(uri)
    changed = change(table.replace_schema_metadata(None))
    about = json.loads(pq.read_metadata(uri).metadata[b"rayae"])
    summary = summarise(number, changed, {})
    about["summary"] = json.loads(summary.to_json()) | {"images": table.num_rows}
    pq.write_table(changed.replace_schema_metadata({b"rayae": json.dumps(about).encode()}), uri)
    return uri


def with_value(column: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value
        return table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))

    return change


def test_a_whole_compacted_run_has_no_problems(sorted_run: Run) -> None:
    assert len(sorted_run.result_files()) == 3
    assert problems(sorted_run) == []


def test_a_missing_file_of_a_compacted_run_is_found_with_its_images(sorted_run: Run) -> None:
    uri = sorted_run.result_files()[1]
    Path(uri).unlink()
    assert problems(sorted_run) == [
        f"cannot read {uri}: there is no such file or directory.",
        "4 of 10 rows are missing; the first: 1 (/data/1.png), 2 (/data/2.png), 3 (/data/3.png).",
    ]


@pytest.mark.parametrize("place", [0.3, 0.99])
def test_a_flipped_byte_of_a_compacted_run_is_found(sorted_run: Run, place: float) -> None:
    path = Path(sorted_run.result_files()[1])
    column = pq.read_metadata(path).row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 3 if place < 0.5 else -3] ^= 1
    path.write_bytes(bytes(data))
    found = problems(sorted_run)
    assert found[0].startswith(f"{path} cannot be read (")


def test_an_image_that_is_there_twice_in_place_of_another_is_found(sorted_run: Run) -> None:
    uri = put_part(sorted_run, 1, lambda table: table.take([0, 1, 2, 2]))
    assert problems(sorted_run) == [
        f"{uri}: its rows are not sorted by score, or some are there twice.",
        "1 of 10 rows are missing; the first: 1 (/data/1.png).",
        "some images have more than one row; the first: 2.",
    ]


def test_rows_in_another_order_are_found(sorted_run: Run) -> None:
    uri = put_part(sorted_run, 0, lambda table: table.take([1, 0, 2, 3]))
    assert problems(sorted_run) == [f"{uri}: its rows are not sorted by score, or some are there twice."]


def test_files_in_another_order_are_found(sorted_run: Run) -> None:
    listed = json.loads(Path(sorted_run.uri, "files.json").read_text())
    listed["files"][0], listed["files"][1] = listed["files"][1], listed["files"][0]
    Path(sorted_run.uri, "files.json").write_text(json.dumps(listed))
    assert "has rows of another plan or chunk" in problems(sorted_run)[0]


def test_rows_of_images_that_the_manifest_does_not_have_are_found(sorted_run: Run) -> None:
    uri = put_part(sorted_run, 0, with_value("image_id", 0, 10))
    assert f"{uri}: it has rows of images that the manifest does not have." in problems(sorted_run)


@pytest.mark.parametrize(("column", "value"), [("uri", "/data/other.png"), ("label", "no"), ("weight", None)])
def test_a_row_of_a_compacted_run_that_is_not_the_manifests_is_named(sorted_run: Run, column: str, value: Any) -> None:
    put_part(sorted_run, 1, with_value(column, 1, value))
    assert problems(sorted_run) == [f"the row of the image 3 differs from the manifest in its column {column}."]


def test_values_that_two_rows_have_exchanged_are_found(sorted_run: Run) -> None:
    put_part(
        sorted_run, 1, lambda table: with_value("uri", 0, "/data/3.png")(with_value("uri", 1, "/data/4.png")(table))
    )
    assert problems(sorted_run) == ["the row of the image 3 differs from the manifest in its column uri."]


def test_an_outcome_of_a_compacted_run_that_was_edited_is_found(sorted_run: Run) -> None:
    uri = put_part(sorted_run, 0, with_value("is_anomaly", 1, False))
    assert (
        f"{uri}: 1 row(s) are flagged otherwise than their score and the threshold say, the first is the image 8."
        in (problems(sorted_run))
    )


def test_other_columns_of_a_compacted_run_are_found(sorted_run: Run) -> None:
    uri = put_part(sorted_run, 2, lambda table: table.drop_columns("mae"))
    assert f"{uri} does not have the columns of a result, or not with their types and in their order." in (
        problems(sorted_run)
    )


def test_an_edited_manifest_is_found_beside_a_compacted_run_too(sorted_run: Run) -> None:
    path = f"{sorted_run.uri}/manifest.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "label", pa.array(["good"] * 10)), path)
    (problem,) = problems(sorted_run)
    assert problem.startswith(f"the manifest {path} was changed after it was written: ")


def test_a_list_or_an_end_that_says_something_else_than_the_files_is_found(sorted_run: Run) -> None:
    path = Path(sorted_run.uri, "files.json")
    listed = json.loads(path.read_text())
    path.write_text(json.dumps(listed | {"summary": listed["summary"] | {"flagged": 3}}))
    assert problems(sorted_run) == ["files.json does not say what the files of results say."]
    path.write_text(json.dumps(listed))
    Path(sorted_run.uri, "_SUCCESS.json").unlink()
    assert "_SUCCESS.json is not" in problems(sorted_run)[0]


def test_a_chunk_larger_than_what_is_read_of_the_manifest_at_once_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "BLOCK_ROWS", 7)
    monkeypatch.setattr(completeness, "BLOCK_ROWS", 7)
    run = finish(plan(tmp_path, rows=100, chunk_images=24))
    assert problems(run) == []
    compaction.compact(run, 1, lambda: None)
    assert problems(run) == []
    put_part(run, 0, with_value("uri", 30, "/data/other.png"))
    assert problems(run) == ["the row of the image 69 differs from the manifest in its column uri."]


def test_the_short_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert short_hash({"a": 1, "b": [2]}) == short_hash({"b": [2], "a": 1}) != short_hash({"a": 1, "b": [3]})
