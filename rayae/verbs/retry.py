"""`rayae retry`: images that failed for a reason that may have passed are tried again, and keep their places."""

import difflib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from rayae import storage
from rayae.access import Access
from rayae.bundle_set import Model
from rayae.errors import ConfigError, RunError
from rayae.lease import Lease, held
from rayae.results import ChunkSummary, Status
from rayae.run import SUCCESS, Run, total
from rayae.settings import RetrySettings
from rayae.terminal import Progress, say, show_table
from rayae.verbs.score import inherited, opened, refuse_forgotten_grant, scoring_plan, summaries_of

NOTHING_DONE = {"wall_seconds": 0.0, "images_per_second": 0.0}


def retry(settings: RetrySettings) -> None:
    """Try the rows of a run that have one of the statuses again; chunk files are written anew, whole, in place."""
    statuses = failed_statuses(settings.status)
    run = Run.open(settings.run)
    if run.file_list() is not None:
        raise RunError(
            f"{run.uri} is compacted, so it has no chunk files that could be written anew. Write the column `uri` of "
            "the rows that failed into a list (a .txt, a line an image), and score that with `images=` into a new "
            "`out=`; next time retry before you compact."
        )
    if Status.NO_BUNDLE in statuses:
        raise RunError(
            f"{run.uri} was planned without a bundle for its images that are `no_bundle`, and goes on as it was "
            "planned: train bundles for them, write their `uri` and the column into a list, and score that into a new "
            "`out=`."
        )
    refuse_forgotten_grant(settings, run)
    settings = inherited(settings, run)
    Access(**settings.storage.model_dump()).apply()
    _refuse_other_limit(run, settings)
    if not _with_status(run.summaries(), statuses) and (run.success() is not None or run.chunks_left()):
        say(f"nothing to do: no image of {run.uri} has the status {' or '.join(statuses)}")
        return
    bundle = opened(run.bundle_uri)
    with held(run.uri) as lease:
        _retry(run, bundle, settings, statuses, lease)


def failed_statuses(asked: str | Sequence[str]) -> tuple[str, ...]:
    """The statuses in a list, or in a text with commas; ConfigError when no image fails with one of them."""
    known = [str(status) for status in Status if status != Status.SCORED]
    names = [name.strip() for name in (asked.split(",") if isinstance(asked, str) else asked)]
    for name in names or [""]:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), known, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else "."
            raise ConfigError(
                f"status={name}: no image fails with the status {name!r}{guess} The statuses are {', '.join(known)}."
            )
    return tuple(dict.fromkeys(names))


def _refuse_other_limit(run: Run, settings: RetrySettings) -> None:
    """RunError when images that were too large for the plan would be read now: the rows would not mean the same."""
    if "max_bytes" in run.fingerprint:
        run.refuse_other_plan({**run.fingerprint, "max_bytes": settings.reader.max_bytes})


def _with_status(summaries: Iterable[ChunkSummary], statuses: Sequence[str]) -> dict[int, ChunkSummary]:
    """The chunks, by number, that hold rows with one of the statuses."""
    return {summary.chunk: summary for summary in summaries if _count(summary, statuses)}


def _count(summary: ChunkSummary, statuses: Sequence[str]) -> int:
    return sum(summary.by_status.get(status, 0) for status in statuses)


def _retry(run: Run, bundle: Model, settings: RetrySettings, statuses: Sequence[str], lease: Lease) -> None:
    before = _with_status(run.summaries(), statuses)  # once more: another process may have mended some meanwhile
    speed: dict[str, float] = NOTHING_DONE
    if before:
        tried = sum(_count(summary, statuses) for summary in before.values())
        say(f"retry: {tried:,} images ({', '.join(statuses)}) in {len(before):,} chunk(s), {settings.placement}")
        former = run.success()
        storage.remove(storage.join(run.uri, SUCCESS))  # so that a retry cut short is known by its want
        plan = replace(scoring_plan(run, bundle, settings, settings.micro_batch), retried=tuple(statuses))
        chunks = [chunk for chunk in run.chunks if chunk.number in before]
        with closing(lease.guard(summaries_of(plan, run, chunks, settings))) as summaries:
            after, speed = _follow(summaries, before, statuses, tried)
        _show(before, after, statuses, tried)
        if former is not None:  # the speed of the run is that of all its images, not of the few that were tried again
            speed = {name: former["statistics"][name] for name in NOTHING_DONE}
    lease.check()
    left = run.chunks_left()
    if left:
        say(f"{len(left):,} chunk(s) of {run.uri} are not scored yet; `rayae score {run.uri}` does them")
    else:
        run.finish(total(run.summaries()) | speed)


def _follow(
    summaries: Iterable[ChunkSummary], before: dict[int, ChunkSummary], statuses: Sequence[str], tried: int
) -> tuple[list[ChunkSummary], dict[str, float]]:
    """Consume the summaries of the chunks as they come; how many fail again stops nobody."""
    started, after = time.monotonic(), []
    with Progress("retry", tried) as progress:
        for summary in summaries:
            after.append(summary)
            again = sum(_count(one, statuses) for one in after)
            tried_now = _count(before[summary.chunk], statuses)
            progress.advance(tried_now, f"{again:,} failed in the same way", failed=again)
    seconds = time.monotonic() - started
    return after, {"wall_seconds": round(seconds, 2), "images_per_second": round(tried / max(seconds, 1e-9), 1)}


def _show(before: dict[int, ChunkSummary], after: list[ChunkSummary], statuses: Sequence[str], tried: int) -> None:
    """Statuses of the tried rows before and after; what the others of a chunk have stands in both of its summaries."""
    was, now = Counter[str](), Counter[str]()
    for summary in after:
        former: dict[str, Any] = before[summary.chunk].by_status
        was.update({status: former.get(status, 0) for status in statuses})
        others = {status: count for status, count in former.items() if status not in statuses}
        now.update(Counter(summary.by_status) - Counter(others))
    rows = [(status, f"{was[status]:,}", f"{now[status]:,}") for status in dict.fromkeys([*statuses, *sorted(now)])]
    show_table(f"{tried:,} images were tried again", ("status", "before", "after"), rows)
    if now[Status.CHANGED]:
        say(
            "what is `changed` is another file than the one that was listed, however often it is tried: "
            "list the images anew (`rayae index out=... --update`), and score those that differ into a new `out=`"
        )
