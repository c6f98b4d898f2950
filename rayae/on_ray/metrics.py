"""Home of what a run tells Ray's metrics, for Prometheus to take; `cluster/monitoring/README.md` has the same list."""

import threading
import time
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from ray.util.metrics import Counter, Gauge

from rayae.manifest import Chunk
from rayae.pace import Pace
from rayae.results import ChunkSummary

COUNTERS = {
    "rayae_images": "Images that have got their rows, by status.",
    "rayae_flagged": "Images that have been flagged as anomalies.",
    "rayae_stage_seconds": "Seconds of workers by stage (fetch, decode, wait, model, write), all threads together.",
    "rayae_read_bytes": "Bytes of images that came from storage.",
    "rayae_requests": "Requests for images to object storage and web servers, each try by itself.",
    "rayae_retries": "Requests that were sent because the one before had failed.",
    "rayae_throttled": "Requests that storage answered with the wish for fewer (503, 429).",
}
GAUGES = {
    "rayae_images_left": "Images that have no rows yet.",
    "rayae_seconds_left": "Seconds until all images have their rows, at the rate so far.",
    "rayae_workers": "Workers that score, each with a GPU where there are GPUs.",
    "rayae_started_timestamp_seconds": "When the driver began, in seconds since 1970.",
    "rayae_finish_by_timestamp_seconds": "When the run should be done (`finish_by=`), in seconds since 1970.",
    "rayae_active": "1 while a driver scores the run, 0 when it has ended.",
}
NAMES = COUNTERS | GAUGES
"""The metrics, each with the tag `run`; Ray puts `ray_` before the names, and Prometheus `_total` behind counters."""
TAGS = {"rayae_images": "status", "rayae_stage_seconds": "stage"}
TRAFFIC = {
    "bytes": "rayae_read_bytes",
    "requests": "rayae_requests",
    "retries": "rayae_retries",
    "throttled": "rayae_throttled",
}

SECONDS_BETWEEN_BEATS = 5.0
"""Ray 2.60 passes the value of a gauge on once, and drops it 20 s later: what still holds is to be said again."""


@dataclass(frozen=True)
class Job:
    """What a driver is about to do of a run."""

    run: str
    workers: int
    retried: Sequence[str] = ()
    """Statuses whose images are tried again; the other rows of their chunks stay as they are, and are not told."""
    former: Mapping[int, ChunkSummary] = field(default_factory=dict)
    """Summaries of chunks whose images are tried again."""
    finish_by: datetime | None = None

    def images(self, chunk: Chunk) -> int:
        """Images of a chunk that are to be done."""
        if chunk.number not in self.former:
            return chunk.rows
        return sum(self.former[chunk.number].by_status.get(status, 0) for status in self.retried)

    def done(self, summary: ChunkSummary) -> ChunkSummary:
        """What of a chunk has been done now; a summary also counts what was done before it was tried again."""
        former = self.former.get(summary.chunk)
        if former is None:
            return summary
        untouched = {status: count for status, count in former.by_status.items() if status not in self.retried}
        by_status = Counts(summary.by_status) - Counts(untouched)
        return replace(
            summary,
            images=by_status.total(),
            by_status=dict(by_status),
            flagged=summary.flagged - former.flagged,
            seconds={stage: value - former.seconds.get(stage, 0.0) for stage, value in summary.seconds.items()},
            traffic={name: count - former.traffic.get(name, 0) for name, count in summary.traffic.items()},
        )


class Metrics:
    """The metrics of one run, told by its driver as the summaries of chunks come."""

    def __init__(self, job: Job, left: int) -> None:
        self.job, self.pace, self.started = job, Pace(left), time.time()
        tags = {name: ("run", TAGS[name]) if name in TAGS else ("run",) for name in NAMES}
        self.counters = {name: Counter(name, sentence, tags[name]) for name, sentence in COUNTERS.items()}
        self.gauges = {name: Gauge(name, sentence, tags[name]) for name, sentence in GAUGES.items()}

    def tell(self, summary: ChunkSummary) -> None:
        """Count a chunk that is done."""
        done = self.job.done(summary)
        for status, count in done.by_status.items():
            self._count("rayae_images", count, status)
        self._count("rayae_flagged", done.flagged)
        for stage, seconds in done.seconds.items():
            self._count("rayae_stage_seconds", seconds, stage)
        for key, name in TRAFFIC.items():
            self._count(name, done.traffic.get(key, 0))
        self.pace.advance(done.images)

    def beat(self) -> None:
        """Say what holds now: that the driver is there, what is left, and for how long."""
        self._set("rayae_active", 1)
        self._set("rayae_workers", self.job.workers)
        self._set("rayae_started_timestamp_seconds", self.started)
        if self.job.finish_by is not None:
            self._set("rayae_finish_by_timestamp_seconds", self.job.finish_by.timestamp())
        self._set("rayae_images_left", (self.pace.total or 0) - self.pace.done)
        seconds = self.pace.seconds_left()
        if seconds is not None:
            self._set("rayae_seconds_left", seconds)

    def _count(self, name: str, amount: float, tag: str = "") -> None:
        if amount > 0:  # Ray takes no other
            self.counters[name].inc(amount, {"run": self.job.run, **({TAGS[name]: tag} if tag else {})})

    def _set(self, name: str, value: float) -> None:
        self.gauges[name].set(value, {"run": self.job.run})

    @contextmanager
    def of_a_driver(self) -> Iterator[None]:
        """Say that a driver is at work while the block lasts."""
        over = threading.Event()

        def keep_beating() -> None:
            while not over.wait(SECONDS_BETWEEN_BEATS):
                self.beat()

        beating = threading.Thread(target=keep_beating, daemon=True)
        self.beat()
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()
            self.beat()
            self._set("rayae_active", 0)


def told(job: Job, summaries: Iterable[ChunkSummary], left: Sequence[Chunk]) -> Iterator[ChunkSummary]:
    """The summaries of the chunks that are `left` as they come, each told."""
    metrics = Metrics(job, sum(job.images(chunk) for chunk in left))
    with metrics.of_a_driver():
        for summary in summaries:
            metrics.tell(summary)
            yield summary
