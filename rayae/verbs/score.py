"""`rayae score`: a row for every image of the manifest."""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from rayae import results, storage
from rayae.bundle import Bundle
from rayae.errors import ConfigError, RunError
from rayae.labels import labelled_images
from rayae.listing import refuse_reserved
from rayae.manifest import Chunk, Manifest, changes, content_hash, plan_chunks, sizes_of, write_manifest
from rayae.reader import Reader
from rayae.results import ChunkSummary
from rayae.run import MANIFEST, Run, short_hash, total
from rayae.scoring import FailureBudget, ScoringPlan, follow, score_inline
from rayae.settings import RunnerSettings, ScoreSettings
from rayae.terminal import say, show_table, warn


def score(settings: ScoreSettings) -> None:
    """Score `images=` with `bundle=` into the run `out=`; go on with the run when it is there already."""
    assert settings.out is not None
    failure_budget(settings)
    out = storage.absolute(settings.out)
    run = _resume(settings, out) if Run.exists(out) else _start(settings, out)
    bundle = Bundle.open(settings.bundle or run.bundle_uri)
    if bundle.threshold is None:
        warn(f"the bundle {bundle.uri} has no threshold: `is_anomaly` will be null; `rayae calibrate` chooses one.")
    statistics = complete(run, bundle, settings, settings.micro_batch)
    _show(run, statistics, settings)


def failure_budget(settings: RunnerSettings, min_sample: int | None = None) -> FailureBudget:
    """The failure budget that the settings give, unspent; ConfigError when they name an unknown status."""
    sample = min_sample or settings.min_failed_sample
    return FailureBudget(settings.max_failed_fraction, settings.max_failed_by_status, sample)


def complete(run: Run, bundle: Bundle, settings: RunnerSettings, micro_batch: int | None = None) -> Mapping[str, Any]:
    """Do the chunks that are left of a run, and return the statistics of the whole."""
    left, success = run.chunks_left(), run.success()
    if not left and success is not None:
        say(f"nothing to do: all {run.rows:,} images of {run.uri} have their rows")
        statistics: Mapping[str, Any] = success["statistics"]
        return statistics
    rows = sum(chunk.rows for chunk in left)
    say(f"scoring {rows:,} of {run.rows:,} images in {len(left):,} of {len(run.chunks):,} chunks, {settings.placement}")
    plan = ScoringPlan(
        run=run.uri,
        bundle=bundle.uri,
        fingerprint=run.record["fingerprint_hash"],
        reader=Reader(max_bytes=settings.reader.max_bytes),
        threads=decode_threads(settings),
        micro_batch=micro_batch,
    )
    speed = follow(run, _summaries(plan, run, left, settings), failure_budget(settings), rows)
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
    cpus = (os.cpu_count() or 1) if settings.placement == "inline" else math.ceil(settings.resources.cpus_per_worker)
    return cpus + 2


def plan_run(uri: str, manifest: Manifest, bundle: Bundle, chunks: list[Chunk], about: Mapping[str, Any]) -> Run:
    """Write the record of a new run over a manifest that lies in its directory."""
    found = fingerprint(manifest.content_hash, bundle, [chunk.first for chunk in chunks], manifest.rows)
    record = {
        **about,
        "bundle": bundle.uri,
        "rows": manifest.rows,
        "chunks": [chunk.first for chunk in chunks],
        "fingerprint": found,
        "fingerprint_hash": short_hash(found),
        "scores": list(bundle.scores),
        "primary_score": bundle.primary_score,
        "threshold": None if bundle.threshold is None else bundle.threshold.to_dict(),
    }
    return Run.create(uri, record)


def fingerprint(content_hash: str, bundle: Bundle, firsts: list[int], rows: int) -> dict[str, Any]:
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
    }


def _start(settings: ScoreSettings, out: str) -> Run:
    missing = [name for name in ("images", "bundle") if getattr(settings, name) is None]
    if missing or settings.images is None or settings.bundle is None:
        needed = " and ".join(f"{name}=" for name in missing)
        raise ConfigError(f"{out} holds no run yet, so scoring also needs {needed}.")
    bundle = Bundle.open(settings.bundle)
    manifest = _list(settings, storage.join(out, MANIFEST), bundle)
    chunks = plan_chunks(manifest.sizes(), settings.chunk_images)
    return plan_run(
        out, manifest, bundle, chunks, {"images": _absolute(settings.images), "settings": settings.model_dump()}
    )


def _absolute(images: str | list[str]) -> str | list[str]:
    return storage.absolute(images) if isinstance(images, str) else [storage.absolute(item) for item in images]


def _resume(settings: ScoreSettings, out: str) -> Run:
    """The run that is there, after a look whether what is asked now is what it was planned for."""
    run = Run.open(out)
    bundle = Bundle.open(settings.bundle or run.bundle_uri)
    in_words: list[str] = []
    content, rows, firsts = run.fingerprint["manifest"], run.rows, list(run.record["chunks"])
    chunk_images = settings.chunk_images or run.record["settings"]["chunk_images"]
    if settings.images is not None:
        table, _ = labelled_images(settings.images, settings.labels)
        content, rows = content_hash(table), table.num_rows
        if content != run.fingerprint["manifest"]:
            in_words = changes(run.manifest.read(), table)
        firsts = [chunk.first for chunk in plan_chunks(sizes_of(table), chunk_images)]
    elif settings.chunk_images is not None:
        firsts = [chunk.first for chunk in plan_chunks(run.manifest.sizes(), chunk_images)]
    run.refuse_other_plan(fingerprint(content, bundle, firsts, rows), in_words)
    return run


def _list(settings: ScoreSettings, uri: str, bundle: Bundle) -> Manifest:
    assert settings.images is not None
    table, notes = labelled_images(settings.images, settings.labels)
    for note in notes:
        say(note)
    refuse_reserved(results.user_columns(table.column_names), "the manifest", bundle.scores)
    return write_manifest(table, uri)


def _show(run: Run, statistics: Mapping[str, Any], settings: RunnerSettings) -> None:
    images = statistics["images"]
    failed = images - statistics["by_status"].get("scored", 0)
    if failed > settings.max_failed_fraction * images:
        warn(f"{failed:,} of {images:,} images could not be scored; the column `error` says why, image by image.")
    counts = sorted(statistics["by_status"].items(), key=lambda item: -item[1])
    rows = [(status, f"{count:,}", f"{count / images:.2%}") for status, count in counts]
    title = f"{images:,} images, {statistics['flagged']:,} flagged as anomalies"
    show_table(title, ("status", "images", "share"), rows)
    say(f"results: {storage.join(run.uri, 'chunks')}")
