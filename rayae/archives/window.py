"""Home of how an archive is looked through: a window that reads ahead, and a file on any callable that reads parts."""

import io
from collections.abc import Callable
from typing import Any

from rayae.ranges import Ranges
from rayae.storage import is_local

LEAST_AHEAD = 64 * 1024
MOST_AHEAD = 4 * 1024**2
NEAR = 1024**2
"""What lies no further ahead is read through: a request to object storage costs as much time as about 1 MiB."""
NEAR_ON_DISK = 16 * 1024
MOST_AT_ONCE = 1024**3


class Window:
    """The part of a file that was read last; it grows while what is asked for next is near. For one thread."""

    def __init__(self, ranges: Ranges) -> None:
        self.ranges, self.size_bytes = ranges, ranges.size_bytes
        self.near = NEAR_ON_DISK if is_local(ranges.uri) else NEAR
        self.first, self.data, self.ahead = 0, b"", LEAST_AHEAD

    def read(self, first: int, length: int) -> bytes:
        """`length` bytes from `first` on; fewer at the end of the file."""
        length = max(0, min(length, self.size_bytes - first))
        end = self.first + len(self.data)
        if length and not (self.first <= first and first + length <= end):
            is_near = self.data and 0 <= first - end <= self.near
            self.ahead = min(2 * self.ahead, MOST_AHEAD) if is_near else LEAST_AHEAD
            self.first, self.data = first, self.ranges.read(first, max(length, self.ahead))
        begin = first - self.first
        return self.data[begin : begin + length]


class PartFile(io.RawIOBase):
    """A file that can seek, read by `read_part(first, length)`; what that raised stands in `failure`."""

    def __init__(self, size_bytes: int, read_part: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self.size_bytes, self.read_part, self.at = size_bytes, read_part, 0
        self.failure: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size_bytes}[whence]
        if at < 0:
            raise OSError(f"byte {at} lies before the beginning of the file")  # as files of the system do
        self.at = at
        return at

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self.size_bytes - self.at)
        length = rest if size is None or size < 0 else min(size, rest)
        if length > MOST_AT_ONCE:
            raise ValueError(f"{length:,} bytes at once are refused, more than {MOST_AT_ONCE:,}")
        try:
            data = self.read_part(self.at, length) if length else b""
        except Exception as error:
            self.failure = error  # libraries that read the file turn it into an error of their own
            raise
        self.at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
