"""Compaction: the same rows, sorted, in few files; and whenever it is killed, one of the two and never both."""

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import compaction, storage
from rayae.compaction import clean, compact, leftovers, sort_keys
from rayae.errors import RunError
from rayae.filelist import FileList
from rayae.manifest import chunks_at, complete, write_manifest
from rayae.run import Run, total
from rayae.verification import problems
from tests.unit.small_runs import create, finish, plan, scored, write_chunk

LARGE = 2**30


def nothing() -> None:
    pass


def compacted(run: Run, **how: Any) -> Run:
    compact(run, how.pop("file_bytes", LARGE), nothing, **how)
    return Run.open(run.uri)


def in_order(run: Run) -> pa.Table:
    """The rows as they lie in the files."""
    return pa.concat_tables([pq.read_table(uri) for uri in run.result_files()]).replace_schema_metadata(None)


def test_the_rows_are_the_same_and_sorted_by_score(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    before, summed = run.results(), total(run.summaries())
    run = compacted(run)
    assert run.results().equals(before)
    assert in_order(run)["image_id"].to_pylist() == [9, 8, 7, 6, 4, 3, 2, 1, 0, 5]
    assert run.results(["uri", "score"]).equals(before.select(["uri", "score"]))
    assert run.chunks_left() == []
    assert total(run.summaries()) == summed
    assert run.strange_files() == []
    assert problems(run) == []
    assert not (tmp_path / "chunks").exists()


def test_equal_scores_keep_the_order_of_the_manifest_and_those_without_one_come_last() -> None:
    scores = pa.array([0.5, None, 0.0, -0.0, 2.0, -1.0, float("inf"), None, 0.5, 1e-40], pa.float32())
    table = pa.table({"score": scores, "image_id": pa.array(range(10), pa.int64())})
    assert np.argsort(sort_keys(table)).tolist() == [6, 4, 0, 8, 9, 2, 3, 5, 1, 7]


def test_types_and_values_stay_as_they_are(tmp_path: Path) -> None:
    own = {
        "when": pa.array([datetime(2026, 1, 1 + row, tzinfo=UTC) for row in range(10)], pa.timestamp("us", "UTC")),
        "day": pa.array([None, *[date(2026, 1, 1 + row) for row in range(9)]], pa.date32()),
        "price": pa.array([Decimal(row) / 4 for row in range(10)], pa.decimal128(9, 2)),
        "shift": pa.array(range(10), pa.int8()),
        "heat": pa.array([float("nan"), -0.0, 1e300, None, *range(6)], pa.float64()),
        "is_night": pa.array([True, None] * 5),
        "note": pa.array(["", None, "ä\0\n", "x" * 5000, *"123456"], pa.large_string()),
    }
    run = finish(plan(tmp_path, **own))
    before = run.results()
    after = compacted(run).results()
    assert after.schema.equals(before.schema)
    for name in before.column_names:
        assert repr(after[name].to_pylist()) == repr(before[name].to_pylist())
    assert problems(Run.open(run.uri)) == []


@pytest.mark.parametrize("sorted_bytes", [1, 1000, 20_000, 2**27])
def test_the_order_does_not_depend_on_the_memory(tmp_path: Path, sorted_bytes: int) -> None:
    run = finish(plan(tmp_path, rows=300, chunk_images=7))
    before = run.results()
    run = compacted(run, sorted_bytes=sorted_bytes)
    assert run.results().equals(before)
    assert in_order(run)["image_id"].to_pylist() == [*(n for n in reversed(range(300)) if n != 5), 5]
    assert problems(run) == []


def test_rows_that_all_have_one_score_are_dealt_out_too(tmp_path: Path) -> None:
    run = plan(tmp_path, rows=400, chunk_images=50, threshold=False)
    for chunk in run.chunks:
        table = scored(run, chunk)
        for name in ("mse", "score"):
            same = pa.array([0.25 if there else None for there in table["score"].is_valid().to_pylist()], pa.float32())
            table = table.set_column(table.column_names.index(name), name, same)
        write_chunk(run, chunk, table)
    run = compacted(finish(run), sorted_bytes=5000)
    assert in_order(run)["image_id"].to_pylist() == [*(n for n in range(400) if n != 5), 5]
    assert problems(run) == []


def test_files_have_about_the_size_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 200)
    run = compacted(finish(plan(tmp_path, rows=2000, chunk_images=100)), file_bytes=20_000)
    sizes = [Path(uri).stat().st_size for uri in run.result_files()]
    assert len(sizes) >= 3
    assert all(20_000 <= size < 50_000 for size in sizes[:-1])
    listed = run.file_list()
    assert listed is not None
    assert [file.rows for file in listed.files] == [pq.read_metadata(uri).num_rows for uri in run.result_files()]
    assert [file.name[:10] for file in listed.files] == [f"part-{number:05}" for number in range(len(sizes))]
    assert problems(run) == []


class Counting(io.FileIO):
    """A file that counts the bytes that are read from it."""

    taken = 0

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.taken += count or 0
        return count

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.taken += len(data)
        return data


def test_the_top_1000_take_a_small_share_of_the_bytes(tmp_path: Path) -> None:
    run = compacted(finish(plan(tmp_path, rows=150_000, chunk_images=5000)))
    (uri,) = run.result_files()
    with Counting(uri) as file:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        top = parquet.read_row_group(0).slice(0, 1000)
        taken = file.taken
    assert top["image_id"].to_pylist() == list(reversed(range(149_000, 150_000)))
    assert taken < 0.1 * Path(uri).stat().st_size


def test_the_files_say_that_they_are_sorted(tmp_path: Path) -> None:
    (uri,) = compacted(finish(plan(tmp_path))).result_files()
    metadata = pq.read_metadata(uri)
    names = metadata.schema.to_arrow_schema().names
    by = [(names[column.column_index], column.descending) for column in metadata.row_group(0).sorting_columns]
    assert by == [("score", True), ("image_id", False)]


def kill_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> list[str]:
    """Raise KeyboardInterrupt instead of the storage's write or removal number `moment`, and note all before it."""
    calls: list[str] = []

    def killing(name: str) -> Callable[..., Any]:
        real = getattr(storage, name)

        def call(*args: Any) -> Any:
            if len(calls) == moment:
                raise KeyboardInterrupt
            calls.append(name)
            return real(*args)

        return call

    for name in ("open_write", "create", "remove"):
        monkeypatch.setattr(storage, name, killing(name))
    return calls


def test_killed_at_any_moment_it_is_compacted_or_not_and_the_next_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for moment in range(100):
        run = finish(plan(tmp_path / str(moment)))
        before = run.results()
        monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 4)
        with monkeypatch.context() as patched:
            calls = kill_at(patched, moment)
            try:
                compact(run, 1, nothing)
                is_killed = False
            except KeyboardInterrupt:
                is_killed = True
        is_compacted = (tmp_path / str(moment) / "files.json").exists()
        seen.add((is_killed, is_compacted))
        assert run.results().equals(before)
        assert run.chunks_left() == []
        assert len(run.result_files()) == 3
        if is_compacted:
            clean(run)
        else:
            compact(run, 1, nothing)
        assert problems(run) == []
        assert not leftovers(run)
        assert run.results().equals(before)
        assert len(list((tmp_path / str(moment) / "results").glob("*.parquet"))) == 3
        if not is_killed:
            break
    assert seen == {(True, False), (True, True), (False, True)}, calls


def test_what_lies_beside_the_runs_files_stays(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    mine = [tmp_path / "chunks" / "notes.txt", tmp_path / "results" / "mine.parquet"]
    mine[1].parent.mkdir()
    for path in mine:
        path.write_text("mine")
    run = compacted(run)
    assert [path.read_text() for path in mine] == ["mine", "mine"]
    assert run.strange_files() == ["chunks/notes.txt", "results/mine.parquet"]


def test_two_compactions_at_once_leave_one_list(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    before = run.results()
    with pytest.raises(RunError) as late:
        compact(run, LARGE, lambda: compact(run, LARGE, nothing) and None)
    assert str(late.value) == f"{run.uri} was compacted by another process meanwhile."
    assert run.results().equals(before)


def test_before_the_switch_it_is_asked_whether_the_lease_is_still_held(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))

    def lost() -> None:
        raise RunError("taken over.")

    with pytest.raises(RunError, match=r"^taken over\.$"):
        compact(run, LARGE, lost)
    assert run.file_list() is None
    assert len(run.result_files()) == 3


def test_a_chunk_file_that_is_damaged_stops_it_before_anything_is_removed(tmp_path: Path) -> None:
    run = finish(plan(tmp_path))
    path = Path(run.chunk_uri(1))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RunError, match="cannot be read"):
        compact(run, LARGE, nothing)
    assert run.file_list() is None


def test_a_reader_that_was_under_way_when_the_run_was_compacted_gets_all_rows_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finish(plan(tmp_path))
    before, files, asked = run.results(), Run._files, list[int]()

    def compacting(one: Run) -> Any:
        found = files(one)
        if not asked:
            asked.append(1)
            compact(run, LARGE, nothing)
        return found

    monkeypatch.setattr(Run, "_files", compacting)
    assert run.results().equals(before)


def test_a_run_on_object_storage_is_compacted_too() -> None:
    uri = "memory://test-compaction/run"
    images = complete({"uri": pa.array([f"/data/{row}.png" for row in range(4)])})
    manifest = write_manifest(images, f"{uri}/manifest.parquet")
    run = finish(create(uri, manifest, chunks_at([0, 2], 4), threshold=True))
    before = run.results()
    run = compacted(run)
    assert run.results().equals(before)
    assert problems(run) == []
    storage.remove(uri)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{", r"it is not valid JSON \(.*\)"),
        ("[]", "it is \\[\\], not a mapping"),
        ("{}", "fingerprint is missing"),
        ('{"fingerprint": "x", "files": [{"name": 3, "rows": 1}]}', r"files\[0\]\.name is 3"),
        ('{"fingerprint": "x", "files": [{"name": "a"}]}', r"files\[0\]\.rows is missing"),
    ],
)
def test_a_damaged_file_list_is_a_sentence(tmp_path: Path, text: str, wrong: str) -> None:
    run = compacted(finish(plan(tmp_path)))
    (tmp_path / "files.json").write_text(text)
    for ask in (run.results, run.summaries, run.chunks_left, run.strange_files):
        with pytest.raises(RunError, match=f"files\\.json is damaged.*{wrong}; put the former file back"):
            ask()
    (problem,) = problems(run)
    assert "files.json is damaged" in problem


@pytest.mark.parametrize("change", ["elsewhere", "images"])
def test_a_file_list_that_leads_elsewhere_or_contradicts_itself_is_refused(tmp_path: Path, change: str) -> None:
    run = compacted(finish(plan(tmp_path)))
    listed = json.loads((tmp_path / "files.json").read_text())
    if change == "elsewhere":
        listed["files"][0]["name"] = "../../secret.parquet"
    else:
        listed["summary"]["images"] = 0
    (tmp_path / "files.json").write_text(json.dumps(listed))
    with pytest.raises(RunError, match=r"files\.json is damaged or was changed by hand: its figures do not agree"):
        FileList.of(run.uri)


def test_a_file_list_of_another_plan_is_refused(tmp_path: Path) -> None:
    run = compacted(finish(plan(tmp_path)))
    found = json.loads((tmp_path / "files.json").read_text())
    (tmp_path / "files.json").write_text(json.dumps(found | {"fingerprint": "another"}))
    with pytest.raises(RunError, match=r"the file list of .* is of another plan"):
        run.results()


def test_the_list_is_switched_to_only_once(tmp_path: Path) -> None:
    run = compacted(finish(plan(tmp_path)))
    listed = FileList.of(run.uri)
    assert listed is not None
    assert not listed.switch(run.uri)
    assert FileList.of(run.uri) == listed
