import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import archives, manifest
from rayae.archives import parquet as parquet_of_archives
from rayae.errors import DataError
from tests.unit.archives import Requests, listed, names, pictures


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def hugging_face(path: Path, row_group_size: int = 7) -> Path:
    """A file as Hugging Face's `datasets` writes it: a struct of bytes and path, and a label that is a number."""
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["good", "scratch"]},
        "width": {"dtype": "int32", "_type": "Value"},
    }
    count = len(pictures())
    table = pa.table(
        {
            "image": pa.array([{"bytes": data, "path": name} for name, data in pictures().items()]),
            "label": pa.array([0, 1, -1, *[0] * (count - 3)]),
            "width": pa.array([83] * count, pa.int32()),
            "boxes": pa.array([[1, 2, 3]] * count),
        },
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def test_a_data_set_of_hugging_face_is_read(tmp_path: Path) -> None:
    path, passed_over = hugging_face(tmp_path / "a.parquet"), Counter[str]()
    table, requests = listed(path, passed_over), Requests(path)
    assert names(table) == [f"row-{number}/{name}" for number, name in enumerate(pictures())]
    assert table["label"].to_pylist()[:4] == ["good", "scratch", None, "good"]
    assert table["width_in_file"].to_pylist() == [83] * len(pictures())
    assert table["size_bytes"].null_count == table.num_rows
    assert passed_over == {"column boxes": 1}
    assert [requests.read(row) for row in table.to_pylist()] == list(pictures().values())


def test_a_row_group_is_read_once_for_all_its_rows_and_threads(tmp_path: Path) -> None:
    images = [np.random.default_rng(n).bytes(9000) for n in range(100)]
    path = write(tmp_path / "a.parquet", {"jpg": images}, row_group_size=20)
    rows, requests = listed(path).to_pylist(), Requests(path)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(requests.read, rows))
    assert found == images
    assert len(requests.parts) == 1 + 5


def test_listing_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [np.random.default_rng(n).bytes(200_000) for n in range(40)]
    path = write(tmp_path / "a.parquet", {"jpg": images, "camera": ["a", "b"] * 20}, row_group_size=20)
    from rayae.ranges import Ranges

    read, lengths = Ranges.read, []

    def counted(ranges: Ranges, first: int, length: int) -> bytes:
        lengths.append(length)
        return read(ranges, first, length)

    monkeypatch.setattr(Ranges, "read", counted)
    table = listed(path)
    assert table["camera"].to_pylist() == ["a", "b"] * 20
    assert sum(lengths) < 400_000
    assert len(lengths) <= 6


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_any_column_of_bytes_is_taken(tmp_path: Path, kind: pa.DataType) -> None:
    path = write(tmp_path / "a.parquet", {"any.{thing}:": pa.array([b"one", b"two"], kind), "uid": ["x", "y"]})
    table = listed(path)
    assert names(table) == ["row-0", "row-1"]
    assert table["uid"].to_pylist() == ["x", "y"]
    assert [Requests(path).read(row) for row in table.to_pylist()] == [b"one", b"two"]


def test_of_several_columns_the_one_that_was_named_is_taken(tmp_path: Path) -> None:
    columns = {"image": pa.array([{"bytes": b"picture", "path": "a.png"}]), "mask": pa.array([b"mask"]), "text": ["x"]}
    path = write(tmp_path / "a.parquet", columns)
    said = (
        f"{path} has several columns that may be the images; set select.image_column to one of ['image.bytes', 'mask']."
    )
    with pytest.raises(DataError) as error:
        listed(path)
    assert str(error.value) == said
    for name, data in [("image", b"picture"), ("image.bytes", b"picture"), ("mask", b"mask")]:
        (row,) = listed(path, image_column=name).to_pylist()
        assert Requests(path).read(row) == data
        assert row["text"] == "x"
    said = (
        f"{path} has no column 'picture' with the bytes of images; "
        "the columns that hold bytes are ['image.bytes', 'mask']."
    )
    with pytest.raises(DataError) as error:
        listed(path, image_column="picture")
    assert str(error.value) == said


def test_a_file_without_bytes_is_refused_with_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"text": ["x"], "n": [1]})
    with pytest.raises(DataError) as error:
        listed(path)
    assert str(error.value) == f"{path} has no column with the bytes of images; its columns are ['text', 'n']."


def test_a_row_without_bytes_is_empty(tmp_path: Path) -> None:
    image = [{"bytes": b"x", "path": None}, {"bytes": None, "path": "a.jpg"}, None, {"bytes": b"", "path": None}]
    path = write(tmp_path / "a.parquet", {"image": pa.array(image)})
    table, requests = listed(path), Requests(path)
    rows = table.to_pylist()
    assert names(table) == ["row-0", "row-1/a.jpg", "row-2", "row-3"]
    assert [requests.read(rows[0]), requests.read(rows[3])] == [b"x", b""]
    for number in (1, 2):
        said = f"Row {number} of row group 0 has no bytes in image.bytes; where it has but a path, embed the image."
        assert requests.refusal(rows[number]) == ("empty", said)


def test_columns_named_like_those_of_results_get_another_name(tmp_path: Path) -> None:
    columns = {"jpg": [b"x"], "image_id": [7], "URI": ["u"], "Status": ["s"], "split": ["test"], "group": ["g"]}
    (row,) = listed(write(tmp_path / "a.parquet", columns)).drop_columns(["uri", "etag"]).to_pylist()
    own = {name: value for name, value in row.items() if name not in ("size_bytes", "container", "place")}
    assert own == {"image_id_in_file": 7, "URI_in_file": "u", "Status_in_file": "s", "split": "test", "group": "g"}


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_file_without_its_footer_is_one_row(tmp_path: Path, keep: float) -> None:
    path = hugging_face(tmp_path / "a.parquet")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep == 0.5 else int(keep)])
    (row,) = listed(path).to_pylist()
    assert row["place"] == "damaged:0"
    assert Requests(path).refusal(row)[0] == "truncated"
    with pytest.raises(DataError, match=r"cannot be read as Parquet \(.*\); it is damaged or something else\.$"):
        archives.has_images(str(path))


def test_a_damaged_row_group_costs_only_its_own_rows(tmp_path: Path) -> None:
    images = [np.random.default_rng(n).bytes(5000) for n in range(60)]
    path = write(tmp_path / "a.parquet", {"jpg": images}, row_group_size=20, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    rows, requests = listed(path).to_pylist(), Requests(path)
    assert [requests.read(row) for row in rows[:20] + rows[40:]] == images[:20] + images[40:]
    for row in rows[20:40]:
        status, sentence = requests.refusal(row)
        assert status == "truncated"
        assert sentence.startswith("Row group 1 of the Parquet file is cut or damaged: ")
    assert len(requests.parts) == 1 + 3


def test_a_row_group_whose_other_columns_are_damaged_keeps_its_images_without_them(tmp_path: Path) -> None:
    columns = {"jpg": [b"x" * 2000] * 20, "note": [f"note {n}" for n in range(20)]}
    path = write(tmp_path / "a.parquet", columns, row_group_size=10, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[data.index(b"note 15")] ^= 1
    path.write_bytes(data)
    table = listed(path)
    assert names(table) == [f"row-{number}" for number in range(20)]
    assert table["note"].to_pylist() == [*(f"note {n}" for n in range(10)), *[None] * 10]
    rows, requests = table.to_pylist(), Requests(path)
    assert requests.read(rows[3]) == b"x" * 2000
    assert requests.read(rows[13]) == b"x" * 2000


def test_text_that_is_no_utf_8_costs_its_row_group_its_own_columns(tmp_path: Path) -> None:
    columns = {"jpg": [b"x"] * 4, "note": ["note 1", "note 2", "note 3", "note 4"]}
    path = write(tmp_path / "a.parquet", columns, row_group_size=2, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"note 3", b"note \x80"))
    passed_over = Counter[str]()
    table = listed(path, passed_over)
    assert table["note"].to_pylist() == ["note 1", "note 2", None, None]
    assert passed_over == {archives.UNREADABLE: 1}
    assert [Requests(path).read(row) for row in table.to_pylist()] == [b"x"] * 4


def test_a_large_image_that_every_row_shares_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    image = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array([bytes(20 << 20)]))
    path = tmp_path / "a.parquet"
    options = {"compression": "zstd", "dictionary_pagesize_limit": 1 << 30, "store_schema": False}
    pq.write_table(pa.table({"image": image}), path, write_statistics=False, **options)
    assert path.stat().st_size < 5000
    row = listed(path).to_pylist()[0]
    sentence = "Row group 0 of the Parquet file unpacks to more than 1 GiB."
    before = pa.total_allocated_bytes()
    assert Requests(path).refusal(row) == ("too_large", sentence)
    assert pa.default_memory_pool().max_memory() - before < 2 << 30


def test_row_groups_that_are_too_large_are_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_of_archives, "MOST_GROUP_BYTES", 10_000)
    path = write(tmp_path / "a.parquet", {"jpg": [np.random.default_rng(n).bytes(1000) for n in range(20)]})
    with pytest.raises(DataError) as error:
        listed(path)
    assert str(error.value) == (
        f"{path}: row group 0 holds 0.0 GiB, and row groups are read whole; "
        "write it with at most 1 GiB in each, such as row_group_size=2."
    )


def test_one_image_that_is_in_every_row_is_not_unpacked_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_of_archives, "MOST_GROUP_BYTES", 1_000_000)
    path = write(tmp_path / "a.parquet", {"jpg": [b"x" * 100_000] * 1000})
    said = "Row group 0 of the Parquet file unpacks to more than 0 GiB."
    assert Requests(path).refusal(listed(path).to_pylist()[0]) == ("too_large", said)


def test_a_file_that_became_another_is_truncated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"jpg": [b"x" * 10_000] * 9})
    row = listed(path).to_pylist()[5]
    write(path, {"jpg": [b"x" * 10]})
    status, sentence = Requests(path).refusal(row)
    assert status == "truncated"
    assert sentence.startswith("The Parquet file has no footer at byte ")


def test_what_the_storage_raises_goes_through_and_is_asked_for_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"jpg": [np.random.default_rng(n).bytes(50_000) for n in range(4)]})
    row, requests = listed(path).to_pylist()[0], Requests(path)

    def broken(first: int, length: int | None) -> bytes:
        raise TimeoutError("storage is slow")

    def broken_later(first: int, length: int | None) -> bytes:
        return requests.fetch(first, length) if length is None else broken(first, length)

    for fetch in (broken, broken_later):
        with pytest.raises(TimeoutError, match="storage is slow"):
            archives.read_member(row["place"], None, fetch, requests.shelf)
    assert len(requests.read(row)) == 50_000


def test_a_list_of_uris_and_a_manifest_hold_no_images(tmp_path: Path) -> None:
    assert archives.has_images(str(hugging_face(tmp_path / "a.parquet")))
    assert archives.has_images(str(write(tmp_path / "b.parquet", {"path": ["a"], "bytes": [b"x"]})))
    assert not archives.has_images(str(write(tmp_path / "c.parquet", {"uri": ["a"], "thumbnail": [b"x"]})))
    assert not archives.has_images(str(write(tmp_path / "d.parquet", {"path": ["a"]})))
    manifest.write_manifest(manifest.complete({"uri": ["a"]}), str(tmp_path / "e.parquet"))
    assert not archives.has_images(str(tmp_path / "e.parquet"))


def test_own_columns_get_names_that_nobody_has(tmp_path: Path) -> None:
    columns = {"jpg": [b"x"], "width": [1], "width_in_file": [2]}
    (row,) = listed(write(tmp_path / "a.parquet", columns)).to_pylist()
    assert (row["width_in_file_in_file"], row["width_in_file"]) == (1, 2)
