"""`rayae status`: how far a run is, seen from its files alone, so from any machine that reaches them."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayae import disk, jsonlines, storage
from rayae.errors import StorageError
from rayae.filelist import merged
from rayae.lease import LIMITS, Holder, holder_of
from rayae.manifest import Chunk
from rayae.pace import in_words
from rayae.results import ChunkSummary, chunk_name
from rayae.run import CHUNKS, FOOTER_READERS, Run
from rayae.settings import StatusSettings
from rayae.terminal import say, show_table

SECONDS_BETWEEN_LOOKS = 5.0
RATE_OVER_S = 300.0
"""The rate is that of the chunks of so many seconds before the last, or of the last two when they took longer."""

Seen = dict[tuple[str, float | None, int], ChunkSummary]
"""The summaries of chunk files that were read before, by name, time and size: only new files are read again."""


@dataclass(frozen=True)
class State:
    """How far a run is at one moment."""

    run: Run
    chunks_done: int
    summary: ChunkSummary
    images_per_second: float | None
    driver: str
    is_driven: bool
    success: dict[str, Any] | None
    files: int | None = None
    """Files of a compacted run."""
    lost_files: int = 0
    """Those of them that are no longer there."""

    def line(self) -> str:
        """The whole in one line."""
        flags = f"{self.summary.flagged:,} flagged" if self.run.has_threshold else ""
        failed = f"{self.summary.failed:,} failed"
        driver = "" if self.is_driven else f"driver: {self.driver}"
        return ", ".join(filter(None, [self.reached(), self.speed(), flags, failed, driver]))

    def reached(self) -> str:
        """Images and chunks that are done, of all."""
        chunks = f"{self.chunks_done:,} of {len(self.run.chunks):,} chunks"
        return f"{self.summary.images:,} of {self.run.rows:,} images in {chunks}"

    def speed(self) -> str:
        """Images a second and the time left, while somebody is at work."""
        left = self.seconds_left()
        return "" if left is None else f"{self.images_per_second:,.1f} images/s, {in_words(left)} left"

    def seconds_left(self) -> float | None:
        """None when all is done, when nobody is at work, or when nothing says how fast."""
        left = self.run.rows - self.summary.images
        return left / self.images_per_second if self.images_per_second and self.is_driven and left else None

    def figures(self) -> dict[str, Any]:
        """The whole as fields of a line of JSON; what is not known is null."""
        left = self.seconds_left()
        return {
            "images": self.run.rows,
            "done": self.summary.images,
            "left": self.run.rows - self.summary.images,
            "chunks": len(self.run.chunks),
            "chunks_done": self.chunks_done,
            "by_status": self.summary.by_status,
            "failed": self.summary.failed,
            "flagged": self.summary.flagged if self.run.has_threshold else None,
            "per_second": None if left is None or self.images_per_second is None else round(self.images_per_second, 3),
            "eta_s": None if left is None else round(left, 1),
            "is_driven": self.is_driven,
            "driver": self.driver,
            "finished": None if self.success is None else self.success["finished"],
        }

    def standing(self) -> str:
        """Whether it is finished, and what is to be done when it is not and nobody is at it."""
        if self.files is not None:
            lost = (
                f", of which {self.lost_files:,} are gone or cut; `rayae verify {self.run.uri}` names what was in them"
            )
            return f"finished, and compacted into {self.files:,} file(s){lost if self.lost_files else ''}"
        left = self.run.rows - self.summary.images
        if self.success is not None and not left:
            return f"finished at {self.success['finished']}"
        if self.success is not None:
            what = f"finished at {self.success['finished']}, but {left:,} rows are gone since"
        else:
            what = "not finished" if left else "all rows are there, the end is not written"
        return what if self.is_driven else f"{what}; `rayae score {self.run.uri}` goes on with it"


def status(settings: StatusSettings) -> None:
    """Show how far a run is; with `watch` again and again, until it is finished."""
    run, seen = Run.open(settings.run), Seen()
    state = look(run, seen)
    while settings.watch and state.success is None:
        say(state.line(), **state.figures())
        time.sleep(SECONDS_BETWEEN_LOOKS)
        state = look(run, seen)
    if jsonlines.is_begun():
        say(f"{state.line()}; {state.standing()}", **state.figures())
        return
    done = state.summary
    counts = sorted(done.by_status.items(), key=lambda item: -item[1])
    rows = [(name, f"{count:,}", f"{count / done.images:.2%}") for name, count in counts]
    show_table(state.reached(), ("status", "images", "share"), rows)
    if run.has_threshold:
        say(f"flagged as anomalies: {done.flagged:,}")
    if state.speed():
        say(f"speed: {state.speed()}")
    say(f"driver: {state.driver}")
    say(f"run: {state.standing()}")


def look(run: Run, seen: Seen) -> State:
    """The state of a run now; RunError when one of its files is not as planned."""
    try:
        return _look(run, seen)
    except StorageError:
        if run.file_list() is None:
            raise
        return _look(run, seen)  # it was compacted, and its chunk files removed, meanwhile


def _look(run: Run, seen: Seen) -> State:
    files = {entry.name: entry for entry in storage.list_files(storage.join(run.uri, CHUNKS))}
    listed = run.file_list()
    holder = holder_of(run.uri)
    driver, is_driven = told(holder, time.time())
    if listed is not None:
        count, kept, lost = len(run.chunks), len(listed.files), len(listed.lost(run.uri))
        return State(run, count, listed.summary, None, driver, is_driven, run.success(), kept, lost)
    done = [(chunk, files[name]) for chunk in run.chunks if (name := chunk_name(chunk.number)) in files]

    def summary(chunk: Chunk, file: disk.Entry) -> ChunkSummary:
        key = (file.name, file.modified, file.size_bytes)
        if key not in seen:
            seen[key] = run.summary_of(run.chunk_uri(chunk.number), chunk)
        return seen[key]

    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        summaries = list(pool.map(lambda pair: summary(*pair), done))
    speed = rate([(file.modified, chunk.rows) for chunk, file in done if file.modified is not None])
    return State(run, len(done), merged(summaries), speed, driver, is_driven, run.success())


def rate(written: list[tuple[float, int]]) -> float | None:
    """Images a second by when chunk files were written and how many rows they hold; None when that says nothing."""
    if len(written) < 2:
        return None
    times, rows = (np.array(values) for values in zip(*sorted(written), strict=True))
    first = min(int(np.searchsorted(times, times[-1] - RATE_OVER_S)), len(times) - 2)
    seconds = float(times[-1] - times[first])
    return float(rows[first + 1 :].sum()) / seconds if seconds > 0 else None


def told(holder: Holder | None, now: float) -> tuple[str, bool]:
    """Who holds the lease, in words, and whether that is a driver at work; `now` is in seconds since 1970."""
    if holder is None:
        return "none", False
    age = max(0, round(now - holder.renewed))
    if holder.is_gone():
        return f"{holder}, has ended without a word; the next one takes over at once", False
    if age > LIMITS.void_s:
        return f"{holder}, has not renewed its lease for {age:,} s; the next one takes over", False
    return f"{holder}, lease renewed {age} s ago", True
