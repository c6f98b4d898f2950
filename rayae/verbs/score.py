"""`rayae score`: a row for every image of the manifest."""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from rayae import results, storage
from rayae.access import Access
from rayae.assignment import refuse_column
from rayae.bundle_set import BundleSet, Model, assignment_of, open_model
from rayae.chunk_reader import ScoringPlan
from rayae.comparison import changes
from rayae.decoded import refuse_large_chunks
from rayae.errors import ConfigError, RunError, TooManyFailures
from rayae.failure_budget import FailureBudget, why_forbidden
from rayae.filelist import RESULTS
from rayae.follow import follow
from rayae.labels import LabelledStream
from rayae.lease import LEASE, Lease, held
from rayae.manifest import Chunk
from rayae.reader import Reader
from rayae.redaction import kept
from rayae.results import ChunkSummary
from rayae.run import CALIBRATION, CHUNKS, MANIFEST, RECORD, SUCCESS, Run, short_hash, total
from rayae.settings import RunnerSettings, ScoreSettings, moment
from rayae.stages import bottleneck
from rayae.terminal import say, show_table, warn
from rayae.verbs.index import Asked as ListingAsked
from rayae.verbs.index import listed, write_listed
from rayae.verbs.unassigned import tell_unassigned

LEFT_TO_DECODERS = 0.5
"""Share of the CPUs that scoring leaves to decoding when nobody says: on GPUs the workers take fewer anyway."""
Asked = TypeVar("Asked", bound=RunnerSettings)
OF_NO_RUN_YET = frozenset({MANIFEST, CALIBRATION, CHUNKS, SUCCESS, LEASE})
"""What a driver that was killed while it planned leaves behind; a run may begin beside it."""


def score(settings: ScoreSettings) -> None:
    """Score `images=` with `bundle=` into the run `out=`; go on with the run when it is there already."""
    failure_budget(settings)
    out = storage.absolute(settings.out)
    if Run.exists(out):
        run = Run.open(out)
        refuse_forgotten_grant(settings, run)
        settings = _inherited(settings, run)
        Access(**settings.storage.model_dump()).apply()
        bundle = opened(settings.bundle or run.bundle_uri)
        if settings.bundle is None and isinstance(bundle, BundleSet):  # bundles that came later are none of the plan's
            bundle = bundle.limited(run.assignment.bundles)
        _refuse_other_plan(run, bundle, settings)
        _refuse_maps_of_nothing(settings, run.uri, run.has_threshold)
    else:
        run, bundle = _start(settings, out)
    _warn_of_no_threshold(run, bundle)
    statistics = complete(run, bundle, settings, settings.micro_batch)
    _show(run, statistics, settings)


def _refuse_maps_of_nothing(settings: ScoreSettings, uri: str, has_threshold: bool) -> None:
    if settings.most_maps and not has_threshold:
        raise ConfigError(
            f"maps=flagged: {uri} has no threshold, so no image would be flagged; `rayae calibrate` chooses one for a "
            "bundle, or leave maps=none."
        )


def _warn_of_no_threshold(run: Run, bundle: Model) -> None:
    without = sum(one.threshold is None for one in run.assignment.bundles.values())
    if not without:
        return
    which = f"the bundle {bundle.uri} has" if run.assignment.column is None else f"{without:,} bundles of the set have"
    warn(f"{which} no threshold: `is_anomaly` will be null; `rayae calibrate` chooses one.")


def failure_budget(settings: RunnerSettings, min_sample: int | None = None) -> FailureBudget:
    """The failure budget that the settings give, unspent; ConfigError when they name an unknown status."""
    sample = min_sample or settings.min_failed_sample
    return FailureBudget(settings.max_failed_fraction, settings.max_failed_by_status, sample)


def opened(uri: str) -> Model:
    """A bundle, or a set of them, whose models can be loaded: the driver tells of it, before a GPU is asked for."""
    from rayae.scorer import refuse_unloadable  # and torch, which takes a second; what is asked wrongly is told without

    model = open_model(uri)
    for bundle in model.bundles.values() if isinstance(model, BundleSet) else [model]:
        refuse_unloadable(bundle)
    return model


def complete(
    run: Run, bundle: Model, settings: RunnerSettings, micro_batch: int | None = None, what: str = "score"
) -> Mapping[str, Any]:
    """Do the chunks that are left of a run, and return the statistics of the whole; `what` names it for people."""
    found = _statistics_of_finished(run)
    if found is not None:
        return found
    with held(run.uri) as lease:
        found = _statistics_of_finished(run)  # another process may have finished it while this one waited
        return _do_the_rest(run, bundle, settings, micro_batch, what, lease) if found is None else found


def _statistics_of_finished(run: Run) -> Mapping[str, Any] | None:
    success = run.success()
    if success is None or run.chunks_left():
        return None
    run.summaries()
    say(f"nothing to do: all {run.rows:,} images of {run.uri} have their rows")
    statistics: Mapping[str, Any] = success["statistics"]
    return statistics


def _do_the_rest(
    run: Run, bundle: Model, settings: RunnerSettings, micro_batch: int | None, what: str, lease: Lease
) -> Mapping[str, Any]:
    left = run.chunks_left()
    rows = sum(chunk.rows for chunk in left)
    chunks = f"{len(left):,} of {len(run.chunks):,} chunks"
    say(f"{what}: {rows:,} of {run.rows:,} images to do, in {chunks}, {settings.placement}")
    plan = scoring_plan(run, bundle, settings, micro_batch)
    with closing(lease.guard(summaries_of(plan, run, left, settings))) as summaries:  # and what works for them
        done = follow(run, summaries, failure_budget(settings), rows, what)
    still_left = run.chunks_left()
    if still_left:
        raise RunError(f"{len(still_left)} chunk(s) of {run.uri} were not written; run the same command again.")
    found = total(run.summaries())
    found["seconds"]["write"] = round(done.seconds.get("write", 0.0), 2)  # of this pass, as the speed is
    found |= {"wall_seconds": done.wall_seconds, "images_per_second": done.images_per_second}
    lease.check()
    run.finish(found)
    limit = bottleneck(done.seconds)
    if limit is not None and what == "score":
        say(f"bottleneck: {limit.in_words(settings.placement)}")
    return found


def scoring_plan(run: Run, bundle: Model, settings: RunnerSettings, micro_batch: int | None) -> ScoringPlan:
    """What the workers are told."""
    return ScoringPlan(
        run=run.uri,
        bundle=bundle.uri,
        fingerprint=run.record["fingerprint_hash"],
        reader=reader_of(settings),
        threads=decode_threads(settings),
        micro_batch=micro_batch,
        most_maps=settings.most_maps,
    )


def summaries_of(plan: ScoringPlan, run: Run, left: list[Chunk], settings: RunnerSettings) -> Iterator[ChunkSummary]:
    """Do chunks where the settings say, and tell of each as it is done."""
    if settings.placement == "inline":
        from rayae.scoring import score_inline

        return score_inline(plan, run, left)
    from rayae.on_ray.capacity import plan_decoders, plan_workers
    from rayae.on_ray.cluster import connect
    from rayae.on_ray.metrics import Job, told
    from rayae.on_ray.score import score_on_ray
    from rayae.on_ray.waiting import wait_for_one

    asked, is_apart = settings.resources, settings.placement == "apart"
    if is_apart:
        refuse_large_chunks(max(chunk.rows for chunk in left), open_model(plan.bundle).preprocess)
    decoders = (asked.decoders or 1) if is_apart else 0
    connect(math.ceil((settings.workers or 1) * asked.cpus_per_worker) + decoders)
    workers = plan_workers(settings.workers, asked.cpus_per_worker, asked.gpus_per_worker, LEFT_TO_DECODERS * is_apart)
    decoders = min(len(left), plan_decoders(workers, asked.decoders)) if is_apart else 0
    workers = replace(workers, count=min(len(left), workers.count))
    wait_for_one(workers, asked.wait_s)
    reader = reader_of(settings, decoders or workers.count)
    summaries = score_on_ray(replace(plan, reader=reader), run, left, workers, decoders)
    former = {summary.chunk: summary for summary in run.summaries()} if plan.retried else {}
    job = Job(run.uri, workers.count, plan.retried, former, moment(settings.finish_by) if settings.finish_by else None)
    return told(job, summaries, left)


def reader_of(settings: RunnerSettings, workers: int = 1) -> Reader:
    """The reader that the settings ask for, of one of so many workers: they share the requests of the job."""
    asked = settings.reader
    return Reader(
        max_bytes=asked.max_bytes,
        concurrency=min(asked.concurrency, max(1, asked.job_concurrency // workers)),
        deadline_s=asked.deadline_s,
        timeout_s=asked.timeout_s,
    )


def decode_threads(settings: RunnerSettings) -> int:
    """Threads that fetch and decode beside the model: as set, or a worker's CPUs and one more, which waits for a disk.

    Of small files more are slower, since they take turns with the interpreter.
    """
    if settings.reader.threads is not None:
        return settings.reader.threads
    if settings.placement == "inline":
        return len(os.sched_getaffinity(0)) + 1
    return math.ceil(settings.resources.cpus_per_worker) + 1


def plan_run(uri: str, bundle: Model, firsts: list[int], found: Mapping[str, Any], about: Mapping[str, Any]) -> Run:
    """Write the record of a new run, with the fingerprint `found`, over a manifest that lies in its directory."""
    assignment = assignment_of(bundle)
    record = {
        **about,
        "bundle": bundle.uri,
        "rows": found["images"],
        "chunks": firsts,
        "fingerprint": found,
        "fingerprint_hash": short_hash(found),
        "scores": list(assignment.scores),
        "primary_score": assignment.primary_score,
        "threshold": None if assignment.threshold is None else assignment.threshold.to_dict(),
        **({} if assignment.column is None else {"products": assignment.to_dict()}),
    }
    return Run.create(uri, record, bundle.calibration)


def fingerprint(
    content_hash: str, rows: int, bundle: Model, firsts: list[int], settings: RunnerSettings
) -> dict[str, Any]:
    """What decides the rows of a run: two runs that agree on it have the same rows."""
    assignment = assignment_of(bundle)
    return {
        "schema_version": results.SCHEMA_VERSION,
        "manifest": content_hash,
        "images": rows,
        "chunks": f"{len(firsts)} ({short_hash(firsts)})",
        "bundle": assignment.bundle_id,
        **({} if assignment.column is None else {"per_group": assignment.column}),
        "preprocess": bundle.preprocess.hash()[:12],
        "precision": bundle.precision,
        "primary_score": assignment.primary_score,
        "calibration": assignment.calibration,
        "threshold": assignment.threshold_id,
        "max_bytes": settings.reader.max_bytes,
    }


def _start(settings: ScoreSettings, out: str) -> tuple[Run, Model]:
    missing = [name for name in ("images", "bundle") if getattr(settings, name) is None]
    if missing or settings.images is None or settings.bundle is None:
        needed = " and ".join(f"{name}=" for name in missing)
        raise ConfigError(f"{out} holds no run yet, so scoring also needs {needed}.")
    bundle = opened(settings.bundle)
    _refuse_maps_of_nothing(settings, bundle.uri, assignment_of(bundle).threshold_id is not None)
    others = [name for name in storage.list_names(out) if name not in OF_NO_RUN_YET]
    if others:
        raise ConfigError(f"out={out} is no run and holds other files ({others[0]}); give the run a folder of its own.")
    images = listed_for(settings, bundle)  # what is asked wrongly is told before anything is written
    with held(out):
        if Run.exists(out):
            raise RunError(f"another process has begun a run in {out} meanwhile; run the same command again.")
        manifest = write_listed(images, storage.join(out, MANIFEST))
        for note in images.notes:
            say(note)
        if isinstance(bundle, BundleSet):
            tell_unassigned(manifest, assignment_of(bundle), failure_budget(settings))
        firsts = [chunk.first for chunk in manifest.plan_chunks(settings.chunk_images)]
        found = fingerprint(manifest.content_hash, manifest.rows, bundle, firsts, settings)
        about = {"images": _absolute(settings.images), "settings": settings.model_dump()}
        return plan_run(out, bundle, firsts, found, kept(about)), bundle


def listed_for(settings: ListingAsked, bundle: Model) -> LabelledStream:
    """The images that are asked for; ConfigError when they lack the column that bundles are chosen by."""
    assignment = assignment_of(bundle)
    images = listed(settings, assignment.scores)
    if assignment.column is not None:
        refuse_column(assignment.column, images.schema.names)
    return images


def _absolute(images: str | list[str]) -> str | list[str]:
    return storage.absolute(images) if isinstance(images, str) else [storage.absolute(item) for item in images]


def _inherited(settings: ScoreSettings, run: Run) -> ScoreSettings:
    """For `rayae score RUN`: the settings of the run, but for those that are given now."""
    if settings.images is not None:
        return settings
    if settings.labels is not None:
        raise ConfigError(f"labels= belongs to images=; the labels of {run.uri} stand in its manifest already.")
    if "select" in settings.model_fields_set:
        raise ConfigError(f"select belongs to images=; the images of {run.uri} stand in its manifest already.")
    return inherited(settings, run)


def inherited(settings: Asked, run: Run) -> Asked:
    """The settings that a run was begun with, as far as they are those of the verb, but for those that are given now.

    RunError when they were changed by hand into what no setting can be.
    """
    own = set(type(settings).model_fields) - {"images", "labels", "bundle"}
    was = {key: value for key, value in run.record["settings"].items() if key in own}
    was["storage"] = {key: value for key, value in (was.get("storage") or {}).items() if key != "allow"}
    try:
        return type(settings).model_validate(_merged(was, settings.model_dump(exclude_unset=True)))
    except ValidationError as error:
        (first, *_) = error.errors(include_url=False)
        where = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{storage.join(run.uri, RECORD)} was changed by hand: settings.{where}: {first['msg']}."
        ) from error


def refuse_forgotten_grant(settings: RunnerSettings, run: Run) -> None:
    """ConfigError when the run was begun with `storage.allow=`, and nothing is said of it now.

    It is not taken from the run: who can write to a run's directory must not thereby open what is closed elsewhere.
    """
    was = (run.record["settings"].get("storage") or {}).get("allow")
    if was and settings.storage.allow is None:
        raise ConfigError(
            f"{run.uri} was begun with storage.allow=[{', '.join(map(str, was))}], and a run's directory grants "
            "nothing: give it again, or storage.allow=[] to go on without."
        )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **below,
        **{
            key: _merged(below.get(key) or {}, value) if isinstance(value, dict) else value
            for key, value in above.items()
        },
    }


def _refuse_other_plan(run: Run, bundle: Model, settings: ScoreSettings) -> None:
    """RunError when what is asked now, as far as it is asked, is not what the run was planned for."""
    in_words: list[str] = []
    content, rows, firsts = run.fingerprint["manifest"], run.rows, list(run.record["chunks"])
    if settings.images is not None:
        with tempfile.TemporaryDirectory(prefix="rayae-") as folder:
            now = write_listed(listed_for(settings, bundle), storage.join(folder, MANIFEST))
            content, rows = now.content_hash, now.rows
            if content != run.fingerprint["manifest"]:
                in_words = [*changes(run.manifest, now), "(`rayae index out=... --update` writes what is new apart)"]
            chunk_images = settings.chunk_images or run.record["settings"].get("chunk_images")
            firsts = [chunk.first for chunk in now.plan_chunks(chunk_images)]
    elif settings.chunk_images is not None:
        firsts = [chunk.first for chunk in run.manifest.plan_chunks(settings.chunk_images)]
    asked = fingerprint(content, rows, bundle, firsts, settings)
    if settings.bundle is None:  # the run goes on with the cut that it was planned with, whatever the bundle has now
        asked |= {key: run.fingerprint[key] for key in ("calibration", "threshold")}
    run.refuse_other_plan(asked, in_words)


def _show(run: Run, statistics: Mapping[str, Any], settings: RunnerSettings) -> None:
    images = statistics["images"]
    counts = sorted(statistics["by_status"].items(), key=lambda item: -item[1])
    rows = [(status, f"{count:,}", f"{count / max(images, 1):.2%}") for status, count in counts]
    title = f"{images:,} images, {statistics['flagged']:,} flagged as anomalies"
    show_table(title, ("status", "images", "share"), rows)
    say(f"results: {storage.join(run.uri, CHUNKS if run.file_list() is None else RESULTS)}")
    failed = images - statistics["by_status"].get("scored", 0)
    if failed == images:
        raise TooManyFailures(
            f"none of the {images:,} images of {run.uri} could be scored; the column `error` says why."
            f"{why_forbidden(statistics['by_status'])}"
        )
    if failed > settings.max_failed_fraction * images:
        warn(f"{failed:,} of {images:,} images could not be scored; the column `error` says why, image by image.")
