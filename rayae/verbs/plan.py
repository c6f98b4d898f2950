"""`rayae plan`: a sample is scored for real, and what the whole will take is told; nothing is kept."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from rayae import storage
from rayae.bundle_set import Model
from rayae.errors import DataError
from rayae.forecast import Forecast, Sampled, Whole, bytes_of, forecast, requests_of
from rayae.manifest import Manifest, write_manifest
from rayae.pace import in_words
from rayae.results import Status
from rayae.run import MANIFEST, Run
from rayae.scoring import ChunkScorer
from rayae.settings import PlanSettings
from rayae.stages import bottleneck
from rayae.terminal import say, show_table, warn
from rayae.verbs.index import write_listed
from rayae.verbs.score import fingerprint, listed_for, opened, plan_run, scoring_plan

BLOCK_IMAGES = 16
"""Neighbours that are sampled together: a list is read in parts, and archives one member after the other."""
SAMPLE_CHUNKS = 8
"""Chunks of the sample. The first warms up and is not counted."""
WORKERS = (1, 4, 16)


def plan(settings: PlanSettings) -> None:
    """Score a sample of the images in this process, and tell what all of them take on 1, 4 and 16 workers."""
    tell(settings, *sampled_and_whole(settings))


def sampled_and_whole(settings: PlanSettings) -> tuple[Sampled, Whole]:
    """What a sample took, scored for real, and what is to be done.

    DataError when there are no images. What other programs do on this machine meanwhile counts as well.
    """
    model = opened(settings.bundle)
    with tempfile.TemporaryDirectory(prefix="rayae-plan-") as folder:
        manifest = write_listed(listed_for(settings, model), storage.join(folder, MANIFEST))
        if manifest.rows == 0:
            raise DataError("there are no images to plan for; `images=` named none.")
        whole = whole_of(manifest, settings.chunk_images)
        return score_sample(settings, model, manifest, storage.join(folder, "sample")), whole


def whole_of(manifest: Manifest, chunk_images: int | None) -> Whole:
    """What a list holds; its bytes only where it knows those of every image."""
    unknown = total = 0
    for table in manifest.columns(["size_bytes"]):
        unknown += table["size_bytes"].null_count
        total += pc.sum(table["size_bytes"], min_count=0).as_py()
    return Whole(manifest.rows, None if unknown else total, len(manifest.plan_chunks(chunk_images)))


def score_sample(settings: PlanSettings, model: Model, manifest: Manifest, out: str) -> Sampled:
    """Score a sample as a run of its own."""
    sample = write_manifest(sampled_rows(manifest, settings.sample), storage.join(out, MANIFEST))
    firsts = sorted({sample.rows * chunk // SAMPLE_CHUNKS for chunk in range(SAMPLE_CHUNKS)})
    found = fingerprint(sample.content_hash, sample.rows, model, firsts, settings)
    run = plan_run(out, model, firsts, found, {"images": out, "settings": {}})
    say(f"plan: {sample.rows:,} of {manifest.rows:,} images are scored as a sample")
    if settings.placement != "inline":  # as Ray starts its workers
        torch.set_num_threads(max(1, round(settings.resources.cpus_per_worker)))
    began = time.monotonic()
    scorer = ChunkScorer(scoring_plan(run, model, settings, settings.micro_batch))
    start = time.monotonic() - began
    if len(run.chunks) > 1:
        scorer(run.chunks[0])
    return measured(run, scorer, start)


def measured(run: Run, scorer: ChunkScorer, start: float) -> Sampled:
    """Score the chunks of a sample but for the first, by the clock; that one too if it is the only one."""
    wall, cpu = time.monotonic(), time.process_time()
    summaries = [scorer(chunk) for chunk in run.chunks[1:] or run.chunks]
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    seconds, traffic = Counter[str](), Counter[str]()
    for summary in summaries:
        seconds.update(summary.seconds)
        traffic.update(summary.traffic)
    images = sum(summary.images for summary in summaries)
    failed = images - sum(summary.by_status.get(Status.SCORED, 0) for summary in summaries)
    return Sampled(images, wall, cpu, traffic["requests"], traffic["bytes"], failed, start, bottleneck(seconds))


def sampled_rows(manifest: Manifest, count: int) -> Iterator[pa.Table]:
    """Rows from all over the list, in its order, in blocks of neighbours; all of them where there are no more."""
    if manifest.rows <= count:
        yield from manifest.batches()
        return
    blocks = count // BLOCK_IMAGES
    for first in np.linspace(0, manifest.rows - BLOCK_IMAGES, blocks).astype(np.int64).tolist():
        yield manifest.read(first, BLOCK_IMAGES)


def tell(settings: PlanSettings, sampled: Sampled, whole: Whole) -> None:
    """Show what the whole takes."""
    cpus = None if settings.placement == "inline" else settings.resources.cpus_per_worker
    counts = (1,) if cpus is None else sorted({*WORKERS, settings.workers or 1})
    prices = {"workers cost": settings.price_per_hour, "requests cost": settings.price_per_1000_requests}
    found = [forecast(sampled, whole, workers, cpus, *prices.values()) for workers in counts]
    columns = ["workers", "time", "images/s", *(name for name, price in prices.items() if price is not None)]
    show_table(_title(sampled, whole), columns, [_row(one) for one in found])
    if cpus is None:
        say("the one worker is a process as this one, with all CPUs of a machine as this one")
    else:
        say(f"a worker is as this process on this machine, with {cpus:g} CPU(s); Ray's start is in the time")
    if sampled.bottleneck is not None:
        say(f"bottleneck: {sampled.bottleneck.in_words(settings.placement)}")
    if sampled.failed:
        warn(f"{sampled.failed:,} of {sampled.images:,} sampled images could not be scored; what fails early is cheap.")


def _title(sampled: Sampled, whole: Whole) -> str:
    size = bytes_of(sampled, whole)
    in_words = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
    requests = f"{requests_of(sampled, whole):,} requests, " if sampled.requests else ""
    return f"{whole.images:,} images, {in_words}, {requests}{whole.chunks:,} chunks"


def _row(one: Forecast) -> list[str]:
    costs = [f"{cost:,.2f}" for cost in (one.machines, one.requests) if cost is not None]
    return [f"{one.workers}", in_words(one.hours * 3600), f"{one.images_per_second:,.0f}", *costs]
