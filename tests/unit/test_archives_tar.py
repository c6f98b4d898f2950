import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from rayae import archives
from rayae.archives import tar as tar_of_archives
from rayae.archives.window import Window
from rayae.errors import DataError
from rayae.ranges import Ranges, open_ranges
from tests.unit.archives import Requests, listed, names, pictures

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def write_tar(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_every_member_is_read_by_one_request(tmp_path: Path, form: int) -> None:
    path = write_tar(tmp_path / "a.tar", list(pictures().items()), form)
    table, requests = listed(path), Requests(path)
    assert names(table) == list(pictures())
    assert [requests.read(row) for row in table.to_pylist()] == list(pictures().values())
    assert len(requests.parts) == len(pictures())


def test_of_a_webdataset_the_pictures_are_taken_and_all_else_is_counted(tmp_path: Path) -> None:
    sidecars = [("000.jpg", b"a"), ("000.cls", b"1"), ("000.json", b"{}"), ("001.png", b"b"), ("001.txt", b"x")]
    others = [(".hidden.jpg", b""), (".cache/a.jpg", b""), ("._000.jpg", b""), ("README", b""), ("002.JPEG", b"c")]
    path, passed_over = write_tar(tmp_path / "a.tar", sidecars + others), Counter[str]()
    assert names(listed(path, passed_over)) == ["000.jpg", "001.png", "002.JPEG"]
    assert passed_over == {".cls": 1, ".json": 1, ".txt": 1, "hidden": 3, "no ending": 1}


def test_folders_links_and_devices_are_no_images(tmp_path: Path) -> None:
    kinds = [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, kind in enumerate(kinds):
            info = tarfile.TarInfo(f"{number}.jpg")
            info.type, info.linkname = kind, "4.jpg"
            tar.addfile(info)
    passed_over = Counter[str]()
    assert names(listed(tmp_path / "a.tar", passed_over)) == ["4.jpg"]
    assert passed_over == {"link": 2, "no regular file": 1}


NAMES = [
    "a b.jpg",
    "größe.jpg",
    "画像.png",
    "🎉.jpg",
    "a+b%20&?#'\"\\.jpg",
    "a//b.jpg",
    "new\nline.jpg",
    f"{'x' * 1000}.jpg",
]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_are_kept_whatever_they_are(tmp_path: Path, form: int) -> None:
    path = write_tar(tmp_path / "a.tar", [(name, name.encode()) for name in NAMES], form)
    table, requests = listed(path), Requests(path)
    assert names(table) == NAMES
    assert [requests.read(row).decode() for row in table.to_pylist()] == NAMES


def test_names_lose_their_dot_and_are_unique_and_text(tmp_path: Path) -> None:
    given = ["./a.jpg", "a.jpg", "././b.jpg", "a.jpg", "\udcff.jpg"]
    path = write_tar(tmp_path / "a.tar", [(name, b"x") for name in given], tarfile.GNU_FORMAT)
    assert names(listed(path)) == ["a.jpg", "a.jpg!2", "b.jpg", "a.jpg!3", "\\xff.jpg"]


def test_a_pax_header_says_the_size(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size, info.pax_headers = 5, {"size": "5", "mtime": "1.5"}
        tar.addfile(info, io.BytesIO(b"bytes"))
    row = listed(tmp_path / "a.tar").to_pylist()[0]
    assert Requests(tmp_path / "a.tar").read(row) == b"bytes"


@pytest.mark.parametrize("length", range(0, 12_000, 150))
def test_a_cut_tar_costs_only_its_own_tail(tmp_path: Path, length: int) -> None:
    members = [(f"{number}.jpg", bytes([65 + number]) * (400 * number)) for number in range(8)]
    whole = write_tar(tmp_path / "a.tar", members)
    rows = listed(whole).to_pylist()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:length])
    *kept, last = listed(cut).to_pylist()
    assert [(row["place"], row["size_bytes"]) for row in kept] == [
        (row["place"], row["size_bytes"]) for row in rows[: len(kept)]
    ]
    requests = Requests(cut)
    assert [requests.read(row) for row in kept] == [data for _, data in members[: len(kept)]]
    first = int(last["place"].removeprefix("damaged:"))
    assert first <= max(length, -(-length // 512) * 512)
    assert last["uri"] == f"{cut}!/damaged-{first}"
    assert last["size_bytes"] is None
    what = "The archive is cut or damaged" if first else "The archive is cut, damaged or none"
    sentence = f"{what}, from byte {first} on; what it held there is not known."
    assert requests.refusal(last) == ("truncated", sentence)


def test_a_tar_without_its_end_mark_has_a_row_for_what_may_be_missing(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"x" * 512)])
    path.write_bytes(path.read_bytes()[:1024])
    assert names(listed(path)) == ["a.jpg", "damaged-1024"]


def test_garbage_in_the_middle_costs_the_rest(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"{number}.jpg", b"x" * 100) for number in range(9)])
    data = bytearray(path.read_bytes())
    data[4 * 1024 + 148 : 4 * 1024 + 156] = b"garbage!"
    path.write_bytes(data)
    assert names(listed(path)) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "damaged-4096"]


@pytest.mark.parametrize("data", [b"", b"x", b"no tar at all" * 100, bytes(2 * 1024**2)])
def test_what_is_no_tar_is_one_row(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    assert [row["place"] for row in listed(tmp_path / "a.tar").to_pylist()] == ["damaged:0"]


def test_an_empty_tar_holds_nothing(tmp_path: Path) -> None:
    assert list(archives.expand(str(write_tar(tmp_path / "a.tar", [])))) == []


def test_tars_that_were_put_behind_one_another_are_all_read(tmp_path: Path) -> None:
    one, two = (write_tar(tmp_path / f"{name}.tar", [(f"{name}.jpg", name.encode())]) for name in "ab")
    both = tmp_path / "both.tar"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert names(listed(both)) == ["a.jpg", "b.jpg"]
    both.write_bytes(one.read_bytes() + b"signature")
    assert names(listed(both)) == ["a.jpg", f"damaged-{one.stat().st_size}"]


@pytest.mark.parametrize(
    "size", [b"-0000000001\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777\0", b"size is bad\0"]
)
def test_sizes_that_cannot_be_end_the_walk(tmp_path: Path, size: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("b.jpg", b"y"), ("c.jpg", b"z")])
    data = bytearray(path.read_bytes())
    header = data[1024:1536]
    header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1024:1536] = header
    path.write_bytes(data)
    assert names(listed(path)) == ["a.jpg", "damaged-1024"]


@pytest.mark.parametrize(
    "records",
    [
        b"11 size=-5\n",
        b"0 a=b\n",
        b"3 a\n",
        b"99 path=a\n",
        b"no pax",
        b"12 size=1e99\n",
        b"18446744073709551616 a=b\n",
    ],
)
def test_pax_headers_that_are_damaged_end_the_walk(tmp_path: Path, records: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    first = write_tar(tmp_path / "a.tar", [("a.jpg", b"x")]).read_bytes()[:1024]
    rest = write_tar(tmp_path / "a.tar", [("b.jpg", b"x")]).read_bytes()
    (tmp_path / "a.tar").write_bytes(first + header + records.ljust(512, b"\0") + rest)
    assert names(listed(tmp_path / "a.tar")) == ["a.jpg", "damaged-1024"]


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("name")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3 - 1
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert names(listed(tmp_path / "a.tar")) == ["damaged-0"]


def test_a_sparse_member_is_unsupported(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    (row,) = listed(tmp_path / "a.tar").to_pylist()
    said = "The tar holds it as a sparse file; write the tar without --sparse."
    assert Requests(tmp_path / "a.tar").refusal(row) == ("unsupported", said)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.TAR.ZST"])
def test_a_compressed_tar_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / name, "w:gz"):
        pass
    with pytest.raises(DataError) as error:
        listed(tmp_path / name)
    assert str(error.value) == (
        f"{tmp_path / name} is a compressed tar: its images cannot be read one by one; unpack it, or write it as "
        "a plain .tar (pictures are compressed already)."
    )
    assert archives.is_compressed_tar(str(tmp_path / name))


@pytest.mark.parametrize(("mode", "method"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
def test_a_tar_that_is_compressed_under_its_plain_name_is_one_row(tmp_path: Path, mode: str, method: str) -> None:
    with tarfile.open(tmp_path / "a.tar", mode):  # type: ignore[call-overload]
        pass
    (row,) = (table := listed(tmp_path / "a.tar")).to_pylist()
    assert names(table) == ["compressed"]
    said = f"The tar is compressed by {method}; unpack it, or write it as a plain .tar."
    assert Requests(tmp_path / "a.tar").refusal(row) == ("unsupported", said)


def test_a_name_that_begins_like_a_compression_is_but_a_name(tmp_path: Path) -> None:
    assert names(listed(write_tar(tmp_path / "a.tar", [("BZh91AY.jpg", b"x")]))) == ["BZh91AY.jpg"]


def test_an_archive_that_became_shorter_is_truncated(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"x" * 2000)])
    (row,) = listed(path).to_pylist()
    path.write_bytes(path.read_bytes()[:1000])
    said = "The tar is cut: from byte 512 on it holds 488 of its 2,000 bytes."
    assert Requests(path).refusal(row) == ("truncated", said)


class Counted(Ranges):
    """A file as on object storage, whose requests are counted."""

    parts: list[tuple[int, int]]

    def read(self, first: int, length: int) -> bytes:
        self.parts.append((first, length))
        return super().read(first, length)


def requests_to_walk(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The requests that listing a tar takes from object storage."""
    from rayae.archives import tar

    monkeypatch.setattr("rayae.archives.window.is_local", lambda uri: False)
    found = open_ranges(str(path))
    ranges = Counted(found.uri, found.size_bytes, found.etag)
    object.__setattr__(ranges, "parts", [])
    assert list(tar.walk(Window(ranges)))
    return ranges.parts


def test_small_members_need_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"{number}.jpg", bytes(100_000)) for number in range(400)])
    parts = requests_to_walk(path, monkeypatch)
    assert len(parts) <= 20
    assert max(length for _, length in parts) <= 4 * 1024**2


def test_large_members_are_skipped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", [(f"{number}.jpg", bytes(3_000_000)) for number in range(10)])
    parts = requests_to_walk(path, monkeypatch)
    assert len(parts) <= 12
    assert sum(length for _, length in parts) <= 12 * 64 * 1024


def test_records_of_a_global_header_cost_no_member_anything(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={f"x{n}": "y" for n in range(20_000)}) as tar:
        for number in range(300):
            tar.addfile(tarfile.TarInfo(f"{number}.jpg"))
    window = Window(open_ranges(str(path)))
    assert [entry.name for entry in tar_of_archives.walk(window)] == [f"{number}.jpg" for number in range(300)]
    assert tar_of_archives._records(b"8 x=abc\n" * 5 + b"18 GNU.sparse.x=1\n", 0) == {"GNU.sparse": ""}
