"""Home of the small cache of what several images share: the footer and the row groups of a Parquet, a file of pages.

Rows and pages come one after another, so that the last few parts are enough. One thread reads a part, the others wait.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

MOST_BYTES = 256 * 1024**2
KEPT_ALWAYS = 2
"""The parts used last are kept whatever they hold: at the border of two row groups, threads read rows of both."""

T = TypeVar("T")
Key = tuple[str, str | None, Hashable]


class Cache:
    """Parts of archives, by archive and name; for many threads. Sent to another process it arrives empty."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._parts: OrderedDict[Key, Future[Any]] = OrderedDict()
        self._sizes: dict[Key, int] = {}

    def __reduce__(self) -> tuple[Callable[[int], "Cache"], tuple[int]]:
        return _cache_of_process, (self.most_bytes,)

    def of(self, container: str, etag: str | None) -> "Shelf":
        """The place of one archive, in one version, in the cache."""
        return Shelf(self, container, etag)

    def get(self, key: Key, make: Callable[[], T], size_of: Callable[[T], int]) -> T:
        """The part of this name, made by the first who asks; what that raises goes to all who wait, and is not kept."""
        with self._lock:
            future: Future[T] | None = self._parts.get(key)
            is_first = future is None
            if future is None:
                future = self._parts[key] = Future()
            self._parts.move_to_end(key)
        if is_first:
            self._fill(key, future, make, size_of)
        return future.result()

    def _fill(self, key: Key, future: Future[T], make: Callable[[], T], size_of: Callable[[T], int]) -> None:
        try:
            value = make()
            size_bytes = size_of(value)
        except BaseException as error:
            with self._lock:
                del self._parts[key]
            future.set_exception(error)
            raise
        with self._lock:
            self._sizes[key] = size_bytes
            self._make_room()
        future.set_result(value)

    def _make_room(self) -> None:
        used = sum(self._sizes.values())
        for key in [key for key in self._parts if key in self._sizes][:-KEPT_ALWAYS]:
            if used <= self.most_bytes:
                return
            used -= self._sizes.pop(key)
            del self._parts[key]


@functools.cache
def _cache_of_process(most_bytes: int) -> Cache:
    """One for all readers that arrive in this process: a process that decodes alone gets a reader with each image."""
    return Cache(most_bytes)


@dataclass(frozen=True)
class Shelf:
    """What the cache has of one archive."""

    cache: Cache
    container: str
    etag: str | None

    def get(self, part: Hashable, make: Callable[[], T], size_of: Callable[[T], int]) -> T:
        return self.cache.get((self.container, self.etag, part), make, size_of)
