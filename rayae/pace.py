"""Home of how fast a job goes and how long it still takes, the same for a person's eyes and for Prometheus."""

import time


class Pace:
    """What is done of a `total`, which may be unknown; `already` was done before, and says nothing of the rate."""

    def __init__(self, total: int | None, already: int = 0) -> None:
        self.total = total
        self.done = self.counted_from = already
        self.started: float | None = None

    def advance(self, count: int) -> None:
        """Count what came in; what came before the first result was starting up, and says nothing of the rate."""
        self.done += count
        if self.started is None:
            self.started, self.counted_from = time.monotonic(), self.done

    def rate(self) -> float:
        """Units a second since the first came in; 0 while that is not known."""
        if self.started is None or self.done == self.counted_from:
            return 0.0
        return (self.done - self.counted_from) / max(time.monotonic() - self.started, 1e-9)

    def seconds_left(self) -> float | None:
        """The time left at the rate so far; None while it is not known."""
        rate = self.rate()
        if self.total is None or (rate <= 0 and self.done < self.total):
            return None
        return (self.total - self.done) / rate if rate > 0 else 0.0


def in_words(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
