"""`rayae score`: a row for every image of the manifest."""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from rayae import results, storage
from rayae.bundle import Bundle
from rayae.errors import ConfigError, RunError, TooManyFailures
from rayae.labels import labelled_images
from rayae.listing import refuse_reserved
from rayae.manifest import Chunk, Manifest, changes, content_hash, plan_chunks, sizes_of, write_manifest
from rayae.reader import Reader
from rayae.results import ChunkSummary
from rayae.run import CALIBRATION, CHUNKS, MANIFEST, SUCCESS, Run, short_hash, total
from rayae.scoring import FailureBudget, ScoringPlan, follow, score_inline
from rayae.settings import RunnerSettings, ScoreSettings
from rayae.terminal import say, show_table, warn


def score(settings: ScoreSettings) -> None:
    """Score `images=` with `bundle=` into the run `out=`; go on with the run when it is there already."""
    failure_budget(settings)
    out = storage.absolute(settings.out)
    if Run.exists(out):
        run = Run.open(out)
        settings = _inherited(settings, run)
        bundle = Bundle.open(settings.bundle or run.bundle_uri)
        _refuse_other_plan(run, bundle, settings)
    else:
        run, bundle = _start(settings, out)
    if run.threshold is None:
        warn(f"the bundle {bundle.uri} has no threshold: `is_anomaly` will be null; `rayae calibrate` chooses one.")
    statistics = complete(run, bundle, settings, settings.micro_batch)
    _show(run, statistics, settings)


def failure_budget(settings: RunnerSettings, min_sample: int | None = None) -> FailureBudget:
    """The failure budget that the settings give, unspent; ConfigError when they name an unknown status."""
    sample = min_sample or settings.min_failed_sample
    return FailureBudget(settings.max_failed_fraction, settings.max_failed_by_status, sample)


def complete(
    run: Run, bundle: Bundle, settings: RunnerSettings, micro_batch: int | None = None, what: str = "score"
) -> Mapping[str, Any]:
    """Do the chunks that are left of a run, and return the statistics of the whole; `what` names it for people."""
    left, success = run.chunks_left(), run.success()
    if not left and success is not None:
        run.summaries()
        say(f"nothing to do: all {run.rows:,} images of {run.uri} have their rows")
        statistics: Mapping[str, Any] = success["statistics"]
        return statistics
    rows = sum(chunk.rows for chunk in left)
    say(f"{what}: {rows:,} of {run.rows:,} images in {len(left):,} of {len(run.chunks):,} chunks, {settings.placement}")
    plan = ScoringPlan(
        run=run.uri,
        bundle=bundle.uri,
        fingerprint=run.record["fingerprint_hash"],
        reader=Reader(max_bytes=settings.reader.max_bytes),
        threads=decode_threads(settings),
        micro_batch=micro_batch,
    )
    speed = follow(run, _summaries(plan, run, left, settings), failure_budget(settings), rows, what)
    still_left = run.chunks_left()
    if still_left:
        raise RunError(f"{len(still_left)} chunk(s) of {run.uri} were not written; run the same command again.")
    found = total(run.summaries()) | speed
    run.finish(found)
    return found


def _summaries(plan: ScoringPlan, run: Run, left: list[Chunk], settings: RunnerSettings) -> Iterator[ChunkSummary]:
    if settings.placement == "inline":
        return score_inline(plan, run, left)
    from rayae.on_ray.cluster import connect, plan_workers
    from rayae.on_ray.score import score_on_ray

    connect(math.ceil((settings.workers or 1) * settings.resources.cpus_per_worker))
    workers = plan_workers(settings.workers, settings.resources.cpus_per_worker, settings.resources.gpus_per_worker)
    return score_on_ray(plan, run, left, workers)


def decode_threads(settings: RunnerSettings) -> int:
    """Threads that fetch and decode beside the model: as set, or a worker's CPUs and two that wait for storage."""
    if settings.reader.threads is not None:
        return settings.reader.threads
    if settings.placement == "inline":
        return len(os.sched_getaffinity(0)) + 2
    return math.ceil(settings.resources.cpus_per_worker) + 2


def plan_run(uri: str, bundle: Bundle, firsts: list[int], found: Mapping[str, Any], about: Mapping[str, Any]) -> Run:
    """Write the record of a new run, with the fingerprint `found`, over a manifest that lies in its directory."""
    record = {
        **about,
        "bundle": bundle.uri,
        "rows": found["images"],
        "chunks": firsts,
        "fingerprint": found,
        "fingerprint_hash": short_hash(found),
        "scores": list(bundle.scores),
        "primary_score": bundle.primary_score,
        "threshold": None if bundle.threshold is None else bundle.threshold.to_dict(),
    }
    return Run.create(uri, record, bundle.calibration)


def fingerprint(
    content_hash: str, rows: int, bundle: Bundle, firsts: list[int], settings: RunnerSettings
) -> dict[str, Any]:
    """What decides the rows of a run: two runs that agree on it have the same rows."""
    threshold = bundle.threshold
    return {
        "schema_version": results.SCHEMA_VERSION,
        "manifest": content_hash,
        "images": rows,
        "chunks": f"{len(firsts)} ({short_hash(firsts)})",
        "bundle": bundle.bundle_id,
        "preprocess": bundle.preprocess.hash()[:12],
        "precision": bundle.precision,
        "primary_score": bundle.primary_score,
        "calibration": bundle.record["calibration"],
        "threshold": None if threshold is None else threshold.id,
        "max_bytes": settings.reader.max_bytes,
    }


def _start(settings: ScoreSettings, out: str) -> tuple[Run, Bundle]:
    missing = [name for name in ("images", "bundle") if getattr(settings, name) is None]
    if missing or settings.images is None or settings.bundle is None:
        needed = " and ".join(f"{name}=" for name in missing)
        raise ConfigError(f"{out} holds no run yet, so scoring also needs {needed}.")
    bundle = Bundle.open(settings.bundle)
    others = [name for name in storage.list_names(out) if name not in (MANIFEST, CALIBRATION, CHUNKS, SUCCESS)]
    if others:
        raise ConfigError(f"out={out} is no run and holds other files ({others[0]}); give the run a folder of its own.")
    manifest = _list(settings.images, settings.labels, storage.join(out, MANIFEST), bundle)
    firsts = [chunk.first for chunk in plan_chunks(manifest.sizes(), settings.chunk_images)]
    found = fingerprint(manifest.content_hash, manifest.rows, bundle, firsts, settings)
    about = {"images": _absolute(settings.images), "settings": settings.model_dump()}
    return plan_run(out, bundle, firsts, found, about), bundle


def _absolute(images: str | list[str]) -> str | list[str]:
    return storage.absolute(images) if isinstance(images, str) else [storage.absolute(item) for item in images]


def _inherited(settings: ScoreSettings, run: Run) -> ScoreSettings:
    """For `rayae score RUN`: the settings of the run, but for those that are given now."""
    if settings.images is not None:
        return settings
    if settings.labels is not None:
        raise ConfigError(f"labels= belongs to images=; the labels of {run.uri} stand in its manifest already.")
    was = {key: value for key, value in run.record["settings"].items() if key not in ("images", "labels", "bundle")}
    return ScoreSettings.model_validate(_merged(was, settings.model_dump(exclude_unset=True)))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **below,
        **{key: _merged(below[key], value) if isinstance(value, dict) else value for key, value in above.items()},
    }


def _refuse_other_plan(run: Run, bundle: Bundle, settings: ScoreSettings) -> None:
    """RunError when what is asked now, as far as it is asked, is not what the run was planned for."""
    in_words: list[str] = []
    content, rows, firsts = run.fingerprint["manifest"], run.rows, list(run.record["chunks"])
    if settings.images is not None:
        table, _ = labelled_images(settings.images, settings.labels)
        content, rows = content_hash(table), table.num_rows
        if content != run.fingerprint["manifest"]:
            in_words = changes(run.manifest.read(), table)
        chunk_images = settings.chunk_images or run.record["settings"]["chunk_images"]
        firsts = [chunk.first for chunk in plan_chunks(sizes_of(table), chunk_images)]
    elif settings.chunk_images is not None:
        firsts = [chunk.first for chunk in plan_chunks(run.manifest.sizes(), settings.chunk_images)]
    asked = fingerprint(content, rows, bundle, firsts, settings)
    if settings.bundle is None:  # the run goes on with the cut that it was planned with, whatever the bundle has now
        asked |= {key: run.fingerprint[key] for key in ("calibration", "threshold")}
    run.refuse_other_plan(asked, in_words)


def _list(images: str | list[str], labels: str | None, uri: str, bundle: Bundle) -> Manifest:
    table, notes = labelled_images(images, labels)
    for note in notes:
        say(note)
    refuse_reserved(results.user_columns(table.column_names), "the manifest", bundle.scores)
    return write_manifest(table, uri)


def _show(run: Run, statistics: Mapping[str, Any], settings: RunnerSettings) -> None:
    images = statistics["images"]
    counts = sorted(statistics["by_status"].items(), key=lambda item: -item[1])
    rows = [(status, f"{count:,}", f"{count / images:.2%}") for status, count in counts]
    title = f"{images:,} images, {statistics['flagged']:,} flagged as anomalies"
    show_table(title, ("status", "images", "share"), rows)
    say(f"results: {storage.join(run.uri, 'chunks')}")
    failed = images - statistics["by_status"].get("scored", 0)
    if failed == images:
        raise TooManyFailures(
            f"none of the {images:,} images of {run.uri} could be scored; the column `error` says why."
        )
    if failed > settings.max_failed_fraction * images:
        warn(f"{failed:,} of {images:,} images could not be scored; the column `error` says why, image by image.")
