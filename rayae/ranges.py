"""Home of files that are read in parts, by many threads at once, wherever they are."""

import os
from dataclasses import dataclass

from rayae import disk, objects, storage
from rayae.errors import StorageError


@dataclass(frozen=True)
class Ranges:
    """A file of which parts are read, by many threads at once; its size and etag are those of the listing."""

    uri: str
    size_bytes: int
    etag: str | None

    def read(self, first: int, length: int) -> bytes:
        """`length` bytes from `first` on; fewer at the end of the file."""
        length = min(length, self.size_bytes - first)
        if length <= 0:
            return b""
        if objects.is_object_store(self.uri):
            return objects.read_part(self.uri, first, length)
        with storage.explained("read", self.uri):
            if storage.is_local(self.uri):
                with disk.open_file(storage.local_path(self.uri)) as file:
                    return os.pread(file.fileno(), length, first)
            filesystem, path = storage.filesystem_of(self.uri)
            found: bytes = filesystem.cat_file(path, start=first, end=first + length)
            return found


def open_ranges(uri: str, size_bytes: int | None = None, etag: str | None = None) -> Ranges:
    """A file to read parts of; what is not known of it is looked up. StorageError when there is none."""
    if size_bytes is not None:
        return Ranges(uri, size_bytes, etag)
    if objects.is_object_store(uri):
        answer = objects.size_and_etag(uri)
        if answer is None or answer.size_bytes is None:
            raise StorageError(f"cannot read {uri}: there is no such object.")
        return Ranges(uri, answer.size_bytes, answer.etag)
    with storage.explained("read", uri):
        if storage.is_local(uri):
            with disk.open_file(storage.local_path(uri)) as file:
                status = os.fstat(file.fileno())
            return Ranges(uri, status.st_size, f"{status.st_mtime_ns:x}")
        filesystem, path = storage.filesystem_of(uri)
        return Ranges(uri, int(filesystem.size(path)), etag)
