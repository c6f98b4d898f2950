"""The manifest: its hash, its file, the chunks it is cut into, and what differs between two of them."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayae import manifest, storage
from rayae.errors import DataError
from rayae.manifest import Chunk, Manifest, changes, chunks_at, complete, content_hash, plan_chunks, write_manifest

SIZES = st.lists(st.integers(0, 2 * manifest.CHUNK_COST_BYTES), max_size=400)


def images(count: int, **columns: Any) -> pa.Table:
    return complete({"uri": pa.array([f"/data/{row:06}.png" for row in range(count)]), **columns})


def test_a_manifest_has_all_columns_and_numbers_its_rows() -> None:
    table = images(3, group=pa.array(["007", None, ""]), weight=pa.array([1.5, None, 2]))
    assert table.column_names == ["image_id", "uri", "size_bytes", "etag", "label", "group", "split", "weight"]
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
    opened = write_manifest(images(20_000, size_bytes=pa.array([None, *range(1, 20_000)])), str(tmp_path / "m.parquet"))
    assert pq.ParquetFile(opened.uri).num_row_groups == 3
    assert opened.read(8_190, 4)["image_id"].to_pylist() == [8190, 8191, 8192, 8193]
    assert opened.sizes().tolist() == [manifest.UNKNOWN_SIZE_BYTES, *range(1, 20_000)]


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


@pytest.mark.parametrize("about", [b"{", b"[]", b"{}", b"\xff"])
def test_metadata_that_was_tampered_with_makes_it_no_manifest(about: bytes) -> None:
    schema = images(1).schema.with_metadata({manifest.METADATA_KEY: about})
    assert manifest.about_manifest(schema) is None


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    about = json.dumps({"schema_version": 2, "content_hash": "x", "rows": 1}).encode()
    pq.write_table(images(1).replace_schema_metadata({manifest.METADATA_KEY: about}), path)
    with pytest.raises(DataError) as error:
        Manifest.open(str(path))
    assert str(error.value) == f"{path} has the schema version 2, this rayae reads 1."


def test_a_manifest_whose_rows_were_changed_is_refused(tmp_path: Path) -> None:
    written = write_manifest(images(3), str(tmp_path / "m.parquet"))
    table = pq.read_table(written.uri)
    pq.write_table(table.set_column(4, "label", pa.array(["good"] * 3)), written.uri)
    with pytest.raises(DataError) as error:
        Manifest.open(written.uri).read_unchanged()
    found = content_hash(pq.read_table(written.uri))[:12]
    assert str(error.value) == (
        f"the manifest {written.uri} was changed after it was written: its rows have the hash {found}, "
        f"it says {written.content_hash[:12]}; write a new one with `rayae index`."
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


def test_equal_listings_have_no_changes() -> None:
    table = images(3, size_bytes=pa.array([1, None, 3]), x=pa.array([1.0, float("nan"), None]))
    assert changes(table, table) == []
    assert changes(images(0), images(0)) == []


def test_changes_are_told_in_words() -> None:
    was = images(
        5, size_bytes=pa.array([1, 2, None, 4, 5]), label=pa.array(["a", None, None, "d", None]), x=pa.array(range(5))
    )
    now = was.slice(1).set_column(2, "size_bytes", pa.array([2, 3, 40, 5]))
    now = now.set_column(4, "label", pa.array(["b", None, "d", None])).rename_columns({"x": "y"})
    now = pa.concat_tables([now, now.slice(0, 1).set_column(1, "uri", pa.array(["/data/new.png"]))])
    assert changes(was, now) == [
        "1 image(s) new, the first is /data/new.png",
        "1 image(s) gone, the first is /data/000000.png",
        "2 image(s) changed in size or time, the first is /data/000002.png",
        "1 image(s) labelled otherwise, the first is /data/000001.png",
        "columns of your own that are new: y",
        "columns of your own that are gone: x",
    ]


def test_another_order_is_a_change() -> None:
    table = images(3)
    assert changes(table, table.take([1, 0, 2])) == ["the images stand in another order"]
    assert changes(table, table.filter(pc.equal(table["image_id"], 1))) == [
        "2 image(s) gone, the first is /data/000000.png"
    ]


def test_wholly_other_listings_are_new_and_gone() -> None:
    other = images(2).set_column(1, "uri", pa.array(["/x", "/y"]))
    assert changes(images(3), other) == [
        "2 image(s) new, the first is /x",
        "3 image(s) gone, the first is /data/000000.png",
    ]
