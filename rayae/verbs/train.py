"""`rayae train`: normal images become a bundle that can score at once, or one for each value of a column."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from rayae import __version__, storage
from rayae import bundle as bundles
from rayae.bundle import Bundle, Choice
from rayae.bundle_set import read_index, refuse_other_pixels, refuse_other_set
from rayae.detector import score_names
from rayae.epochs import Progress
from rayae.errors import ConfigError, DataError, RunError, TrainingError
from rayae.labels import labelled_images
from rayae.manifest import content_hash
from rayae.preprocess import Preprocess
from rayae.records import fitting
from rayae.redaction import kept
from rayae.region import read_region
from rayae.run import Run, differences, short_hash
from rayae.settings import TrainSettings
from rayae.splits import assign_sides
from rayae.terminal import say
from rayae.training import TrainingPlan
from rayae.trial import Trial
from rayae.verbs.calibrate import calibrate_on, calibration_defects, normal_images, refuse_few, refuse_rule
from rayae.verbs.index import selected
from rayae.verbs.score import failure_budget
from rayae.verbs.train_fit import CHECKPOINT, Fitted, Job, fitted
from rayae.verbs.train_pictures import Material
from rayae.verbs.train_plan import refuse_network, refuse_primary, training_plan
from rayae.verbs.train_products import train_each
from rayae.verdicts import Figures, Twins, Variety, Verdict, judge

Region = NDArray[np.uint8] | None
WORKPLACE = "training"
PLAN = "plan.json"


def train(settings: TrainSettings) -> None:
    """Train on the normal images of `images=`, write the bundle `out=`, and calibrate it on images kept out.

    With `per_group` a bundle for each value of a column, in a set of bundles at `out=`.
    """
    refuse_rule(settings)
    refuse_primary(settings)
    refuse_network(training_plan(settings, Preprocess(**settings.preprocess.model_dump())))
    failure_budget(settings)
    out = storage.absolute(settings.out)
    if Run.exists(out):
        raise ConfigError(f"out={settings.out} holds a run; give the bundle a folder of its own.")
    refuse_other_set(out, settings.per_group, read_index(out))
    table, notes = labelled_images(settings.images, settings.labels, selected(settings.select))
    for note in notes:
        say(note)
    if settings.per_group is None:
        bundle = _trained(settings, out, _material(settings, table))
        say(f"bundle: {bundle.uri} (id {bundle.bundle_id})")
        return
    refuse_other_pixels(out, Preprocess(**settings.preprocess.model_dump()))
    prepare, train_one = partial(_material, settings), partial(_trained, settings)
    train_each(table, settings.per_group, out, prepare, train_one)


def _trained(settings: TrainSettings, out: str, material: Material) -> Bundle:
    """The bundle that these images give, trained and calibrated as far as it is not yet."""
    preprocess = Preprocess(**settings.preprocess.model_dump())
    plan = training_plan(settings, preprocess)
    region = read_region(settings.region, preprocess)
    asked = _fingerprint(plan, preprocess, material, settings, region)
    if Bundle.exists(out):
        bundle = _finished(out, asked, settings)
    else:
        _begin(out, asked)
        job = Job(plan, preprocess, material, region, settings, storage.join(out, WORKPLACE), short_hash(asked))
        bundle = _write(out, job, fitted(job), asked)
    if bundle.record["threshold"] is None and settings.rule != "none":
        bundle = calibrate_on(bundle, material.of("calibration"), settings.for_scoring(), material.defects)
    return bundle


def _material(settings: TrainSettings, table: pa.Table) -> Material:
    images, defects = normal_images(table), calibration_defects(table)
    sides = assign_sides(images, settings.calibration_fraction, settings.validation_fraction, settings.seed)
    counts = Counter(str(side) for side in sides if side is not None)
    told = ", ".join(f"{counts[side]:,} {side}" for side in sorted(counts))
    say(f"split by group: {told}")
    for side in ("train", "validation"):
        if not counts[side]:
            has_split = images["split"].null_count < images.num_rows
            raise DataError(
                f"no normal image is left for the side `{side}` of {images.num_rows:,} ({told}): "
                "give more images, smaller groups, other fractions"
                f"{', or change the column `split`' if has_split else ''}."
            )
    if settings.rule != "none":
        refuse_few(counts["calibration"], settings)
    return Material(images, sides, defects)


def _fingerprint(
    plan: TrainingPlan,
    preprocess: Preprocess,
    material: Material,
    settings: TrainSettings,
    region: Region,
) -> dict[str, Any]:
    sides = ",".join(str(side) for side in material.sides)
    return {
        "images": f"{material.images.num_rows} ({content_hash(material.images)[:12]})",
        "sides": hashlib.sha256(sides.encode()).hexdigest()[:12],
        "primary_score": settings.primary_score,
        "preprocess": preprocess.to_dict(),
        "region": None if region is None else hashlib.sha256(region.tobytes()).hexdigest()[:12],
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
        raise RunError(
            f"{out} holds a training of another plan:\n{found}\n"
            "Give the new plan a new `out=`, or remove that folder to train anew."
        )


def _write(out: str, job: Job, found: Fitted, asked: Mapping[str, Any]) -> Bundle:
    progress, outcome = found.progress, found.progress.outcome
    if outcome is None:
        raise TrainingError("training ended before its end; run the same command again.")
    settings, trial, made_with = job.settings, Trial(**outcome.trial), _made_with(job.material, found.became)
    choice = _choice(settings.primary_score, trial)
    verdicts = judged(job.plan, progress, trial, found.twins)
    bundle = bundles.create(
        out,
        weights=outcome.weights,
        network=job.plan.network,
        detector=outcome.detector,
        preprocess=job.preprocess,
        scores=score_names(outcome.detector),
        choice=choice,
        precision=outcome.precision,
        training={
            "rayae": __version__,
            "settings": kept(settings.model_dump()),
            "fingerprint": dict(asked),
            "images": dict(Counter(made_with["split"].to_pylist())),
            "best_epoch": progress.best_epoch,
            "epochs_done": len(progress.history),
            "history": [asdict(epoch) for epoch in progress.history],
            "trial": outcome.trial,
            "verdicts": [asdict(verdict) for verdict in verdicts],
        },
        training_images=made_with,
    )
    _clear(out, asked)
    say(f"trained {len(progress.history)} epochs, the best was {progress.best_epoch}")
    for verdict in verdicts:
        say(f"verdict: {verdict.name}: {verdict.sentence}")
    say(f"primary score: {choice.in_words()}")
    return bundle


def _choice(asked: str, trial: Trial) -> Choice:
    """The score that is asked for, or the best one; TrainingError when the trained detector cannot measure it."""
    if asked != "auto" and asked not in trial.auroc:
        raise TrainingError(
            f"primary_score={asked} was asked for, and this detector cannot measure it, since too little of it varies "
            f"on normal images; take one of {', '.join(trial.auroc)}, or `auto`, with a new `out=`."
        )
    score = trial.best if asked == "auto" else asked
    return Choice(score, trial.reason(score), trial.auroc)


def judged(plan: TrainingPlan, progress: Progress, trial: Trial, twins: Sequence[Twins]) -> list[Verdict]:
    """The verdicts on a training that has ended."""
    best = progress.history[progress.best_epoch - 1]
    return judge(
        Figures(
            train_error=best.train_error,
            held_out_error=best.validation_error,
            held_out_losses=[epoch.validation_loss for epoch in progress.history],
            planned_epochs=plan.epochs,
            first_train_loss=progress.history[0].train_loss,
            variety=Variety(trial.variance_kept, trial.variance_explained),
            twins=twins,
        )
    )


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
