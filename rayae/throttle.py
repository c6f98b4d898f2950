"""Home of how many requests go to one storage at a time: fewer when it is busy, more again when it answers.

Additive increase, multiplicative decrease, as TCP does it (Jacobson 1988, "Congestion avoidance and control").
"""

import functools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_CUTS = 1.0
"""Requests that were under way together are refused together, and count as one sign."""
FEWEST = 1.0
OUTAGE_FAILURES = 16
"""Tries in a row that must have failed before storage counts as out of order, and not some of its objects."""


class Throttle:
    """Lets at most so many requests go to one storage at a time; many threads share it."""

    def __init__(self, most: int) -> None:
        self.most = self.limit = float(most)
        self._under_way = 0
        self._cut_at = float("-inf")
        self._changed = threading.Condition()
        self._failed_since: float | None = None
        self._failures = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn, and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way < max(FEWEST, int(self.limit)))
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify()

    def answered(self) -> None:
        """Storage gave what was asked, or said for good that it will not."""
        with self._changed:
            self._failed_since, self._failures = None, 0
            if self.limit < self.most:
                self.limit = min(self.most, self.limit + 1 / max(self.limit, FEWEST))
                self._changed.notify()

    def failed(self, *, is_busy: bool) -> None:
        """Storage gave no answer, or asked to be left alone (`is_busy`): then half as many go on."""
        now = time.monotonic()
        with self._changed:
            self._failures += 1
            self._failed_since = self._failed_since or now
            if is_busy and now - self._cut_at >= SECONDS_BETWEEN_CUTS:
                self.limit, self._cut_at = max(FEWEST, self.limit / 2), now

    def out_of_order_s(self) -> float:
        """Seconds for which nothing at all was answered; 0 while some requests are, or few have been tried."""
        with self._changed:
            if self._failed_since is None or self._failures < OUTAGE_FAILURES:
                return 0.0
            return time.monotonic() - self._failed_since


@functools.lru_cache(maxsize=1024)
def throttle_of(place: str, most: int) -> Throttle:
    """The throttle of this process for a bucket or a host."""
    return Throttle(most)


def backoff_s(base_s: float, longest_s: float, failures: int) -> float:
    """Seconds to wait after so many failures: exponential with full jitter, so that clients do not return together."""
    return random.uniform(0, min(longest_s, base_s * 2.0 ** min(failures, 30)))
