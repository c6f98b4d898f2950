"""Home of what the driver does with the summaries of chunks: it counts, judges and tells."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rayae.failure_budget import FailureBudget
from rayae.results import ChunkSummary, Status
from rayae.run import Run, total
from rayae.stages import shares_in_words
from rayae.terminal import Progress


@dataclass(frozen=True)
class Pass:
    """What one driver has done of a run."""

    wall_seconds: float
    images_per_second: float
    seconds: Mapping[str, float]
    """Of its workers, by stage."""


def follow(run: Run, summaries: Iterable[ChunkSummary], budget: FailureBudget, left: int, what: str = "score") -> Pass:
    """Consume the summaries of a run as they come: progress, failure budget; returns what it took."""
    before = total(run.summaries())
    started, done, flagged = time.monotonic(), 0, before["flagged"]
    failed = before["images"] - before["by_status"].get(Status.SCORED, 0)
    seconds = Counter[str]()
    with Progress(what, run.rows, already=run.rows - left) as progress:
        for summary in summaries:
            done, flagged, failed = done + summary.images, flagged + summary.flagged, failed + summary.failed
            budget.spend(summary.by_status)
            seconds.update(summary.seconds)
            flags = f"{flagged:,} flagged" if run.has_threshold else ""
            note = ", ".join(filter(None, [flags, f"{failed:,} failed", shares_in_words(seconds)]))
            stages = {stage: round(value, 2) for stage, value in seconds.items()}
            progress.advance(summary.images, note, flagged=flagged, failed=failed, stage_seconds=stages)
    wall = time.monotonic() - started
    return Pass(round(wall, 2), round(done / max(wall, 1e-9), 1), dict(seconds))
