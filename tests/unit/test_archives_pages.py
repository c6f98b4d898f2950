import io
import struct
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rayae import archives
from rayae.preprocess import Preprocess
from rayae.results import Status
from tests.unit.archives import Requests, listed, names
from tests.unit.pictures import encoded, photo

RGB = Preprocess("rgb", 64, 64)


def stack(count: int, **options: Any) -> bytes:
    """A TIFF of several pages, each another photo."""
    first, *others = (Image.fromarray(photo(64, 64, seed)) for seed in range(count))
    return encoded(first, "TIFF", save_all=True, append_images=others, **options)


VARIETIES: list[dict[str, Any]] = [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}, {"compression": "tiff_deflate"}]


@pytest.mark.parametrize("options", VARIETIES)
def test_every_page_is_an_image_and_the_file_is_read_once(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(stack(5, **options))
    table, requests = listed(path, pages=True), Requests(path)
    assert names(table) == ["page-1", "page-2", "page-3", "page-4", "page-5"]
    assert table["size_bytes"].to_pylist() == [path.stat().st_size] * 5
    for seed, row in enumerate(table.to_pylist()):
        picture = RGB.decode(requests.read(row), archives.page_of(row["place"]))
        assert picture.status == Status.SCORED, picture.error
        assert np.array_equal(picture.pixels, photo(64, 64, seed))
    assert requests.parts == [(0, None)]


def test_a_tiff_of_one_page_is_listed_as_the_file_that_it_is(tmp_path: Path) -> None:
    for name, data in [("a.tif", stack(1)), ("b.TIFF", stack(1, big_tiff=True)), ("c.tif", b"no tiff"), ("d.tif", b"")]:
        (tmp_path / name).write_bytes(data)
        (row,) = listed(tmp_path / name, pages=True).to_pylist()
        assert (row["uri"], row["size_bytes"]) == (str(tmp_path / name), len(data))
        assert (row["container"], row["place"]) == (None, None)


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path) -> None:
    data, kinds = stack(4, tiffinfo={254: 0}), iter([0, 1, 4, 2])
    entry = struct.pack("<HHI", 254, 4, 1)
    parts = data.split(entry)
    assert len(parts) == 5
    changed = parts[0] + b"".join(entry + struct.pack("<I", next(kinds)) + part[4:] for part in parts[1:])
    (tmp_path / "a.tif").write_bytes(changed)
    passed_over = Counter[str]()
    assert names(listed(tmp_path / "a.tif", passed_over, pages=True)) == ["page-1", "page-4"]
    assert passed_over == {"page that is a smaller copy or a mask": 2}


def directory_offsets(data: bytes) -> list[int]:
    """Where the offset of each directory of a small TIFF stands."""
    found = [4]
    while first := struct.unpack_from("<I", data, found[-1])[0]:
        found.append(first + 2 + 12 * struct.unpack_from("<H", data, first)[0])
    return found


@pytest.mark.parametrize("target", ["loop", "outside", "itself"])
def test_a_chain_that_breaks_or_goes_round_costs_the_rest(tmp_path: Path, target: str) -> None:
    data = bytearray(stack(3))
    offsets = directory_offsets(data)
    firsts = [struct.unpack_from("<I", data, at)[0] for at in offsets[:-1]]
    to = {"loop": firsts[0], "outside": len(data) + 99, "itself": firsts[1]}[target]
    struct.pack_into("<I", data, offsets[2], to)
    (tmp_path / "a.tif").write_bytes(data)
    table = listed(tmp_path / "a.tif", pages=True)
    assert names(table) == ["page-1", "page-2", f"damaged-{to}"]
    assert RGB.decode(bytes(data), 1).status == Status.SCORED
    picture = RGB.decode(bytes(data), 2)
    assert picture.status == Status.TRUNCATED
    assert picture.error == (f"The TIFF is cut or damaged: the directory of page 3, at byte {to}, is not in the file.")


def test_directories_that_lie_in_one_another_end_the_walk(tmp_path: Path) -> None:
    tags = 2000
    data = bytearray(8 + 40_000)
    data[:8] = struct.pack("<2sHI", b"II", 42, 8)
    for first in range(8, 8 + 2000, 2):  # each says that it has many tags, most of them the bytes of the others
        struct.pack_into("<H", data, first, tags)
        struct.pack_into("<I", data, first + 2 + 12 * tags, first + 2)
    (tmp_path / "a.tif").write_bytes(data)
    assert len(names(listed(tmp_path / "a.tif", pages=True))) <= 3


def test_a_page_that_is_not_there_is_truncated() -> None:
    assert RGB.decode(stack(2), 2).error == "The TIFF has no page 3; it has 2."
    png = RGB.decode(encoded(photo(64, 64), "PNG"), 1)
    assert (png.status, png.error) == (Status.TRUNCATED, "The PNG has no page 2; only a TIFF has pages.")


def test_pages_of_other_shapes_and_depths_are_read_by_their_own_tags() -> None:
    deep = Image.fromarray((np.arange(40 * 90, dtype=np.uint16) * 18).reshape(40, 90))
    buffer = io.BytesIO()
    Image.fromarray(photo(64, 64)).save(buffer, "TIFF", save_all=True, append_images=[deep])
    picture = Preprocess("grey", 40, 90).decode(buffer.getvalue(), 1)
    assert (picture.width, picture.height) == (90, 40)
    assert picture.pixels is not None
    assert np.array_equal(picture.pixels[..., 0], np.asarray(deep) >> 8)


def test_a_page_is_told_by_its_place() -> None:
    assert [archives.page_of(place) for place in (None, "tar:5", "page:0", "page:17", "page:x")] == [0, 0, 0, 17, 0]


def packed(path: Path, members: dict[str, bytes]) -> Path:
    """A tar or a ZIP archive, as its ending says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        return path
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_every_page_of_a_tiff_in_an_archive_is_an_image(tmp_path: Path, ending: str) -> None:
    members = {"a.png": b"x", "b.tif": stack(3), "c.tiff": stack(1), "d.tif": b"no tiff", "e.tif": stack(2)}
    path = packed(tmp_path / f"a.{ending}", members)
    table, requests = listed(path, pages=True), Requests(path)
    pages = ["b.tif!/page-1", "b.tif!/page-2", "b.tif!/page-3", "e.tif!/page-1", "e.tif!/page-2"]
    assert names(table) == ["a.png", *pages[:3], "c.tiff", "d.tif", *pages[3:]]
    rows = dict(zip(names(table), table.to_pylist(), strict=True))
    for name in pages:
        picture = RGB.decode(requests.read(rows[name]), archives.page_of(rows[name]["place"]))
        assert np.array_equal(picture.pixels, photo(64, 64, int(name[-1]) - 1)), name
    assert len(requests.parts) == 2, "each of the two files is read once"
    assert rows["b.tif!/page-2"]["size_bytes"] == len(members["b.tif"])
    assert names(listed(path)) == list(members)


@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_a_smaller_copy_before_the_picture_is_never_taken_for_it(tmp_path: Path, ending: str) -> None:
    data = bytearray(stack(2))
    first = struct.unpack_from("<I", data, 4)[0]
    tags = struct.unpack_from("<H", data, first)[0]
    entries = [struct.unpack_from("<HHII", data, first + 2 + 12 * n) for n in range(tags)]
    assert entries[0][0] > 254, "Pillow writes no NewSubfileType: the width stands in its place"
    entries[-1:] = []
    entries.insert(0, (254, 4, 1, 1))
    for number, entry in enumerate(entries):
        struct.pack_into("<HHII", data, first + 2 + 12 * number, *entry)
    (tmp_path / "a.tif").write_bytes(data)
    assert names(listed(tmp_path / "a.tif", pages=True)) == ["page-2"]
    assert names(listed(packed(tmp_path / f"a.{ending}", {"b.tif": bytes(data)}), pages=True)) == ["b.tif!/page-2"]


@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_a_page_of_a_tiff_in_an_archive_that_cannot_be_found_is_a_row(tmp_path: Path, ending: str) -> None:
    data = bytearray(stack(3))
    struct.pack_into("<I", data, directory_offsets(bytes(data))[2], 10**9)
    path = packed(tmp_path / f"a.{ending}", {"b.tif": bytes(data)})
    table = listed(path, pages=True)
    assert names(table) == ["b.tif!/page-1", "b.tif!/page-2", "b.tif!/page-3"]
    row = table.to_pylist()[2]
    picture = RGB.decode(Requests(path).read(row), archives.page_of(row["place"]))
    assert (picture.status, str(picture.error)[:50]) == (
        Status.TRUNCATED, "The TIFF is cut or damaged: the directory of page ",
    )  # fmt: skip
