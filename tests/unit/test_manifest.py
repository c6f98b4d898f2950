"""The manifest: its hash, its file, the chunks it is cut into, and what differs between two of them."""

import datetime
import gc
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayae import manifest, storage
from rayae.errors import DataError
from rayae.manifest import Chunk, Manifest, chunks_at, complete, content_hash, plan_chunks, write_manifest

SIZES = st.lists(st.integers(0, 2 * manifest.CHUNK_COST_BYTES), max_size=400)


def images(count: int, **columns: Any) -> pa.Table:
    return complete({"uri": pa.array([f"/data/{row:06}.png" for row in range(count)]), **columns})


def test_a_manifest_has_all_columns_and_numbers_its_rows() -> None:
    table = images(3, group=pa.array(["007", None, ""]), weight=pa.array([1.5, None, 2]))
    assert table.column_names == [*manifest.COLUMNS.names, "weight"]
    assert ",".join(table.column_names[1:9]) == "uri,size_bytes,etag,container,place,label,group,split"
    assert table["image_id"].to_pylist() == [0, 1, 2]
    assert table["group"].to_pylist() == ["007", None, ""]
    assert table["label"].to_pylist() == [None, None, None]
    assert table.schema.field("label").type == pa.string()


@pytest.mark.parametrize(
    ("label", "normal", "defect"),
    [
        *(("good", True, False), (" Normal ", True, False), ("GOOD", True, False)),
        *(("scratch", False, True), ("", False, True), ("goods", False, True), (None, False, False)),
    ],
)
def test_a_label_is_normal_or_a_defect_and_no_label_is_neither(label: str | None, normal: bool, defect: bool) -> None:
    assert manifest.is_normal(label) is normal
    assert manifest.is_defect(label) is defect


VALUES = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=8))


@settings(max_examples=40)
@given(st.lists(VALUES, min_size=1, max_size=50), st.integers(0, 50), st.integers(0, 20))
def test_the_hash_does_not_depend_on_how_arrow_or_parquet_lay_the_rows_out(
    labels: list[str | None], cut: int, offset: int
) -> None:
    table = images(len(labels), label=pa.array(labels, pa.string()))
    hashed = content_hash(table)
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    within = pa.concat_tables([images(offset), table]).slice(offset)
    assert content_hash(pieces) == hashed
    assert content_hash(within) == hashed
    buffer = pa.BufferOutputStream()
    pq.write_table(pieces, buffer, row_group_size=3, use_dictionary=False)
    assert content_hash(pq.read_table(pa.BufferReader(buffer.getvalue()))) == hashed


def test_the_hash_does_not_depend_on_chunking_beyond_a_batch() -> None:
    table = images(70_000)
    cut = pa.concat_tables([table.slice(0, 1), table.slice(1, 65_536), table.slice(65_537)])
    assert content_hash(cut) == content_hash(table)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"label": ["a", "b"]}, {"label": ["b", "a"]}),
        ({"label": ["ab", ""]}, {"label": ["a", "b"]}),
        ({"label": [None, "a"]}, {"label": ["", "a"]}),
        ({"label": [None, "a"]}, {"label": ["a", None]}),
        ({"label": ["a", None]}, {"group": ["a", None]}),
        ({"label": ["é", "a"]}, {"label": ["e\u0301", "a"]}),
        ({"x": [1.0, 2.0]}, {"x": [1.0, float(np.nextafter(2, 3))]}),
        ({"x": [1.0, None]}, {"x": [1.0, float("nan")]}),
        ({"x": [True, None]}, {"x": [False, None]}),
        ({"x": [1, 2]}, {"y": [1, 2]}),
        ({"x": [1, 2], "y": [1, 2]}, {"y": [1, 2], "x": [1, 2]}),
        ({"x": [1, 2]}, {"x": [1, 2], "y": [None, None]}),
        ({"size_bytes": [0, 1]}, {"size_bytes": [None, 1]}),
    ],
)
def test_the_hash_feels_every_value_name_and_order(one: dict[str, Any], other: dict[str, Any]) -> None:
    hashes = [content_hash(images(2, **{name: pa.array(v) for name, v in own.items()})) for own in (one, other)]
    assert hashes[0] != hashes[1]


def test_a_manifest_with_columns_of_every_type_comes_back_unchanged(tmp_path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
    table = images(
        2,
        whole=pa.array([2**62, None]),
        real=pa.array([0.1, float("nan")]),
        small=pa.array([0.1, None], pa.float32()),
        flag=pa.array([True, None]),
        day=pa.array([when.date(), None]),
        time=pa.array([when, None]),
        nothing=pa.nulls(2, pa.string()),
    )
    written = write_manifest(table, str(tmp_path / "m.parquet"))
    opened = Manifest.open(str(tmp_path / "m.parquet"))
    assert opened == written
    assert opened.read_unchanged().schema == table.schema
    assert content_hash(opened.read()) == content_hash(table)


@given(first=st.integers(0, 40), count=st.integers(0, 45))
def test_any_range_of_rows_is_the_slice_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, first: int, count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "ranges.parquet"
    table = images(40)
    if not path.exists():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manifest, "ROW_GROUP_ROWS", 7)
            write_manifest(table, str(path))
        assert pq.ParquetFile(path).num_row_groups == 6
    opened = Manifest.open(str(path))
    assert opened.read(first, count) == table.slice(first, count)
    assert opened.read(first) == table.slice(first)


def test_row_groups_are_small_enough_that_a_chunk_reads_a_part(tmp_path: Path) -> None:
    table = images(70_000, size_bytes=pa.array([None, *range(1, 70_000)]))
    opened = write_manifest(table, str(tmp_path / "m.parquet"))
    assert [opened.footer.row_group(number).num_rows for number in range(3)] == [32_768, 32_768, 70_000 - 2 * 32_768]
    assert opened.read(32_766, 4)["image_id"].to_pylist() == [32_766, 32_767, 32_768, 32_769]
    assert opened.sizes().tolist() == [manifest.UNKNOWN_SIZE_BYTES, *range(1, 70_000)]


def test_a_parquet_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(images(2), path)
    with pytest.raises(DataError) as error:
        Manifest.open(str(path))
    assert str(error.value) == (
        f"{path} is a Parquet file but no manifest; `rayae index images=... out=...` writes one."
    )
    assert not manifest.is_manifest(str(path))


@pytest.mark.parametrize("data", [b"", b"something else, long enough", b"PAR1" + b"\0" * 50 + b"\x10\0\0\0PAR1"])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.parquet"
    path.write_bytes(data)
    with pytest.raises(
        DataError, match=r"m\.parquet cannot be read as Parquet \(.+\); it is damaged or something else\.$"
    ):
        Manifest.open(str(path))


@pytest.mark.parametrize("about", [b"{", b"[]", b"{}", b"\xff", b"7"])
def test_metadata_that_was_tampered_with_makes_it_no_manifest(tmp_path: Path, about: bytes) -> None:
    path = str(tmp_path / "m.parquet")
    pq.write_table(images(1).replace_schema_metadata({manifest.METADATA_KEY: about}), path)
    assert not manifest.is_manifest(path)


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    about = json.dumps({"schema_version": 3, "content_hash": "x", "rows": 1}).encode()
    pq.write_table(images(1).replace_schema_metadata({manifest.METADATA_KEY: about}), path)
    with pytest.raises(DataError) as error:
        Manifest.open(str(path))
    assert str(error.value) == f"{path} has the schema version 3, this rayae reads 2."


def test_a_manifest_whose_rows_were_changed_is_refused(tmp_path: Path) -> None:
    written = write_manifest(images(3), str(tmp_path / "m.parquet"))
    table, about = pq.read_table(written.uri), pq.read_metadata(written.uri).metadata
    changed = table.set_column(table.column_names.index("label"), "label", pa.array(["good"] * 3))
    with pq.ParquetWriter(written.uri, changed.schema) as writer:
        writer.write_table(changed)
        writer.add_key_value_metadata({manifest.CONTENT_KEY: about[manifest.CONTENT_KEY]})
    with pytest.raises(DataError) as error:
        list(Manifest.open(written.uri).batches())
    found = content_hash(pq.read_table(written.uri))[:12]
    assert str(error.value) == (
        f"the manifest {written.uri} was changed after it was written: its rows have the hash {found}, "
        f"it says {written.content_hash[:12]}; write a new one with `rayae index`."
    )


def test_a_manifest_that_another_program_wrote_anew_is_refused(tmp_path: Path) -> None:
    written = write_manifest(images(3), str(tmp_path / "m.parquet"))
    pq.write_table(pq.read_table(written.uri), written.uri)
    with pytest.raises(DataError) as error:
        Manifest.open(written.uri)
    assert str(error.value) == (
        f"the manifest {written.uri} was changed after it was written: the program that wrote it anew left out the "
        "hash of its rows; write a new one with `rayae index`."
    )


def test_a_flipped_byte_in_a_page_is_found(tmp_path: Path) -> None:
    written = write_manifest(images(500), str(tmp_path / "m.parquet"))
    data = bytearray(storage.read_bytes(written.uri))
    column = pq.ParquetFile(written.uri).metadata.row_group(0).column(1)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    storage.write_bytes(written.uri, bytes(data))
    with pytest.raises(DataError, match=r"cannot be read as Parquet"):
        Manifest.open(written.uri).read()


@given(SIZES, st.one_of(st.none(), st.integers(1, 500)))
def test_every_row_is_in_exactly_one_chunk(sizes: list[int], chunk_images: int | None) -> None:
    chunks = plan_chunks(np.array(sizes, dtype=np.int64), chunk_images)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.rows > 0 for chunk in chunks)
    assert [row for chunk in chunks for row in range(chunk.first, chunk.first + chunk.rows)] == list(range(len(sizes)))
    assert chunks_at([chunk.first for chunk in chunks], len(sizes)) == chunks
    assert plan_chunks(np.array(sizes, dtype=np.int64), chunk_images) == chunks


@given(SIZES)
def test_chunks_cost_nearly_the_same(sizes: list[int]) -> None:
    costs = np.clip(np.array(sizes, dtype=np.int64), 0, manifest.CHUNK_COST_BYTES) + manifest.IMAGE_COST_BYTES
    chunks = plan_chunks(np.array(sizes, dtype=np.int64), None)
    if not chunks:
        return
    largest = max(int(costs[chunk.first : chunk.first + chunk.rows].sum()) for chunk in chunks)
    wanted = max(-(-int(costs.sum()) // manifest.CHUNK_COST_BYTES), min(32, len(sizes) // 16), 1)
    assert largest <= costs.sum() / wanted + costs.max()


@pytest.mark.parametrize(
    ("sizes", "chunk_images", "rows"),
    [
        ([], None, []),
        ([], 5, []),
        ([10], None, [1]),
        ([0] * 5, 2, [2, 2, 1]),
        ([0] * 5, 100, [5]),
        ([0] * 64, None, [16] * 4),
        ([100_000] * 3200, None, [100] * 32),
        ([0] * 100_000, None, None),
        ([-(2**62), 2**62, 2**63 - 1, 5], None, None),
        ([10**9] * 3, None, [1, 1, 1]),
    ],
)
def test_chunks_have_the_expected_rows(sizes: list[int], chunk_images: int | None, rows: list[int] | None) -> None:
    chunks = plan_chunks(np.array(sizes, dtype=np.int64), chunk_images)
    found = [chunk.rows for chunk in chunks]
    assert sum(found) == len(sizes)
    assert max(found, default=0) <= 2049
    if rows is not None:
        assert found == rows


def test_the_golden_cut_of_a_small_archive_does_not_move() -> None:
    sizes = np.array([(row * 7919) % 300_000 for row in range(40)], dtype=np.int64)
    assert plan_chunks(sizes, None) == [Chunk(0, 0, 26), Chunk(1, 26, 14)]


@given(SIZES, st.integers(1, 150))
def test_chunks_are_cut_alike_from_all_sizes_and_from_parts_of_them(sizes: list[int], part: int) -> None:
    whole = np.array(sizes, dtype=np.int64)
    parts = [whole[first : first + part] for first in range(0, len(sizes), part)]
    assert manifest._plan(lambda: iter(parts), len(sizes), None) == plan_chunks(whole, None)


def test_a_manifest_plans_its_chunks_as_its_sizes_say(tmp_path: Path) -> None:
    sizes = [(row * 7919) % 3_000_000 for row in range(100_000)]
    opened = write_manifest(images(100_000, size_bytes=pa.array(sizes)), str(tmp_path / "m.parquet"))
    for chunk_images in (None, 1000):
        assert opened.plan_chunks(chunk_images) == plan_chunks(np.array(sizes, dtype=np.int64), chunk_images)


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
def test_tables_are_regrouped_without_losing_a_row(rows: list[int], size: int) -> None:
    whole = images(sum(rows))
    firsts = np.concatenate([[0], np.cumsum(rows)]).tolist()
    tables = [whole.slice(first, count) for first, count in zip(firsts, rows, strict=False)]
    found = list(manifest.regrouped(tables, size))
    assert [table.num_rows for table in found[:-1]] == [size] * (len(found) - 1)
    assert all(table.num_rows for table in found)
    assert [row for table in found for row in table["image_id"].to_pylist()] == list(range(sum(rows)))


def test_a_stream_is_written_as_its_whole_would_be(tmp_path: Path) -> None:
    whole = images(150_000, group=pa.array([str(row % 7) for row in range(150_000)]))
    parts = [whole.slice(first, 40_000).drop_columns("image_id") for first in range(0, 150_000, 40_000)]
    one = write_manifest(whole, str(tmp_path / "one.parquet"))
    other = write_manifest(iter(parts), str(tmp_path / "other.parquet"), made_from={"images": "x"})
    assert (one.rows, one.content_hash) == (other.rows, other.content_hash)
    assert Manifest.open(other.uri).made_from == {"images": "x"}
    assert Manifest.open(other.uri).read_unchanged() == whole
    assert [table.num_rows for table in Manifest.open(other.uri).batches()] == [65_536, 65_536, 18_928]


def test_nothing_appears_when_the_images_of_a_manifest_cannot_all_be_listed(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.Table]:
        yield images(100_000)
        raise DataError("the listing broke.")

    with pytest.raises(DataError, match="the listing broke"):
        write_manifest(broken(), str(tmp_path / "m.parquet"))
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_travels_without_its_footer_and_reads_it_once(tmp_path: Path) -> None:
    opened = write_manifest(images(10), str(tmp_path / "m.parquet"))
    travelled = pickle.loads(pickle.dumps(opened))
    assert opened.read(2, 3) == travelled.read(2, 3)
    assert "footer" not in pickle.loads(pickle.dumps(travelled)).__dict__
    assert travelled.footer is travelled.footer


def test_the_schema_of_a_manifest_is_that_of_its_rows(tmp_path: Path) -> None:
    times = pa.array([datetime.datetime(2026, 1, 2), None], pa.timestamp("ms", "Europe/Berlin"))
    opened = write_manifest(images(2, time=times, small=pa.array([1, 2], pa.uint8())), str(tmp_path / "m.parquet"))
    assert opened.schema == opened.read().schema
    assert Manifest.open(opened.uri).schema.field("time").type == times.type
