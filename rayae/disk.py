"""Home of the files of this machine: written whole or not at all, and opened without ever waiting. Raises OSErrors."""

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rayae.errors import StorageError

SECONDS_OF_A_WRITE = 3600.0


class NotAFile(StorageError):
    """There is something at a path that is no file: a folder, FIFO, socket or device."""


@dataclass(frozen=True)
class Entry:
    """A file in a directory: its name, bytes, and when it was written, in seconds since 1970, where that is known."""

    name: str
    size_bytes: int
    modified: float | None


def open_file(path: str) -> IO[bytes]:
    """Open a file for reading, without a buffer; what is none is never waited for. NotAFile."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise NotAFile(f"cannot read {path}: it is no file.")
    return open(opened, "rb", buffering=0)


def read_tail(path: str, count: int) -> bytes:
    """The last `count` bytes of a file, or all of a shorter one."""
    with open(path, "rb", buffering=0) as plain:
        size_bytes = os.fstat(plain.fileno()).st_size
        return os.pread(plain.fileno(), count, max(0, size_bytes - count))


def list_files(path: str) -> list[Entry]:
    """The files that lie directly in a directory, in any order; none when there is no directory."""
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as found:
        files = [(entry.name, entry.stat()) for entry in found if entry.is_file()]
    return [Entry(name, status.st_size, status.st_mtime) for name, status in files]


def write(path: Path, data: bytes, put_in_place: Callable[[Path, Path], None]) -> bool:
    """Write beside the place and then put it there by one call; False when that finds the place taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as (beside, file):
        file.write(data)
        _to_disk(file)
        try:
            put_in_place(beside, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def growing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write piece by piece; it appears whole when the block ends, and not at all when it raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as (beside, file):
        yield file
        _to_disk(file)
        os.replace(beside, path)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file beside a file."""
    with open(path.with_name(f".{path.name}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def sweep(path: Path) -> None:
    """Remove what killed writers have left in a directory; a writer of the last hour is left alone."""
    for part in path.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > SECONDS_OF_A_WRITE:
                part.unlink()


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file beside the place, gone when the block ends unless it was moved."""
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")  # 40: a name holds 255 bytes
    try:
        with open(beside, "wb") as file:
            yield beside, file
    finally:
        beside.unlink(missing_ok=True)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
