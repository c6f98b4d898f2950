"""Home of READ and DECODE in a row: manifest rows become pixels, in order, with the next ones under way.

Training, calibration and scoring all load through here, so the same picture gives the same pixels in each.
"""

import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain, islice
from threading import Event

import pyarrow as pa

from rayae.archives import page_of
from rayae.errors import ClusterError
from rayae.preprocess import Picture, Preprocess
from rayae.reader import NEVER, Image, Reader
from rayae.results import Status
from rayae.storage import is_local
from rayae.traffic import Traffic

AHEAD_IMAGES = 512
AHEAD_BYTES = 256 * 1024**2
"""Images under way before the one that is awaited, and bytes of their pixels: twice the micro-batch of a GPU, so that
it does not wait for the disk, and few enough to hold when pictures are large."""
MOST_TAKEN, TAKEN_BYTES = 8, 256 * 1024
"""Files of a disk that a thread takes at a time, and their bytes: to hand over one of 10 kB costs half as much as to
decode it, since threads take turns with the interpreter."""
REQUESTED_BYTES = 256 * 1024**2
FEWEST_REQUESTS, UNKNOWN_BYTES = 32, 2 * 1024**2
"""Bytes of files that are asked for at a time where they are far away, how many files at least, and for how large a
file is taken whose size nobody knows."""
ROWS_AT_ONCE = 4096
"""Images whose names are brought to Python at a time: all names of 10^7 images would be some GB."""
WHERE = ("uri", "size_bytes", "etag", "container", "place")
"""The columns of a manifest that say where an image is."""
ALONE = nullcontext()
TRIES_A_PICTURE = 2
"""Fresh processes that a picture must kill before it is named: one may have died of something else."""


def images_of(table: pa.Table) -> list[Image]:
    """The images of manifest rows."""
    return [Image(*row) for row in zip(*(table[name].to_pylist() for name in WHERE), strict=True)]


@dataclass(frozen=True)
class Loaded:
    """One image after reading and decoding; `picture.pixels` is `[H, W, C]` uint8 when the status is `scored`."""

    picture: Picture
    size_bytes: int | None
    digest: str | None
    fetch_seconds: float
    decode_seconds: float
    traffic: Traffic = field(default_factory=Traffic)


@dataclass(frozen=True)
class Loader:
    """Reads and decodes; `isolated`: in a child process, so that a picture that kills it is named and survived."""

    reader: Reader
    preprocess: Preprocess
    threads: int
    digests: bool = False
    isolated: bool = False

    def load(self, images: pa.Table) -> Generator[Loaded]:
        """Load manifest rows; one `Loaded` a row, in their order, whatever happens to a row. May be closed early."""
        return self.load_all(images.slice(first, ROWS_AT_ONCE) for first in range(0, images.num_rows, ROWS_AT_ONCE))

    def load_all(self, tables: Iterable[pa.Table]) -> Generator[Loaded]:
        """The same of several tables, one after the other, each asked for when images of it come into sight."""
        parts = (images_of(table) for table in tables)
        return self._load_isolated(parts) if self.isolated else self._load_in_threads(parts)

    def load_one(self, image: Image, decoding: AbstractContextManager[object] = ALONE, stop: Event = NEVER) -> Loaded:
        """Read and decode one image; `decoding` is held while it is decoded, `stop` ends its further tries."""
        started = time.perf_counter()
        fetched = self.reader.read(image, stop)
        read = time.perf_counter()
        if fetched.data is None:
            failed = Picture(None, fetched.status, fetched.error, None, None)
            return Loaded(failed, fetched.size_bytes, None, read - started, 0.0, fetched.traffic)
        with decoding:
            begun = time.perf_counter()
            picture = self.preprocess.decode(fetched.data, page_of(image.place))
            digest = digest_of(fetched.data) if self.digests else None
            seconds = (read - started, time.perf_counter() - begun)
            return Loaded(picture, fetched.size_bytes, digest, *seconds, fetched.traffic)

    def _load_some(self, images: list[Image], decoding: AbstractContextManager[object], stop: Event) -> list[Loaded]:
        return [self.load_one(image, decoding, stop) for image in images if not stop.is_set()]

    def requests_for(self, images: Sequence[Image]) -> int:
        """How many files to ask for at a time, from what is known of some: fewer of large ones, which lie in memory."""
        sizes = [UNKNOWN_BYTES if image.size_bytes is None else image.size_bytes for image in images]
        fit = REQUESTED_BYTES * len(sizes) // max(1, sum(sizes))
        return min(self.reader.concurrency, max(FEWEST_REQUESTS, fit))

    def _load_in_threads(self, parts: Iterator[list[Image]]) -> Generator[Loaded]:
        """Disks are read by as many threads as decode; storage that is far away by more, which mostly wait for it.

        Which it is the first part says.
        """
        first = next(parts, [])
        waiting: deque[Future[list[Loaded]]] = deque()
        picture_bytes = self.preprocess.height * self.preprocess.width * self.preprocess.channels
        ahead = max(self.threads, min(AHEAD_IMAGES, AHEAD_BYTES // picture_bytes))
        is_far = are_far(first)
        fair = min(ahead, len(first)) // (2 * self.threads)  # so that each thread has some, whatever is ahead
        at_once = 1 if is_far else max(1, min(at_a_time(first), fair))
        decoding, stop = threading.Semaphore(self.threads), threading.Event()
        with ThreadPoolExecutor(self.threads + (self.requests_for(first) if is_far else 0)) as pool:
            try:
                images = chain(first, chain.from_iterable(parts))
                while some := list(islice(images, at_once)):
                    waiting.append(pool.submit(self._load_some, some, decoding, stop))
                    if len(waiting) * at_once > ahead:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                stop.set()
                for future in waiting:
                    future.cancel()

    def _load_isolated(self, parts: Iterator[list[Image]]) -> Generator[Loaded]:
        child = _Child()
        try:
            for image in chain.from_iterable(parts):
                yield child.load(self, image)
        finally:
            child.pool.shutdown(cancel_futures=True)


def are_far(images: Sequence[Image]) -> bool:
    """Whether one of the images is not on a disk."""
    return any(not is_local(image.container or image.uri) for image in images)


def at_a_time(images: Sequence[Image]) -> int:
    """How many files of a disk a thread takes at a time, by the sizes of some: several of small ones."""
    sizes = [TAKEN_BYTES if image.size_bytes is None else image.size_bytes for image in images]
    return max(1, min(MOST_TAKEN, TAKEN_BYTES * len(sizes) // max(1, sum(sizes))))


class _Child:
    """A process that reads and decodes one picture at a time; another takes its place when a picture kills it."""

    def __init__(self) -> None:
        self.pool = _pool()

    def load(self, loader: Loader, image: Image) -> Loaded:
        for _ in range(TRIES_A_PICTURE):
            try:
                return self.pool.submit(loader.load_one, image).result()
            except BrokenProcessPool:
                self.pool.shutdown()
                self.pool = _pool()
        return _crashed(image)


def _pool() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    try:
        pool.submit(_is_alive).result()
    except BrokenProcessPool as error:
        raise ClusterError(
            "a process for decoding in isolation dies before it has read a picture; "
            "look at the memory of this machine and at what is printed above."
        ) from error
    return pool


def _is_alive() -> bool:
    return True


def _crashed(image: Image) -> Loaded:
    sentence = f"It killed {TRIES_A_PICTURE} processes that read and decoded it alone; do not open it unguarded."
    return Loaded(Picture(None, Status.DECODER_CRASHED, sentence, None, None), image.size_bytes, None, 0.0, 0.0)


def digest_of(data: bytes) -> str:
    """A BLAKE2b digest of an image's bytes, in hex, by which it is known again under another name."""
    return blake2b(data, digest_size=16).hexdigest()
