"""LIST in parallel: home of ranges of keys, and of the threads of which an idle one takes half of a busy one's range.

Nobody knows beforehand where the keys of a bucket lie. A range that turns out to be long is cut at a key between the
one that was reached and its end, whether there is such a key or not, and the far half becomes a range of its own.
"""

import contextlib
import string
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from rayae.errors import StorageError

Pages = Callable[[str, str | None], Iterator[pa.RecordBatch]]
"""The objects below a URI prefix whose key is above another, in the order of their keys: `objects.pages`."""
WORKERS = 16
"""Requests under way at once."""
LOOK_AHEAD_ROWS = 262_144
"""Objects that are held because others come before them; some times as many, where ranges were cut again and again."""
MOST_HELD_ROWS = 4 * LOOK_AHEAD_ROWS
FULL_PAGE_ROWS = 1000
"""A range is cut when it has given so many objects, ..."""
PAGES_BEFORE_A_LATE_CUT = 3
"""... or, once every thread has had work, as many such pages, ..."""
FEWEST_LEFT_PAGES = 4
"""... and when it seems to have so many of them left: of the page that is under way at a cut half is thrown away."""
SECONDS_TO_END = 5.0
"""A thread that waits for storage longer than this is left behind when a listing is given up."""
SPARE_REQUESTS = 32
PAGES_A_SPARE_REQUEST = 8
"""Cuts that find nothing behind them may be so many, and one for every eight pages."""
KINDS = (string.digits, string.ascii_uppercase, string.ascii_lowercase)
PLAIN = sorted("-_" + "".join(KINDS))
"""Characters to cut at: none that a client would encode, normalise or take for the end of a folder."""
BLOCKS = (0x80, 0x800, 0x3000, 0xA000, 0xD800, 0x10000, 0x20000, 0x110000)
"""Where scripts end in Unicode, roughly: behind the last known key nothing much further is expected."""
SURROGATES = range(0xD800, 0xE000)
DEPTH = 7
"""Characters that say where a key lies between two others."""


@dataclass(eq=False)
class Range:
    """The keys below a prefix that are above `reached` and not above `upto`; None is the beginning, or the end."""

    prefix_uri: str
    reached: str | None = None
    upto: str | None = None
    first: str | None = None
    """The first key that was found, once there is one."""
    rows: int = 0
    """Objects that were found."""
    pages: deque[pa.RecordBatch] = field(default_factory=deque)
    """Those that were not handed on yet."""
    held: int = 0
    """Objects in them."""
    is_taken: bool = False
    """Whether a thread lists it."""
    is_done: bool = False

    @property
    def bucket(self) -> str:
        return "/".join(self.prefix_uri.split("/", 3)[:3]) + "/"

    @property
    def fixed(self) -> int:
        """Characters that all keys share."""
        return len(self.prefix_uri) - len(self.bucket)

    def left(self) -> float:
        """Objects that may still come, judged by how far its keys have come."""
        if self.first is None or self.reached is None:
            return 0.0
        known = self.fixed if self.upto is None else _alike(self.first, self.upto)
        begin, here = _position(self.first[known:]), _position(self.reached[known:])
        end = _position(_beyond(self.reached[known:]) if self.upto is None else self.upto[known:])
        return self.rows * max(end - here, 0) / max(here - begin, 1)

    def cut(self) -> "Range | None":
        """The far half of what is left, which is taken away; None when it cannot be cut."""
        if self.is_done or self.reached is None or self.left() < FEWEST_LEFT_PAGES * FULL_PAGE_ROWS:
            return None
        middle = between(self.reached, self.upto, self.fixed, _alike(str(self.first), self.reached))
        if middle is None:
            return None
        far = Range(self.prefix_uri, reached=middle, upto=self.upto)
        self.upto = middle
        return far


def between(low: str, high: str | None, fixed: int = 0, steady: int = 0) -> str | None:
    """A key above `low` and below `high`, or None when none is found.

    Without a `high` the first `fixed` characters stay, since all keys share them. The keys so far share `steady` ones:
    where such a character is none of a small alphabet, the cut is right behind it, not far off in an unknown script.
    """
    at = fixed if high is None else _alike(low, high)
    ceiling = None if high is None else high[at]
    while at <= len(low):
        if ceiling is None and at < min(steady, len(low)) and low[at] > "\x7f":
            middle = chr(ord(low[at]) + 1) if low[at] not in ("\ud7ff", "\U0010ffff") else None
        else:
            middle = _middle(low[at] if at < len(low) else None, ceiling)
        if middle is not None:
            return low[:at] + middle
        if at == len(low) and ceiling is not None:
            return None
        at, ceiling = at + 1, None  # whatever begins as `low` does up to here is below `high`
    return None


def _middle(floor: str | None, ceiling: str | None) -> str | None:
    """A character above one and below another: in the middle of those of the floor's kind, as digits go with digits.

    When its kind is through, the next one above it: mostly nothing follows, and one request tells that of all of them.
    """
    low = -1 if floor is None else ord(floor)
    high = next(block for block in BLOCKS if block > low) if ceiling is None else ord(ceiling)
    plain = [character for character in PLAIN if low < ord(character) < high]
    kind = next((kind for kind in KINDS if floor is not None and floor in kind), "")
    alike = [character for character in plain if character in kind or floor is None]
    if plain:
        return alike[len(alike) // 2] if alike else plain[0]
    point = (max(low, 0x7F) + high) // 2
    if point in SURROGATES:
        point = SURROGATES.stop if SURROGATES.stop < high else SURROGATES.start - 1
    return chr(point) if max(low, 0x7F) < point < high else None


def _alike(one: str, other: str) -> int:
    """Characters that two keys begin with alike."""
    differ = (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(differ, min(len(one), len(other)))


def _position(key: str) -> int:
    """Where a key lies among all keys."""
    return sum(ord(character) * BLOCKS[-1] ** (DEPTH - place) for place, character in enumerate(key[:DEPTH]))


def _beyond(key: str) -> str:
    """A character behind all that are likely to come after a key."""
    block = next(block for block in BLOCKS if block > ord(key[:1] or "\0"))
    return chr(min(block, BLOCKS[-1] - 1))


def listed(prefix_uris: Sequence[str], pages: Pages, workers: int = WORKERS) -> Iterator[pa.RecordBatch]:
    """The objects below these prefixes, one prefix after the other, each in the order of its keys.

    Closing the iterator ends the threads. StorageError when the storage does not list in the order of the keys.
    """
    lister = _Lister([Range(uri) for uri in prefix_uris], pages, workers)
    with contextlib.closing(lister):
        yield from lister.batches()


class _Lister:
    """The ranges in their order, and the threads that list them; one lock holds all of it."""

    def __init__(self, ranges: list[Range], pages: Pages, workers: int) -> None:
        self.ranges, self.pages, self.workers = ranges, pages, workers
        self.lock = threading.Lock()
        self.arrived, self.work = threading.Condition(self.lock), threading.Condition(self.lock)
        self.threads: list[threading.Thread] = []
        self.error: BaseException | None = None
        self.is_closed = False
        self.requests = self.spare = self.cuts = self.held = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What the first range has, then what the next one has; raises what a thread met."""
        with self.lock:
            self._hire(min(self.workers, len(self.ranges)))
        while (page := self._next()) is not None:
            yield page

    def _next(self) -> pa.RecordBatch | None:
        with self.lock:
            while self.ranges:
                head = self.ranges[0]
                if self.error is not None:
                    raise self.error
                if head.pages:
                    page = head.pages.popleft()
                    head.held -= page.num_rows
                    self.held -= page.num_rows
                    self.work.notify()
                    return page
                if head.is_done:
                    self.ranges.pop(0)
                    self.work.notify()
                else:
                    self.arrived.wait()
        return None

    def close(self) -> None:
        with self.lock:
            self.is_closed = True
            self.work.notify_all()
        for thread in self.threads:
            thread.join(SECONDS_TO_END)

    def _hire(self, count: int) -> None:
        while len(self.threads) < count:
            thread = threading.Thread(target=self._run, name=f"list-{len(self.threads)}", daemon=True)
            self.threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            try:
                self._list(taken)
            except BaseException as error:  # noqa: BLE001  it is raised where the objects are taken
                with self.lock:
                    self.error = self.error or error
                    self.arrived.notify()
                    self.work.notify_all()

    def _take(self) -> Range | None:
        """The next range to list, as soon as there is one; None when there is no more to do."""
        with self.lock:
            while not self.is_closed and self.error is None:
                found = self._waiting() or self._cut()
                if found is not None:
                    found.is_taken = True
                    return found
                if all(one.is_done for one in self.ranges):
                    self.work.notify_all()
                    return None
                self.work.wait()
        return None

    def _with_room(self) -> Iterator[Range]:
        """The ranges that may go on: those up to which not too much is held, so that the first one soon can again."""
        held = 0
        for one in self.ranges:
            held += one.held
            if held >= LOOK_AHEAD_ROWS or (one is not self.ranges[0] and self.held >= MOST_HELD_ROWS):
                return
            yield one

    def _waiting(self) -> Range | None:
        return next((one for one in self._with_room() if not (one.is_taken or one.is_done)), None)

    def _cut(self) -> Range | None:
        """Half of the range that has most left, unless too many cuts have found nothing."""
        if self.spare >= SPARE_REQUESTS + self.requests // PAGES_A_SPARE_REQUEST:
            return None
        needed = FULL_PAGE_ROWS * min(PAGES_BEFORE_A_LATE_CUT, 1 + self.cuts // self.workers)
        busy = [one for one in self._with_room() if one.is_taken and one.rows >= needed]
        for one in sorted(busy, key=Range.left, reverse=True):
            far = one.cut()
            if far is not None:
                self.cuts += 1
                self.ranges.insert(self.ranges.index(one) + 1, far)
                return far
        return None

    def _list(self, taken: Range) -> None:
        for page in self.pages(taken.prefix_uri, taken.reached):
            if page.num_rows and not self._put(taken, page):
                return
        with self.lock:
            self._finish(taken)

    def _put(self, taken: Range, page: pa.RecordBatch) -> bool:
        """Add a page to a range; whether its thread goes on with it."""
        uris, skip = page["uri"], len(taken.bucket)
        first, last = uris[0].as_py()[skip:], uris[-1].as_py()[skip:]
        is_in_order = (taken.reached is None or first > taken.reached) and pc.all(pc.less(uris[:-1], uris[1:])).as_py()
        if is_in_order is False:  # null, when there is one key, is well
            raise StorageError(
                f"{taken.prefix_uri} is not listed in the order of its keys (after {taken.reached!r} came {first!r}), "
                "so nobody could tell whether a listing is whole; give a list of the URIs instead."
            )
        with self.lock:
            self.requests += 1
            is_last = taken.upto is not None and last > taken.upto
            fits = pc.sum(pc.less_equal(uris, f"{taken.bucket}{taken.upto}")).as_py() if is_last else page.num_rows
            if fits:
                taken.pages.append(page.slice(0, fits))
                taken.first, taken.reached = taken.first or first, last
                taken.rows += fits
                taken.held += fits
                self.held += fits
            if is_last:
                self._finish(taken)
                return False
            if taken is self.ranges[0]:
                self.arrived.notify()
            if taken.rows >= FULL_PAGE_ROWS:
                self._hire(self.workers)
                self.work.notify()
            is_stopped = self.is_closed or self.error is not None
            taken.is_taken = not is_stopped and any(one is taken for one in self._with_room())
            return taken.is_taken

    def _finish(self, taken: Range) -> None:
        taken.is_done = True
        self.spare += taken.rows == 0
        if taken is self.ranges[0]:
            self.arrived.notify()
