"""The part of `rayae train` that reads the pictures and trains on them, in this process or on Ray."""

import math
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rayae import storage
from rayae.duplicates import near_duplicates
from rayae.epochs import Progress
from rayae.errors import TrainingError
from rayae.history import HistoryTable, shown_as_it_grows, write_history
from rayae.loader import Loader
from rayae.preprocess import Preprocess
from rayae.settings import TrainSettings
from rayae.shares import Share
from rayae.tensorboard import EVENTS, write_events
from rayae.terminal import say
from rayae.training import Told, TrainingPlan, fit
from rayae.verbs.score import decode_threads, failure_budget, reader_of
from rayae.verdicts import Twins

CHECKPOINT = "checkpoint.pt"
HELD_OUT = ("validation", "calibration")
MOST_COMPARED = 20_000
"""Pictures of a side that are looked at for near-duplicates: 17 kB and some milliseconds each."""
PixelsOf = Callable[[NDArray[np.int64]], NDArray[np.uint8]]


@dataclass(frozen=True)
class Material:
    """The images of a training: all normal ones, and the side of each (`train`, `validation`, `calibration`, ...)."""

    images: pa.Table
    sides: NDArray[np.object_]
    defects: pa.Table
    """The labelled defects by which the primary score may be chosen."""

    def of(self, *sides: str) -> pa.Table:
        """The images on these sides."""
        return self.images.filter(pa.array(np.isin(self.sides.astype(str), sides)))


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

    def loader(self) -> Loader:
        return Loader(reader_of(self.settings), self.preprocess, decode_threads(self.settings), digests=True)


@dataclass(frozen=True)
class Fitted:
    """What a training gives."""

    progress: Progress
    became: pd.DataFrame
    """What became of each image: `image_id`, `status`, `error`, `digest`."""
    twins: list[Twins]


def fitted(job: Job) -> Fitted:
    """Read, train, and look for near-duplicates between the sides."""
    return _inline(job) if job.settings.placement == "inline" else _on_ray(job)


def _on_ray(job: Job) -> Fitted:
    from rayae.on_ray.capacity import memory_bytes, plan_workers
    from rayae.on_ray.cluster import connect
    from rayae.on_ray.images import decode_on_ray, pixels_of
    from rayae.on_ray.train import train_on_ray
    from rayae.on_ray.waiting import lacking_told, wait_for_all, wait_for_one

    settings, resources = job.settings, job.settings.resources
    fewest = settings.fewest_workers
    connect(math.ceil((fewest or 1) * resources.cpus_per_worker))
    planned = plan_workers(fewest, resources.cpus_per_worker, resources.gpus_per_worker)
    workers = replace(planned, most=settings.most_workers)
    images = _to_decode(job.material, job.preprocess, memory_bytes())
    wait_for_one(workers, resources.wait_s)
    with lacking_told(workers):
        held, became = decode_on_ray(images, job.loader())
    share = Share(*(_usable(job.material.of(side), became, settings) for side in ("train", "validation")))
    say(f"training on {len(share.train):,} images with {workers.in_words()}, {workers.gpus:g} GPU each")
    wait_for_all(workers, resources.wait_s)
    with lacking_told(workers), shown_as_it_grows(job.folder, job.plan.epochs):
        progress = train_on_ray(
            job.plan,
            held,
            share,
            workers,
            region=job.region,
            compiled=settings.compile,
            folder=job.folder,
            name=job.name,
            max_failures=settings.max_worker_failures,
        )
    return Fitted(progress, became, _twins(job.material, became, lambda ids: pixels_of(held, ids)))


def _inline(job: Job) -> Fitted:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    images = _to_decode(job.material, job.preprocess, memory)
    pixels, rows = {}, []
    for image_id, one in zip(images["image_id"].to_pylist(), job.loader().load(images), strict=True):
        rows.append((image_id, str(one.picture.status), one.picture.error or "", one.digest or ""))
        if one.picture.pixels is not None:
            pixels[image_id] = one.picture.pixels
    became = pd.DataFrame(rows, columns=["image_id", "status", "error", "digest"])
    train, validation = (_usable(job.material.of(side), became, job.settings) for side in ("train", "validation"))
    checkpoint = storage.join(job.folder, CHECKPOINT)
    say(f"training on {len(train):,} images in this process")
    progress = fit(
        job.plan,
        np.stack([pixels[image_id] for image_id in train]),
        np.stack([pixels[image_id] for image_id in validation]),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        region=job.region,
        compiled=job.settings.compile,
        checkpoint=storage.read_bytes(checkpoint) if storage.exists(checkpoint) else None,
        after_epoch=_keeper(job, checkpoint),
    )
    found = _twins(job.material, became, lambda ids: np.stack([pixels[image_id] for image_id in ids]))
    return Fitted(progress, became, found)


def _keeper(job: Job, checkpoint: str) -> Callable[[Told], None]:
    """What is kept and shown of each epoch."""
    table = HistoryTable(job.plan.epochs)

    def keep(told: Told) -> None:
        storage.write_bytes(checkpoint, told.make_checkpoint())
        write_history(job.folder, told.history)
        write_events(storage.join(job.folder, EVENTS), [asdict(epoch) for epoch in told.history], told.make_samples())
        table.show(told.history)

    return keep


def _to_decode(material: Material, preprocess: Preprocess, memory: float) -> pa.Table:
    """The images to train on and to hold out; TrainingError when their pixels do not fit into the workers' memory."""
    calibration = material.of("calibration").slice(0, MOST_COMPARED)  # for near-duplicates alone
    images = pa.concat_tables([material.of("train", "validation"), calibration])
    height, width, channels = preprocess.height, preprocess.width, preprocess.channels
    needed = images.num_rows * height * width * channels
    say(f"reading {images.num_rows:,} images at {height} x {width}, {needed / 1024**2:,.0f} MB of pixels")
    if needed > memory:
        raise TrainingError(
            f"{images.num_rows:,} images x {height} x {width} x {channels} bytes are {needed / 1024**3:,.1f} GB "
            f"of pixels, and the workers have {memory / 1024**3:,.1f} GB of memory: train on fewer or smaller images "
            "(`preprocess.height=`, `preprocess.width=`), or on more nodes."
        )
    return images


def _usable(images: pa.Table, became: pd.DataFrame, settings: TrainSettings) -> NDArray[np.int64]:
    """The ids of the images that could be decoded, in seeded random order; TooManyFailures when too many could not."""
    found = became[became["image_id"].isin(images["image_id"].to_numpy())]
    failure_budget(settings, min_sample=1).spend(Counter(found["status"]))
    failed = found[found["status"] != "scored"]
    for row in failed.head(5).itertuples():
        say(f"left out: image {row.image_id}: {row.status}: {row.error}")
    usable = found[found["status"] == "scored"]["image_id"].to_numpy(dtype=np.int64)
    if not len(usable):
        raise TrainingError(f"none of {len(found):,} images that are needed could be read; `error` above says why.")
    order = np.random.default_rng(settings.seed).permutation(len(usable))
    return np.asarray(np.sort(usable)[order], dtype=np.int64)


def _twins(material: Material, became: pd.DataFrame, pixels_of: PixelsOf) -> list[Twins]:
    """The held-out pictures that have a near-duplicate among those trained on, a side each that has pictures."""
    train = _names(material.of("train"), became)
    sides = [(side, _names(material.of(side), became)) for side in HELD_OUT]
    seen = pixels_of(train.index.to_numpy(dtype=np.int64))
    found = []
    for side, names in sides:
        if not len(names):
            continue
        pairs = near_duplicates(seen, pixels_of(names.index.to_numpy(dtype=np.int64)))
        found.append(Twins(side, len(names), [(names.iloc[pair.second], train.iloc[pair.first]) for pair in pairs]))
    return found


def _names(images: pa.Table, became: pd.DataFrame) -> "pd.Series[str]":
    """The URIs, by image id, of the images that could be decoded, as many as are compared."""
    decoded = became[became["status"] == "scored"]["image_id"]
    names: pd.Series[str] = images.select(["image_id", "uri"]).to_pandas().set_index("image_id")["uri"]
    return names[names.index.isin(decoded)].iloc[:MOST_COMPARED]
