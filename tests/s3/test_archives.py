"""Images inside other files on object storage: what is asked of the server for them."""

import io
import tarfile
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import archives
from rayae.reader import Image, Reader
from rayae.results import Status
from tests.s3.conftest import Bucket
from tests.unit.archives import pictures


def in_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in pictures().items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in pictures().items():
            file.writestr(name, data)
    return buffer.getvalue()


def in_parquet() -> bytes:
    buffer = io.BytesIO()
    rows = pa.array([{"bytes": data, "path": name} for name, data in pictures().items()])
    pq.write_table(pa.table({"image": rows}), buffer, row_group_size=10)
    return buffer.getvalue()


GETS = {".tar": len(pictures()), ".zip": len(pictures()), ".parquet": 1 + -(-len(pictures()) // 10)}
"""Requests for all members: one each, or the footer and one a row group."""


@pytest.mark.parametrize(("ending", "make"), [(".tar", in_tar), (".zip", in_zip), (".parquet", in_parquet)])
def test_members_are_read_without_a_head_by_one_get_each(
    bucket: Bucket, ending: str, make: Callable[[], bytes]
) -> None:
    uri = bucket.put(f"a b/ü{ending}", make())
    rows = pa.concat_tables(archives.expand(uri)).to_pylist()
    asked, reader = bucket.server.asked(), Reader()
    found = [
        reader.read(Image(*(row[name] for name in ("uri", "size_bytes", "etag", "container", "place")))) for row in rows
    ]
    assert [fetched.data for fetched in found] == list(pictures().values())
    assert asked.of("HEAD") == 0
    assert asked.of("GET", ending) <= GETS[ending]


def test_an_archive_that_was_replaced_is_changed(bucket: Bucket) -> None:
    uri = bucket.put("a.tar", in_tar())
    row = next(iter(archives.expand(uri))).to_pylist()[0]
    bucket.put("a.tar", in_tar() + bytes(512))
    fetched = Reader().read(Image(row["uri"], row["size_bytes"], row["etag"], row["container"], row["place"]))
    assert fetched.status == Status.CHANGED
