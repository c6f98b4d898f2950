import io
import pickle
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import archives
from rayae.archives import Cache, Unreadable
from rayae.errors import ConfigError, DataError
from rayae.preprocess import Preprocess
from rayae.reader import Image, Reader
from rayae.results import Status
from tests.unit.archives import pictures


def write_everywhere(folder: Path) -> list[Path]:
    """The same pictures in a tar, a ZIP archive and a Parquet file."""
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name, data in pictures().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in pictures().items():
            file.writestr(name, data)
    rows = pa.array([{"bytes": data, "path": name} for name, data in pictures().items()])
    pq.write_table(pa.table({"image": rows}), folder / "a.parquet", row_group_size=5)
    return [folder / name for name in ("a.tar", "a.zip", "a.parquet")]


def test_the_same_picture_gives_the_same_pixels_from_every_container(tmp_path: Path) -> None:
    reader, preprocess = Reader(), Preprocess("rgb", 48, 48)
    for path in write_everywhere(tmp_path):
        rows = pa.concat_tables(archives.expand(str(path))).to_pylist()
        assert len(rows) == len(pictures())
        for row, (name, data) in zip(rows, pictures().items(), strict=True):
            (tmp_path / name).write_bytes(data)
            loose, member = reader.read(Image(str(tmp_path / name))), reader.read(Image(**row))
            assert loose.data is not None
            assert member.data == loose.data, (member.status, member.error)
            assert np.array_equal(preprocess.decode(member.data).pixels, preprocess.decode(loose.data).pixels)
            assert row["uri"].endswith(f"/{name}")


def test_an_archive_that_was_written_to_is_changed(tmp_path: Path) -> None:
    path = write_everywhere(tmp_path)[0]
    row = next(iter(archives.expand(str(path)))).to_pylist()[0]
    path.write_bytes(path.read_bytes() + bytes(512))
    assert Reader().read(Image(**row)).status == Status.CHANGED


def test_what_an_archive_does_not_give_has_the_status_of_the_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 100)
    row = next(iter(archives.expand(str(tmp_path / "a.tar")))).to_pylist()[0]
    fetched = Reader().read(Image(**row))
    said = "The archive is cut, damaged or none, from byte 0 on; what it held there is not known."
    assert (fetched.status, fetched.error) == (Status.TRUNCATED, said)


@pytest.mark.parametrize("place", ["", "nowhere", "tar:x", "row:1:2", "zip:1:2", "row:a:0:0:x", "page:x"])
def test_a_place_that_nobody_wrote_is_no_fault_of_an_image(place: str) -> None:
    with pytest.raises(DataError, match=r"^the manifest has place=.*, which is no place in an archive; write it with"):
        archives.read_member(place, 5, lambda first, length: b"x" * 5, Cache().of("a", None))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"a\.jpg is no archive of images; \.tar, \.zip, \.parquet, and with select\.pages=all"
    ):
        archives.expand(str(tmp_path / "a.jpg"))


def test_an_unreadable_member_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(Unreadable(Status.EMPTY, "It is empty.")))
    assert (error.status, error.sentence, str(error)) == (Status.EMPTY, "It is empty.", "It is empty.")


def test_the_cache_makes_a_part_once_for_all_who_wait() -> None:
    cache, made = Cache(), []

    def make() -> bytes:
        made.append(threading.get_ident())
        time.sleep(0.05)
        return b"part"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.of("a", "1").get("file", make, len), range(32)))
    assert found == [b"part"] * 32
    assert len(made) == 1
    assert cache.of("a", "2").get("file", lambda: b"newer", len) == b"newer"


def test_the_cache_keeps_what_was_used_last_and_two_parts_at_least() -> None:
    shelf, made = Cache(most_bytes=100).of("a", None), []

    def get(name: str, size: int) -> bytes:
        def make() -> bytes:
            made.append(name)
            return bytes(size)

        return shelf.get(name, make, len)

    for name in "abcab":
        get(name, 30)
    assert made == ["a", "b", "c"]
    for name in ("large", "larger", "large", "larger"):
        get(name, 1000)
    assert made == ["a", "b", "c", "large", "larger"]
    get("a", 30)
    get("large", 1000)
    assert made == ["a", "b", "c", "large", "larger", "a", "large"]


def test_what_making_a_part_raises_goes_to_all_and_is_not_kept() -> None:
    shelf, tries = Cache().of("a", None), []

    def make() -> bytes:
        tries.append(1)
        time.sleep(0.05)
        raise TimeoutError("storage is slow")

    def get(_: int) -> str:
        with pytest.raises(TimeoutError) as error:
            shelf.get("file", make, len)
        return str(error.value)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(get, range(4))) == ["storage is slow"] * 4
    assert len(tries) < 4
    assert shelf.get("file", lambda: b"well", len) == b"well"


def test_a_cache_arrives_empty_and_is_the_one_of_its_process() -> None:
    cache = Cache(most_bytes=12_345)
    cache.of("a", None).get("file", lambda: b"part", len)
    one, other = (pickle.loads(pickle.dumps(cache)) for _ in range(2))
    assert one is other
    assert one is not cache
    assert one.most_bytes == 12_345
    assert one.of("a", None).get("file", lambda: b"anew", len) == b"anew"
