import random
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pytest

from rayae import archives
from tests.unit.archives import Requests, listed, names, pictures


def write_zip(path: Path, members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_every_member_is_read_by_one_request(tmp_path: Path, method: int) -> None:
    path = write_zip(tmp_path / "a.zip", list(pictures().items()), method)
    table, requests = listed(path), Requests(path)
    assert names(table) == list(pictures())
    assert [requests.read(row) for row in table.to_pylist()] == list(pictures().values())
    assert len(requests.parts) == len(pictures())


def test_pictures_are_taken_and_all_else_is_counted(tmp_path: Path) -> None:
    given = ["a.jpg", "b/", "b/c.PNG", "__MACOSX/._a.jpg", ".git/x.jpg", "notes.txt", "README"]
    passed_over = Counter[str]()
    assert names(listed(write_zip(tmp_path / "a.zip", [(name, b"x") for name in given]), passed_over)) == [
        "a.jpg",
        "b/c.PNG",
    ]
    assert passed_over == {"hidden": 2, ".txt": 1, "no ending": 1}


def test_names_are_kept_whatever_they_are(tmp_path: Path) -> None:
    given = ["a b.jpg", "größe.jpg", "画像.png", "🎉.jpg", "a+b%20&?#'\".jpg", "a//b.jpg", f"{'x' * 1000}.jpg"]
    path = write_zip(tmp_path / "a.zip", [(name, name.encode()) for name in given])
    table, requests = listed(path), Requests(path)
    assert names(table) == given
    assert [requests.read(row).decode() for row in table.to_pylist()] == given


def test_old_names_are_in_code_page_437(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("xx.jpg", b"x")])
    path.write_bytes(path.read_bytes().replace(b"xx.jpg", b"\x94\x81.jpg"))
    assert names(listed(path)) == ["öü.jpg"]


def test_a_long_local_header_needs_a_second_request(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        info = zipfile.ZipInfo("a.jpg")
        info.extra = struct.pack("<HH", 0x7777, 5000) + bytes(5000)
        file.writestr(info, b"picture")
        file.writestr("b.jpg", bytes(9000))
    row, requests = listed(path).to_pylist()[0], Requests(path)
    assert requests.read(row) == b"picture"
    assert len(requests.parts) == 2


def test_zip64_and_what_stands_before_an_archive_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with path.open("wb") as raw:
        raw.write(b"#!/bin/sh\n" * 100)
        with zipfile.ZipFile(raw, "w") as file, file.open("a.jpg", "w", force_zip64=True) as member:
            member.write(b"picture")
    (row,) = listed(path).to_pylist()
    assert Requests(path).read(row) == b"picture"


@pytest.mark.parametrize(
    ("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA"), (9, "Deflate64"), (77, "method 77")]
)
def test_other_compressions_are_unsupported(tmp_path: Path, method: int, name: str) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.jpg", b"x" * 50)])
    data = bytearray(path.read_bytes())
    struct.pack_into("<H", data, data.index(b"PK\1\2") + 10, method)
    path.write_bytes(data)
    (row,) = listed(path).to_pylist()
    said = f"The ZIP archive holds it compressed by {name}; stored and deflated members are read."
    assert Requests(path).refusal(row) == ("unsupported", said)


def test_an_encrypted_member_is_unsupported(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.jpg", b"x"), ("b.jpg", b"y")])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    first, second = listed(path).to_pylist()
    requests = Requests(path)
    said = "The ZIP archive holds it encrypted; unpack the archive with its password."
    assert requests.refusal(first) == ("unsupported", said)
    assert requests.read(second) == b"y"


@pytest.mark.parametrize("data", [b"", b"x", b"PK\3\4no archive" * 100])
def test_what_is_no_zip_is_one_row(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    assert [row["place"] for row in listed(tmp_path / "a.zip").to_pylist()] == ["damaged:0"]


def test_a_zip_that_was_cut_is_one_row(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", list(pictures().items()))
    path.write_bytes(path.read_bytes()[:-100])
    (row,) = listed(path).to_pylist()
    said = "The archive is cut, damaged or none, from byte 0 on; what it held there is not known."
    assert Requests(path).refusal(row) == ("truncated", said)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_costs_only_itself(tmp_path: Path, method: int) -> None:
    members = [(f"{number}.jpg", random.Random(number).randbytes(5000)) for number in range(3)]
    path = write_zip(tmp_path / "a.zip", members, method)
    data = bytearray(path.read_bytes())
    data[7000] ^= 1
    path.write_bytes(data)
    rows, requests = listed(path).to_pylist(), Requests(path)
    assert [requests.read(rows[number]) for number in (0, 2)] == [members[0][1], members[2][1]]
    status, sentence = requests.refusal(rows[1])
    assert status == "truncated"
    assert sentence.startswith("The ZIP archive is damaged at byte 50")


def test_a_bomb_is_not_unpacked_beyond_what_its_directory_says(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.jpg", bytes(50_000_000))])
    (row,) = listed(path).to_pylist()
    said = "The ZIP archive is damaged at byte 0: it has not the 1,000 bytes that its directory says."
    assert Requests(path).refusal({**row, "size_bytes": 1000}) == (
        "truncated",
        "The ZIP archive is damaged at byte 0: its directory says sizes that do not fit together.",
    )
    small = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = small.compress(bytes(1_000_000)) + small.flush()
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, 0, 0, 0, 0, 0)
    path.write_bytes(header + stored)
    row = {**row, "size_bytes": 1000, "place": f"zip:0:{len(stored)}:8:00000000"}
    assert Requests(path).refusal(row) == ("truncated", said)


@pytest.mark.parametrize(
    "place", ["zip:-5:10:0:0", "zip:0:-1:0:0", "zip:0:999999:0:0", "zip:90000:10:0:0", "zip:1:10:0:0"]
)
def test_places_that_lead_nowhere_are_truncated(tmp_path: Path, place: str) -> None:
    path = write_zip(tmp_path / "a.zip", [("a.jpg", b"x" * 10)])
    status, sentence = Requests(path).refusal({"uri": "x", "place": place, "size_bytes": 10})
    assert status == "truncated"
    assert sentence.startswith("The ZIP archive is damaged at byte ")


def test_the_directory_is_read_by_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "a.zip", [(f"{number}.jpg", bytes(5000)) for number in range(3000)], zipfile.ZIP_STORED)
    from rayae.ranges import Ranges

    parts: list[tuple[int, int]] = []
    read = Ranges.read

    def counted(ranges: Ranges, first: int, length: int) -> bytes:
        parts.append((first, length))
        return read(ranges, first, length)

    monkeypatch.setattr(Ranges, "read", counted)
    assert sum(table.num_rows for table in archives.expand(str(path))) == 3000
    assert len(parts) <= 5


def test_an_empty_archive_holds_nothing_and_is_not_damaged(tmp_path: Path) -> None:
    assert list(archives.expand(str(write_zip(tmp_path / "a.zip", [])))) == []
    (tmp_path / "b.zip").write_bytes(b"")
    assert names(listed(tmp_path / "b.zip")) == ["damaged-0"]
