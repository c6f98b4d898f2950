"""Home of how files of results are read: chunk files, and those of a compacted run; what is damaged is told."""

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from rayae import storage
from rayae.errors import RunError
from rayae.results import read_about

READERS = 8
FOOTER_BYTES = 32 * 1024
"""Bytes from the end of a chunk file that nearly always hold its footer: 6 kB, and more with many user columns."""

Item = TypeVar("Item")
Found = TypeVar("Found")


def read_ahead(read: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """What `read` gives of the items, in their order, with the next ones under way in threads."""
    with ThreadPoolExecutor(READERS) as pool:
        waiting: deque[Future[Found]] = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > READERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_chunk(uri: str, columns: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a file of results and what it says of itself; RunError when it is damaged or something else."""
    with open_results(uri) as file, _readable(uri):
        parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)  # as in `manifest`
        about = about_file(uri, parquet.metadata)
        table = parquet.read(columns=None if columns is None else list(columns), use_threads=False)
        return table.replace_schema_metadata(None), about


def open_results(uri: str) -> IO[bytes]:
    """A file of results; a chunk file that is not on a disk comes whole, by one request."""
    is_chunk = uri.rpartition("/")[2].startswith("chunk-")
    found = storage.read_version(uri) if is_chunk and not storage.is_local(uri) else None
    return storage.open_read(uri) if found is None else io.BytesIO(found[0])


def read_groups(uri: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a file of results, a row group at a time; RunError when it is damaged or something else."""
    with storage.open_read(uri) as file, _readable(uri):
        parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        for number in range(parquet.num_row_groups):
            table = parquet.read_row_group(number, None if columns is None else list(columns), use_threads=False)
            yield table.replace_schema_metadata(None)


def read_footer(uri: str) -> pq.FileMetaData:
    """The footer of a Parquet file, by one request unless it is uncommonly long."""
    tail = storage.read_tail(uri, FOOTER_BYTES)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if length > FOOTER_BYTES and tail.endswith(b"PAR1"):
        tail = storage.read_tail(uri, length)
    with _readable(uri):
        return pq.read_metadata(pa.BufferReader(tail))


def about_file(uri: str, metadata: pq.FileMetaData) -> dict[str, Any]:
    about = read_about(metadata.metadata)
    if about is None:
        raise RunError(f"{uri} is no chunk file of rayae; {remedy_of(uri)}.")
    return about


def remedy_of(uri: str) -> str:
    """What to do about a damaged file of results: a chunk can be done again, a file of a compacted run cannot."""
    if uri.rpartition("/")[2].startswith("chunk-"):
        return "remove it and run the same command again"
    return "put the former file back, or score the images again into a new `out=`"


@contextlib.contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{uri} cannot be read ({reason}); {remedy_of(uri)}.") from error
