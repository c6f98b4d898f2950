"""The part of `rayae train` that reads the pictures and trains on them, in this process or on Ray."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from rayae import storage
from rayae.epochs import Progress
from rayae.history import HistoryTable, read_history, shown_as_it_grows, write_history
from rayae.loader import Loader
from rayae.preprocess import Preprocess
from rayae.settings import TrainSettings
from rayae.shares import Share
from rayae.tensorboard import EVENTS, write_events
from rayae.terminal import say
from rayae.training import Told, TrainingPlan, fit
from rayae.verbs.score import decode_threads, reader_of
from rayae.verbs.train_look import look, room_here
from rayae.verbs.train_pictures import Material, ToRead, are_held, tell_of_flat, twins, usable
from rayae.verdicts import Twins

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Job:
    """All that a training works with."""

    plan: TrainingPlan
    preprocess: Preprocess
    material: Material
    region: NDArray[np.uint8] | None
    settings: TrainSettings
    folder: str
    """Where checkpoints and metrics lie."""
    name: str

    @cached_property
    def read(self) -> ToRead:
        """What is read of the material."""
        return ToRead.of(self.material, self.settings.seed)

    def loader(self, workers: int = 1) -> Loader:
        """Of one of so many that read at a time."""
        return Loader(reader_of(self.settings, workers), self.preprocess, decode_threads(self.settings), digests=True)


@dataclass(frozen=True)
class Fitted:
    """What a training gives."""

    progress: Progress
    became: pd.DataFrame
    """What became of each image: `image_id`, `status`, `error`, `digest`, `is_flat`."""
    twins: list[Twins]


def fitted(job: Job) -> Fitted:
    """Read, look for near-duplicates between the sides, and train, so that a failed look costs no training."""
    return _inline(job) if job.settings.placement == "inline" else _on_ray(job)


def _on_ray(job: Job) -> Fitted:
    from rayae.on_ray.capacity import capacity, plan_workers
    from rayae.on_ray.cluster import connect
    from rayae.on_ray.images import taken_in
    from rayae.on_ray.room import room_on
    from rayae.on_ray.train import train_on_ray
    from rayae.on_ray.waiting import lacking_told, wait_for_all, wait_for_one

    settings, resources, read = job.settings, job.settings.resources, job.read
    fewest = settings.fewest_workers
    connect(math.ceil((fewest or 1) * resources.cpus_per_worker))
    planned = plan_workers(fewest, resources.cpus_per_worker, resources.gpus_per_worker)
    workers = replace(planned, most=settings.most_workers)
    wait_for_one(workers, resources.wait_s)  # of nodes that may come too little is known before the first is there
    held = are_held(settings.pictures, read.images.num_rows, job.preprocess, room_on(capacity(), workers))
    with lacking_told(workers):
        pictures, became, thumbnails = taken_in(read.images, job.loader(workers.most or workers.count), held)
        share = Share(*(usable(job.material.of(side), became, settings) for side in ("train", "validation")))
        tell_of_flat(read.images, became)
        found = twins(read, became, thumbnails)
    say(f"training on {len(share.train):,} images with {workers.in_words()}, {workers.gpus:g} GPU each")
    wait_for_all(workers, resources.wait_s)
    with lacking_told(workers), shown_as_it_grows(job.folder, job.plan.epochs):
        progress = train_on_ray(
            job.plan,
            pictures,
            share,
            workers,
            region=job.region,
            compiled=settings.compile,
            folder=job.folder,
            name=job.name,
            max_failures=settings.max_worker_failures,
        )
    return Fitted(progress, became, found)


def _inline(job: Job) -> Fitted:
    seen = look(
        job.read, job.loader(), are_held(job.settings.pictures, job.read.kept, job.preprocess, room_here(job.read))
    )
    train, validation = (usable(job.material.of(side), seen.became, job.settings) for side in ("train", "validation"))
    tell_of_flat(job.read.images, seen.became)
    found = twins(job.read, seen.became, seen.thumbnails.of)
    checkpoint = storage.join(job.folder, CHECKPOINT)
    say(f"training on {len(train):,} images in this process")
    progress = fit(
        job.plan,
        *seen.pictures(train, validation),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        region=job.region,
        compiled=job.settings.compile,
        checkpoint=storage.read_bytes(checkpoint) if storage.exists(checkpoint) else None,
        after_epoch=_keeper(job, checkpoint),
    )
    return Fitted(progress, seen.became, found)


def _keeper(job: Job, checkpoint: str) -> Callable[[Told], None]:
    """What is kept and shown of each epoch."""
    table = HistoryTable(job.plan.epochs, already=read_history(job.folder) if storage.exists(checkpoint) else ())

    def keep(told: Told) -> None:
        storage.write_bytes(checkpoint, told.make_checkpoint())
        write_history(job.folder, told.history)
        write_events(storage.join(job.folder, EVENTS), [asdict(epoch) for epoch in told.history], told.make_samples())
        table.show(told.history)

    return keep
