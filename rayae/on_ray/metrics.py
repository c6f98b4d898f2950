"""Home of what a run tells Ray's metrics, from where Prometheus takes it; `cluster/README.md` has the same list."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ray.util.metrics import Counter, Gauge

from rayae.results import ChunkSummary

NAMES = {
    "rayae_images": "Images that have got their rows, by status.",
    "rayae_flagged": "Images that have been flagged as anomalies.",
    "rayae_stage_seconds": "Seconds of workers by stage (fetch, decode, wait, model), all threads together.",
    "rayae_images_left": "Images that have no rows yet.",
    "rayae_active": "1 while a driver scores the run, 0 when it has ended.",
}
"""The metrics, each with the tag `run`; Ray puts `ray_` before the names, and Prometheus `_total` behind counters."""


class Metrics:
    """The metrics of one run, told by its driver as the summaries of chunks come."""

    def __init__(self, run: str, left: int) -> None:
        self.run, self.left = run, left
        self.images, self.flagged, self.seconds = (
            Counter(name, NAMES[name], ("run", *tags))
            for name, tags in (
                ("rayae_images", ("status",)),
                ("rayae_flagged", ()),
                ("rayae_stage_seconds", ("stage",)),
            )
        )
        self.images_left, self.active = (
            Gauge(name, NAMES[name], ("run",)) for name in ("rayae_images_left", "rayae_active")
        )

    def tell(self, summary: ChunkSummary) -> None:
        """Count a chunk that is done."""
        for status, count in summary.by_status.items():
            self.images.inc(count, {"run": self.run, "status": status})
        if summary.flagged:
            self.flagged.inc(summary.flagged, {"run": self.run})
        for stage, seconds in summary.seconds.items():
            if seconds > 0:
                self.seconds.inc(seconds, {"run": self.run, "stage": stage})
        self.left -= summary.images
        self.images_left.set(self.left, {"run": self.run})

    @contextmanager
    def of_a_driver(self) -> Iterator[None]:
        """Say that a driver is at work while the block lasts."""
        self.images_left.set(self.left, {"run": self.run})
        self.active.set(1, {"run": self.run})
        try:
            yield
        finally:
            self.active.set(0, {"run": self.run})


def told(run: str, summaries: Iterable[ChunkSummary], left: int) -> Iterator[ChunkSummary]:
    """The summaries as they come, each told; `left` images are to be done."""
    metrics = Metrics(run, left)
    with metrics.of_a_driver():
        for summary in summaries:
            metrics.tell(summary)
            yield summary
