"""Home of how many requests go to one storage at a time: fewer when it is busy, more again when it answers.

Additive increase, and a decrease by half the share that was refused, as in DCTCP (Alizadeh et al. 2010, "Data Center
TCP"): storage that refuses a few requests at random keeps most of them, storage that refuses all gets half as many.
"""

import functools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_CUTS = 1.0
"""Requests that were under way together are refused together, and count as one sign."""
SECONDS_BETWEEN_LOOKS = 0.5
"""Who waits for a turn looks so often whether to go on waiting."""
FEWEST = 1.0


class Throttle:
    """Lets at most so many requests go to one storage at a time; many threads share it."""

    def __init__(self, most: int) -> None:
        self.most = self.limit = float(most)
        self._under_way = 0
        self._cut_at = float("-inf")
        self._refused = self._answered = 0
        self._changed = threading.Condition()
        self._failed_since: float | None = None

    @contextmanager
    def turn(self, stop: threading.Event | None = None) -> Iterator[float]:
        """Wait for one's turn, and hold it; the seconds that were waited. Once `stop` is set nobody waits."""
        began = time.monotonic()
        with self._changed:
            while self._under_way >= max(FEWEST, int(self.limit)) and not (stop and stop.is_set()):
                self._changed.wait(SECONDS_BETWEEN_LOOKS)
            self._under_way += 1
        try:
            yield time.monotonic() - began
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify()

    def answered(self) -> None:
        """Storage gave what was asked, or said for good that it will not."""
        with self._changed:
            self._failed_since = None
            self._answered += 1
            if self.limit < self.most:
                self.limit = min(self.most, self.limit + 1 / max(self.limit, FEWEST))
                self._changed.notify()

    def failed(self, *, is_busy: bool) -> None:
        """Storage gave no answer, or asked to be left alone (`is_busy`): then fewer go on."""
        now = time.monotonic()
        with self._changed:
            self._failed_since = self._failed_since or now
            self._refused += is_busy
            if is_busy and now - self._cut_at >= SECONDS_BETWEEN_CUTS:
                share = self._refused / (self._refused + self._answered)
                self.limit, self._cut_at = max(FEWEST, self.limit * (1 - share / 2)), now
                self._refused = self._answered = 0

    def silent_s(self) -> float:
        """Seconds since the first of the tries in a row that have failed; 0 when the last one was answered."""
        with self._changed:
            return 0.0 if self._failed_since is None else time.monotonic() - self._failed_since


@functools.lru_cache(maxsize=1024)
def throttle_of(place: str, most: int) -> Throttle:
    """The throttle of this process for a bucket or a host."""
    return Throttle(most)


def backoff_s(base_s: float, longest_s: float, failures: int) -> float:
    """Seconds to wait after so many failures: exponential with full jitter, so that clients do not return together."""
    return random.uniform(0, min(longest_s, base_s * 2.0 ** min(failures, 30)))
