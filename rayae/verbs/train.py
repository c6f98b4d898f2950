"""`rayae train`: normal images become a bundle that can score at once."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rayae import __version__, storage
from rayae import bundle as bundles
from rayae.bundle import Bundle
from rayae.errors import DataError, RunError, TrainingError
from rayae.history import HistoryTable, shown_as_it_grows, write_history
from rayae.labels import labelled_images
from rayae.loader import Loader
from rayae.manifest import content_hash
from rayae.preprocess import Preprocess
from rayae.records import fitting
from rayae.redaction import kept
from rayae.run import differences, short_hash
from rayae.scores import SCORE_NAMES
from rayae.settings import TrainSettings
from rayae.splits import assign_sides
from rayae.terminal import say
from rayae.training import Epoch, Result, TrainingPlan, fit
from rayae.verbs.calibrate import calibrate_on, normal_images, refuse_few, refuse_rule
from rayae.verbs.index import selected
from rayae.verbs.score import decode_threads, failure_budget, reader_of

WORKPLACE = "training"
PLAN = "plan.json"
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Material:
    """The images of a training: all normal ones, and the side of each (`train`, `validation`, `calibration`, ...)."""

    images: pa.Table
    sides: NDArray[np.object_]

    def of(self, *sides: str) -> pa.Table:
        """The images on these sides."""
        return self.images.filter(pa.array(np.isin(self.sides.astype(str), sides)))


def train(settings: TrainSettings) -> None:
    """Train on the normal images of `images=`, write the bundle `out=`, and calibrate it on images kept out."""
    refuse_rule(settings)
    failure_budget(settings)
    out = storage.absolute(settings.out)
    material = _material(settings)
    preprocess = Preprocess(**settings.preprocess.model_dump())
    plan = training_plan(settings, preprocess)
    asked = _fingerprint(plan, preprocess, material, settings)
    if Bundle.exists(out):
        bundle = _finished(out, asked, settings)
    else:
        _begin(out, asked)
        result, became = _fit(plan, preprocess, material, settings, storage.join(out, WORKPLACE), short_hash(asked))
        bundle = _write(out, plan, preprocess, material, settings, result, became, asked)
    if bundle.record["threshold"] is None and settings.rule != "none":
        bundle = calibrate_on(bundle, material.of("calibration"), settings)
    say(f"bundle: {bundle.uri} (id {bundle.bundle_id})")


def training_plan(settings: TrainSettings, preprocess: Preprocess) -> TrainingPlan:
    """The values of the settings that decide the weights."""
    shape = {"channels": preprocess.channels, "height": preprocess.height, "width": preprocess.width}
    network = {"kind": "convolutional", **shape, **settings.network.model_dump()}
    return TrainingPlan(
        network=network,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        patience=settings.patience,
        seed=settings.seed,
        precision=settings.precision,
        **settings.optimizer.model_dump(),
    )


def _material(settings: TrainSettings) -> Material:
    table, notes = labelled_images(settings.images, settings.labels, selected(settings.select))
    for note in notes:
        say(note)
    images = normal_images(table)
    sides = assign_sides(images, settings.calibration_fraction, settings.validation_fraction, settings.seed)
    counts = Counter(str(side) for side in sides if side is not None)
    say("split by group: " + ", ".join(f"{counts[side]:,} {side}" for side in sorted(counts)))
    for side in ("train", "validation"):
        if not counts[side]:
            has_split = images["split"].null_count < images.num_rows
            raise DataError(
                f"no normal image is left for the side `{side}` (the sides are {dict(counts)}): "
                f"give more images or smaller groups{', or change the column `split`' if has_split else ''}."
            )
    if settings.rule != "none":
        refuse_few(counts["calibration"], settings)
    return Material(images, sides)


def _fingerprint(
    plan: TrainingPlan, preprocess: Preprocess, material: Material, settings: TrainSettings
) -> dict[str, Any]:
    sides = ",".join(str(side) for side in material.sides)
    return {
        "images": f"{material.images.num_rows} ({content_hash(material.images)[:12]})",
        "sides": hashlib.sha256(sides.encode()).hexdigest()[:12],
        "primary_score": settings.primary_score,
        "preprocess": preprocess.to_dict(),
        **asdict(plan),
    }


def _finished(out: str, asked: Mapping[str, Any], settings: TrainSettings) -> Bundle:
    bundle = Bundle.open(out)
    _refuse_other(out, bundle.training["fingerprint"], asked)
    _clear(out, asked)
    say(f"nothing to train: {out} holds the bundle of this plan")
    threshold = bundle.threshold
    if threshold is not None:
        given = settings.model_dump(include=settings.model_fields_set & {"rule", "alpha", "confidence", "cut"})
        lines = differences({key: getattr(threshold, key) for key in given}, given)
        if lines:
            raise RunError(
                f"{out} was calibrated otherwise ({'; '.join(lines)}); "
                f"`rayae calibrate {out} images=...` chooses the cut anew, on images kept out."
            )
    return bundle


def _clear(out: str, asked: Mapping[str, Any]) -> None:
    """Remove the checkpoints; the metrics stay."""
    storage.remove(storage.join(out, WORKPLACE, short_hash(asked)))
    storage.remove(storage.join(out, WORKPLACE, CHECKPOINT))


def _begin(out: str, asked: Mapping[str, Any]) -> None:
    """Note the plan of the training in its folder, or refuse when another plan's checkpoints lie there."""
    uri = storage.join(out, WORKPLACE, PLAN)
    if storage.exists(uri):
        remedy = f"remove {storage.join(out, WORKPLACE)} to train anew"
        _refuse_other(out, fitting(uri, storage.read_json(uri), dict, remedy), asked)
        say(f"going on with the training in {out}")
    storage.write_json(uri, asked)


def _refuse_other(out: str, was: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    lines = differences(was, asked)
    if lines:
        found = "\n".join(f"  {line}" for line in lines)
        raise RunError(f"{out} holds a training of another plan:\n{found}\nGive the new plan a new `out=`.")


def _fit(
    plan: TrainingPlan,
    preprocess: Preprocess,
    material: Material,
    settings: TrainSettings,
    folder: str,
    name: str,
) -> tuple[Result, pd.DataFrame]:
    """The trained weights, and what became of each image (`image_id`, `status`, `error`, `digest`)."""
    loader = Loader(reader_of(settings), preprocess, decode_threads(settings), digests=True)
    if settings.placement == "inline":
        return _fit_inline(plan, loader, material, settings, folder)
    return _fit_on_ray(plan, loader, material, settings, folder, name)


def _fit_on_ray(
    plan: TrainingPlan, loader: Loader, material: Material, settings: TrainSettings, folder: str, name: str
) -> tuple[Result, pd.DataFrame]:
    from rayae.on_ray.capacity import memory_bytes, plan_workers
    from rayae.on_ray.cluster import connect
    from rayae.on_ray.images import decode_on_ray
    from rayae.on_ray.train import Share, train_on_ray
    from rayae.on_ray.waiting import lacking_told, wait_for_all, wait_for_one

    resources = settings.resources
    connect(math.ceil((settings.workers or 1) * resources.cpus_per_worker))
    workers = plan_workers(settings.workers, resources.cpus_per_worker, resources.gpus_per_worker)
    images = _to_decode(material, loader.preprocess, memory_bytes())
    wait_for_one(workers, resources.wait_s)
    with lacking_told(workers):
        held, became = decode_on_ray(images, loader)
    share = Share(*(_usable(material.of(side), became, settings) for side in ("train", "validation")))
    say(f"training on {len(share.train):,} images with {workers.count} worker(s), {workers.gpus:g} GPU each")
    wait_for_all(workers, resources.wait_s)
    with lacking_told(workers), shown_as_it_grows(folder, plan.epochs):
        result = train_on_ray(
            plan, held, share, workers, folder=folder, name=name, max_failures=settings.max_worker_failures
        )
    return result, became


def _fit_inline(
    plan: TrainingPlan, loader: Loader, material: Material, settings: TrainSettings, folder: str
) -> tuple[Result, pd.DataFrame]:
    images = _to_decode(material, loader.preprocess, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    pixels, rows = {}, []
    for image_id, one in zip(images["image_id"].to_pylist(), loader.load(images), strict=True):
        rows.append((image_id, str(one.picture.status), one.picture.error or "", one.digest or ""))
        if one.picture.pixels is not None:
            pixels[image_id] = one.picture.pixels
    became = pd.DataFrame(rows, columns=["image_id", "status", "error", "digest"])
    train, validation = (_usable(material.of(side), became, settings) for side in ("train", "validation"))
    checkpoint = storage.join(folder, CHECKPOINT)
    table = HistoryTable(plan.epochs)

    def keep(history: list[Epoch], make_checkpoint: Callable[[], bytes]) -> None:
        storage.write_bytes(checkpoint, make_checkpoint())
        write_history(folder, history)
        table.show(history)

    say(f"training on {len(train):,} images in this process")
    result = fit(
        plan,
        np.stack([pixels[image_id] for image_id in train]),
        np.stack([pixels[image_id] for image_id in validation]),
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        checkpoint=storage.read_bytes(checkpoint) if storage.exists(checkpoint) else None,
        after_epoch=keep,
    )
    return result, became


def _to_decode(material: Material, preprocess: Preprocess, memory: float) -> pa.Table:
    """The images to train on and to hold out; TrainingError when their pixels do not fit into the workers' memory."""
    images = material.of("train", "validation")
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


def _write(
    out: str,
    plan: TrainingPlan,
    preprocess: Preprocess,
    material: Material,
    settings: TrainSettings,
    result: Result,
    became: pd.DataFrame,
    asked: Mapping[str, Any],
) -> Bundle:
    made_with = _made_with(material, became)
    bundle = bundles.create(
        out,
        weights=result.weights,
        network=plan.network,
        preprocess=preprocess,
        scores=SCORE_NAMES,
        primary_score=settings.primary_score,
        precision=plan.precision,
        training={
            "rayae": __version__,
            "settings": kept(settings.model_dump()),
            "fingerprint": dict(asked),
            "images": dict(Counter(made_with["split"].to_pylist())),
            "best_epoch": result.best_epoch,
            "epochs_done": len(result.history),
            "history": [asdict(epoch) for epoch in result.history],
        },
        training_images=made_with,
    )
    _clear(out, asked)
    say(f"trained {len(result.history)} epochs, the best was {result.best_epoch}")
    return bundle


def _made_with(material: Material, became: pd.DataFrame) -> pa.Table:
    """The images that the bundle is made with, on their sides, with a digest of the bytes of those trained on."""
    digests = dict(zip(became["image_id"], became["digest"], strict=True))
    images = material.of("train", "validation", "calibration")
    sides = material.sides[np.isin(material.sides.astype(str), ("train", "validation", "calibration"))]
    ids = images["image_id"].to_pylist()
    return pa.table(
        {
            "uri": images["uri"],
            "size_bytes": images["size_bytes"],
            "digest": pa.array([digests.get(image_id) or None for image_id in ids], pa.string()),
            "group": images["group"],
            "split": pa.array([str(side) for side in sides], pa.string()),
        }
    )
