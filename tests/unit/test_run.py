"""The run's directory: what is left is seen by looking, and another plan is refused in words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import storage
from rayae.errors import ConfigError, RunError, StorageError
from rayae.manifest import Chunk, chunks_at, complete, write_manifest
from rayae.result_files import read_chunk
from rayae.run import Run, differences, total
from tests.unit.small_runs import create, finish, plan, scored, write_chunk


def test_a_run_is_what_its_record_says(tmp_path: Path) -> None:
    assert not Run.exists(str(tmp_path))
    plan(tmp_path)
    run = Run.open(f"{tmp_path}/")
    assert Run.exists(str(tmp_path))
    assert run.uri == str(tmp_path)
    assert run.bundle_uri == "/bundle"
    assert run.rows == 10
    assert run.chunks == [Chunk(0, 0, 4), Chunk(1, 4, 4), Chunk(2, 8, 2)]
    assert run.manifest.rows == 10
    assert run.record["rayae"]
    assert run.record["created"].endswith("+00:00")


def test_a_directory_without_a_record_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        Run.open(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path} is no run: it has no run.json; `rayae score images=... bundle=... out={tmp_path}` makes one."
    )


@pytest.mark.parametrize(("text", "lacks"), [("[]", "images, "), ('{"rows": 1}', "images, "), ("null", "images, ")])
def test_a_record_of_something_else_is_refused(tmp_path: Path, text: str, lacks: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=f"^{tmp_path} is no run of this rayae: its run.json lacks {lacks}"):
        Run.open(str(tmp_path))


def test_a_record_that_was_cut_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"rows": 1')
    with pytest.raises(StorageError, match=r"run\.json is not valid JSON"):
        Run.open(str(tmp_path))


def test_what_is_left_is_the_plan_less_the_files(tmp_path: Path) -> None:
    run = plan(tmp_path)
    assert [chunk.number for chunk in run.chunks_left()] == [0, 1, 2]
    write_chunk(run, run.chunks[1])
    (tmp_path / "chunks" / ".chunk-000002.parquet.0123abcd.part").write_bytes(b"cut short")
    (tmp_path / "chunks" / "chunk-000009.parquet").write_bytes(b"of another plan")
    assert [chunk.number for chunk in run.chunks_left()] == [0, 2]
    assert run.result_files() == [run.chunk_uri(1)]
    assert run.strange_files() == ["chunks/chunk-000009.parquet"]
    assert Run.open(str(tmp_path)).chunks_left() == run.chunks_left()
    Path(run.chunk_uri(1)).unlink()
    assert len(run.chunks_left()) == 3


def test_results_come_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    run = plan(tmp_path)
    for number in (2, 0, 1):
        write_chunk(run, run.chunks[number])
    table = run.results()
    assert table["image_id"].to_pylist() == list(range(10))
    assert table.schema.metadata is None
    assert run.results(["uri", "score"]).column_names == ["uri", "score"]
    assert table["status"].to_pylist().count("missing") == 1


def test_pandas_reads_the_folder_in_three_lines(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    frame = pd.read_parquet(f"{run.uri}/chunks")
    assert len(frame) == 10
    assert frame["is_anomaly"].isna().sum() == 1


def test_chunks_beyond_six_digits_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plan(tmp_path)
    monkeypatch.setattr(Run, "chunks", [Chunk(number, number, 1) for number in range(999_998, 1_000_002)])
    for number in (999_999, 1_000_000, 1_000_001):
        storage.write_bytes(run.chunk_uri(number), b"")
    assert run.result_files() == [run.chunk_uri(number) for number in (999_999, 1_000_000, 1_000_001)]
    assert [chunk.number for chunk in run.chunks_left()] == [999_998]


def test_a_run_without_results_says_so(tmp_path: Path) -> None:
    run = plan(tmp_path)
    with pytest.raises(RunError) as error:
        run.results()
    assert str(error.value) == f"{tmp_path} has no results yet; `rayae score {tmp_path}` scores the rest of it."


@pytest.mark.parametrize("damage", ["empty", "half", "text"])
def test_a_chunk_file_that_is_damaged_is_named(tmp_path: Path, damage: str) -> None:
    run = finish(plan(tmp_path))
    path = Path(run.chunk_uri(1))
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "half": data[: len(data) // 2], "text": b"nothing of the kind"}[damage])
    expected = rf"^{path} cannot be read \(.+\); remove it and run the same command again\.$"
    for ask in (run.results, run.summaries):
        with pytest.raises(RunError, match=expected):
            ask()


def test_a_parquet_file_of_another_kind_is_no_chunk_file(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    pq.write_table(pa.table({"x": [1]}), run.chunk_uri(1))
    for ask in (run.results, run.summaries):
        with pytest.raises(RunError) as error:
            ask()
        assert str(error.value) == (
            f"{run.chunk_uri(1)} is no chunk file of rayae; remove it and run the same command again."
        )


def test_chunk_files_with_other_columns_are_told(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    write_chunk(run, run.chunks[1], scored(run, run.chunks[1]).drop_columns("weight"))
    with pytest.raises(RunError) as error:
        run.results()
    assert str(error.value) == (f"the files of {run.uri} differ in their columns; `rayae verify {run.uri}` says where.")


def test_every_flipped_byte_of_the_rows_is_found_or_changes_nothing(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    path = Path(run.chunk_uri(1))
    data, before = path.read_bytes(), read_chunk(str(path))[0]
    metadata = pq.read_metadata(path)
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    ends = [(c.dictionary_page_offset or c.data_page_offset) + c.total_compressed_size for c in columns]
    found = 0
    places = range(4, max(ends), 5)
    for place in places:
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :])
        try:
            assert read_chunk(str(path))[0] == before
        except RunError:
            found += 1
    assert found > 0.5 * len(places)


def test_the_summaries_add_up_to_the_run(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    assert total(run.summaries()) == {
        "images": 10,
        "by_status": {"scored": 9, "missing": 1},
        "flagged": 4,
        "seconds": {"fetch": 1.5, "model": 0.75},
    }
    success = run.success()
    assert success is not None
    assert success["statistics"]["images"] == 10
    assert total([]) == {"images": 0, "by_status": {}, "flagged": 0, "seconds": {}}


def test_a_run_is_finished_only_when_it_says_so(tmp_path: Path) -> None:
    run = plan(tmp_path)
    assert run.success() is None
    for chunk in run.chunks:
        write_chunk(run, chunk)
    assert run.success() is None
    assert finish(run).success() is not None


def test_a_chunk_over_which_a_process_died_is_known(tmp_path: Path) -> None:
    run = plan(tmp_path)
    with run.in_hand(run.chunks[1]):
        assert run.died_over() == 1
    assert run.died_over() is None
    with pytest.raises(KeyboardInterrupt), run.in_hand(run.chunks[2]):
        raise KeyboardInterrupt
    assert run.died_over() is None, "an exception is no death"


def test_chunk_files_without_a_record_are_nobodys_rows(tmp_path: Path) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    (tmp_path / "run.json").unlink()
    with pytest.raises(RunError) as error:
        Run.create(run.uri, run.record)
    assert str(error.value) == (
        f"{tmp_path} holds chunk files but no run.json, so nobody knows what they are rows of; "
        f"remove {tmp_path}/chunks, or give a new `out=`."
    )


def test_a_chunk_file_of_another_plan_is_no_part_of_the_sum(tmp_path: Path) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0], fingerprint="another")
    with pytest.raises(RunError, match="has rows of another plan or chunk; remove it and run the same command again"):
        run.summaries()


def test_the_same_plan_is_not_refused(tmp_path: Path) -> None:
    run = plan(tmp_path)
    assert differences(run.fingerprint, dict(run.fingerprint)) == []
    run.refuse_other_plan(dict(run.fingerprint))
    run.refuse_other_plan(dict(reversed(list(run.fingerprint.items()))))


def test_another_plan_is_refused_with_all_that_differs(tmp_path: Path) -> None:
    run = plan(tmp_path)
    asked: Mapping[str, Any] = {**run.fingerprint, "bundle": "c" * 12, "threshold": None, "tiles": 4}
    with pytest.raises(RunError) as error:
        run.refuse_other_plan(asked, ["3 image(s) new, the first is /data/x.png"])
    assert str(error.value) == (
        f"{tmp_path} holds a run of another plan, so its rows would not mean the same:\n"
        f"  bundle: the run has bbbbbbbbbbbb, asked is cccccccccccc\n"
        f"  threshold: the run has {run.fingerprint['threshold']}, asked is None\n"
        "  tiles: the run has None, asked is 4\n"
        "  3 image(s) new, the first is /data/x.png\n"
        f"Give the new plan a new `out=`, or finish the run as it was planned with `rayae score {tmp_path}`."
    )


def test_differences_are_told_key_by_key() -> None:
    assert differences({"a": 1}, {"a": 1}) == []
    assert differences({"a": 1, "b": 2}, {"b": 3, "c": 4}) == [
        "a: the run has 1, asked is None",
        "b: the run has 2, asked is 3",
        "c: the run has None, asked is 4",
    ]


def test_a_run_lives_on_object_storage_too() -> None:
    uri = "memory://test-run/run"
    manifest = write_manifest(complete({"uri": pa.array(["/data/0.png", "/data/1.png"])}), f"{uri}/manifest.parquet")
    run = finish(create(uri, manifest, chunks_at([0, 1], 2), threshold=True))
    assert Run.open(uri).chunks_left() == []
    assert Run.open(uri).results()["image_id"].to_pylist() == [0, 1]
    storage.remove(run.chunk_uri(0))
    assert [chunk.number for chunk in run.chunks_left()] == [0]
    storage.remove(uri)


def test_of_two_plans_that_begin_at_once_the_second_is_refused(tmp_path: Path) -> None:
    run = plan(tmp_path)
    record = {key: value for key, value in run.record.items() if key not in ("rayae", "created")}
    assert Run.create(run.uri, record).record == run.record
    with pytest.raises(RunError, match="holds a run of another plan"):
        Run.create(run.uri, record | {"fingerprint": run.fingerprint | {"chunks": "others"}})
    assert Run.open(run.uri).record == run.record


def test_a_damaged_note_of_the_chunk_in_hand_stops_nobody(tmp_path: Path) -> None:
    run = plan(tmp_path)
    for text in ("[]", "{}", "null", '{"chunk": null}', "", '{"chunk'):
        (tmp_path / "in_hand.json").write_text(text)
        assert run.died_over() is None
