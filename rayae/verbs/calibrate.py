"""`rayae calibrate`: scores of held-out normal images, and the threshold that follows from them, into the bundle.

With a set of bundles each is calibrated on the images of its value.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae import bundle as bundles
from rayae import storage
from rayae.bundle import Bundle, Choice
from rayae.bundle_set import BundleSet
from rayae.cuts.labelled import keys_of
from rayae.errors import ConfigError, DataError
from rayae.labels import labelled_images
from rayae.loader import digest_of, images_of
from rayae.manifest import content_hash, is_defect, is_normal, plan_chunks, sizes_of, write_manifest
from rayae.reader import Image, Reader
from rayae.redaction import kept
from rayae.results import PIXEL_STATISTICS, Status, user_columns
from rayae.run import MANIFEST, Run, short_hash
from rayae.score_names import COMBINED
from rayae.settings import CalibrateSettings, CalibrationSettings, RuleSettings, RunnerSettings
from rayae.statistics import area_under
from rayae.terminal import say
from rayae.threshold import Threshold, conformal, conformal_needs, fixed
from rayae.verbs.calibrate_products import calibrate_each, refuse_one_cut
from rayae.verbs.index import selected
from rayae.verbs.score import complete, failure_budget, fingerprint, opened, plan_run, reader_of

WORKPLACE = "calibrating"
FEWEST_TO_CHOOSE = 10
"""Fewer labelled defects, or normal images beside them, choose no score: it would be the one that happens to rank these
few best."""
SHARE_TO_CHOOSE = 1 / 3
"""Of the normal images, by whole groups, those that the defects are ranked above. The others set the cut: images that
have also chosen the score are not exchangeable with new ones, and the guarantee of a cut by them would not hold."""
READ_AT_ONCE = 32
"""Files that are held in memory for their digests at a time."""


def calibrate(settings: CalibrateSettings) -> None:
    """Score the normal images of `images=`, none of which the model was trained on, and choose the cut by `rule=`."""
    refuse_rule(settings)
    failure_budget(settings)
    model = opened(settings.bundle)
    if isinstance(model, BundleSet):
        refuse_one_cut(model, settings)
    if settings.images is None:
        if settings.rule == "conformal":
            raise ConfigError("rule=conformal needs images=, held-out normal images that the model was not trained on.")
        if settings.primary_score is not None:
            raise ConfigError(
                f"primary_score={settings.primary_score} needs images=, whose scores the new cut is among."
            )
        for bundle in model.bundles.values() if isinstance(model, BundleSet) else [model]:
            _commit(bundle, bundle.calibration_table(), settings)
        return
    table, notes = labelled_images(settings.images, settings.labels, selected(settings.select))
    for note in notes:
        say(note)
    if isinstance(model, BundleSet):
        calibrate_each(model, table, partial(_calibrate, settings))
    else:
        _calibrate(settings, model, table)


def _calibrate(settings: CalibrateSettings, bundle: Bundle, table: pa.Table) -> Bundle:
    """The bundle, calibrated on the normal images among these."""
    images, defects = normal_images(table), table.filter(pa.array(map(is_defect, table["label"].to_pylist())))
    if images["split"].null_count < images.num_rows:
        images = images.filter(pc.equal(images["split"], "calibration"))
        say(f"{images.num_rows:,} of them are in the split `calibration`")
        defects = calibration_defects(table)
    refuse_few(images.num_rows, settings)
    refuse_trained(bundle, images, reader_of(settings))
    return calibrate_on(bundle, images, settings, defects)


def calibrate_on(bundle: Bundle, images: pa.Table, settings: CalibrationSettings, defects: pa.Table) -> Bundle:
    """Score these images with the bundle, keep their scores in it, and choose its threshold.

    With `primary_score=auto` the score is chosen first, by the labelled defects and some of the normal images, when
    there are enough of both; these set no cut.
    """
    choosing = frozenset[str]()
    if settings.primary_score == "auto" and defects.num_rows >= FEWEST_TO_CHOOSE:
        choosing = who_choose(images, conformal_needs(settings.alpha) if settings.rule == "conformal" else 0)
    if not choosing:
        defects = defects.slice(0, 0)
    run = _workplace(bundle, pa.concat_tables([images, defects]), settings)
    by_status = complete(run, bundle, settings, what="calibrate")["by_status"]
    failure_budget(settings, min_sample=1).spend(by_status)
    scored = run.results()
    scored = scored.filter(pc.equal(scored["status"], Status.SCORED.value))
    is_defect = np.isin(scored["uri"].to_numpy(), defects["uri"].to_numpy())
    chose = is_defect | np.isin(scored["uri"].to_numpy(), [*choosing])
    rank = scored.filter(pa.array(chose))
    choice = _chosen(bundle, rank, is_defect[chose], settings.primary_score)
    if choice is not None:
        say(f"primary score: {choice.in_words()}")
    names = ["uri", "group", *bundle.scores, *PIXEL_STATISTICS]
    primary = bundle.primary_score if choice is None else choice.score
    calibration = (
        scored.select(names).append_column("score", scored[primary]).append_column("chose_score", pa.array(chose))
    )
    changed = _commit(bundle, calibration, settings, choice)
    storage.remove(run.uri)
    return changed


def _chosen(bundle: Bundle, scored: pa.Table, strange: NDArray[np.bool_], asked: str | None) -> Choice | None:
    """The primary score that is asked for, or that ranks the defects best; None for that which the bundle has."""
    if asked not in (None, "auto"):
        if asked not in bundle.scores:
            raise ConfigError(f"primary_score={asked}: the bundle has the scores {', '.join(bundle.scores)}.")
        return Choice(str(asked), "as asked", {})
    count = int(strange.sum())
    if min(count, len(strange) - count) < FEWEST_TO_CHOOSE:
        return None
    areas = {name: round(float(area_under(scored[name].to_numpy(), strange)), 4) for name in bundle.scores}
    best = max(areas, key=lambda name: (areas[name], name == COMBINED))
    reason = f"which ranks {count:,} labelled defects above {len(strange) - count:,} normal images with an AUROC of "
    return Choice(best, f"{reason}{areas[best]:.3f}", areas)


def who_choose(images: pa.Table, needed: int) -> frozenset[str]:
    """The URIs of the normal images that help defects to choose the score, whole groups of them; the rest sets the cut.

    As near to a third of the images as whole groups come. None, which is said, when fewer than FEWEST_TO_CHOOSE would
    choose, or fewer than that or `needed` be left.
    """
    groups = pc.coalesce(images["group"], images["uri"]).to_pylist()
    keys = keys_of(groups)
    needed = max(needed, FEWEST_TO_CHOOSE)
    lasts, sizes = np.unique(keys, return_counts=True)
    counts = np.cumsum(sizes)
    enough = (counts >= FEWEST_TO_CHOOSE) & (len(keys) - counts >= needed)
    off = np.abs(counts - len(keys) * SHARE_TO_CHOOSE) + len(keys) * ~enough
    nearest = int(np.argmin(off)) if len(off) else None
    chosen = keys <= (0.0 if nearest is None else lasts[nearest])
    count = int(chosen.sum())
    if count < FEWEST_TO_CHOOSE or len(keys) - count < needed:
        say(
            f"the labelled defects choose no score: of {len(keys):,} normal images {count:,} would choose with them "
            f"and {len(keys) - count:,} be left to set the cut, where {FEWEST_TO_CHOOSE} and {needed:,} are needed"
        )
        return frozenset()
    return frozenset(images["uri"].filter(pa.array(chosen)).to_pylist())


def normal_images(table: pa.Table) -> pa.Table:
    """The rows labelled normal; all rows when nothing has a label, which is said."""
    labels = table["label"].to_pylist()
    if all(label is None for label in labels):
        say(f"no image has a label: all {table.num_rows:,} are taken as normal")
        return table
    images = table.filter(pa.array([is_normal(label) for label in labels]))
    if images.num_rows == 0:
        found = ", ".join(sorted({label for label in labels if label is not None})[:5])
        raise DataError(f"no image is labelled `good` or `normal`; the labels are {found}.")
    say(f"{images.num_rows:,} images are labelled normal")
    return images


def calibration_defects(table: pa.Table) -> pa.Table:
    """The rows of the split `calibration` that are labelled with a defect."""
    strange = pa.array(map(is_defect, table["label"].to_pylist()), pa.bool_())
    return table.filter(pc.and_(strange, pc.fill_null(pc.equal(table["split"], "calibration"), False)))


def refuse_rule(settings: RuleSettings) -> None:
    """ConfigError when the rule lacks what it needs, or is given what it does not use."""
    if settings.rule == "fixed" and settings.cut is None:
        raise ConfigError("rule=fixed needs cut=, a value of the primary score above which an image is flagged.")
    if settings.rule == "fixed" and settings.cut is not None:
        fixed(settings.cut, score="any", bundle_id="any", calibration=None, confidence=settings.confidence)
    if settings.rule != "fixed" and settings.cut is not None:
        raise ConfigError(f"cut={settings.cut:g} is only used by rule=fixed, and the rule is {settings.rule}.")


def refuse_few(count: int, settings: RuleSettings) -> None:
    """DataError, before anything costly, when there are too few images for the conformal rule."""
    needed = conformal_needs(settings.alpha)
    if settings.rule == "conformal" and count < needed:
        enough = f"alpha={math.ceil(1000 / (count + 1)) / 1000:g} or more, " if count else ""
        raise DataError(
            f"rule=conformal with alpha={settings.alpha:g} needs {needed} held-out normal images, "
            f"and there are {count}: give more images, or of a training's more by calibration_fraction=, "
            f"{enough}rule=fixed with a cut of your own, or rule=none for scores without flags."
        )


def refuse_trained(bundle: Bundle, images: pa.Table, reader: Reader) -> None:
    """DataError when the model was trained on one of the images: by its URI, or by its bytes under another name."""
    seen = bundle.training_images()
    seen = seen.filter(pc.is_in(seen["split"], pa.array(["train", "validation"])))
    uris, digests = set(seen["uri"].to_pylist()), set(seen["digest"].to_pylist())
    sizes = set(seen["size_bytes"].to_pylist())
    found = [uri for uri in images["uri"].to_pylist() if uri in uris]
    alike = [image for image in images_of(images) if image.uri not in uris and image.size_bytes in {None, *sizes}]
    with ThreadPoolExecutor(min(READ_AT_ONCE, reader.concurrency)) as pool:
        read = zip(alike, pool.map(lambda image: _digest(reader, image), alike), strict=True)
        found += [image.uri for image, digest in read if digest is not None and digest in digests]
    if found:
        raise DataError(
            f"{len(found):,} of the {images.num_rows:,} calibration images were used to train the bundle, the first is "
            f"{found[0]}; their errors are too small to set a cut by. Calibrate on images that it has not seen."
        )


def _digest(reader: Reader, image: Image) -> str | None:
    data = reader.read(replace(image, size_bytes=None, etag=None) if image.place is None else image).data
    return None if data is None else digest_of(data)


def _workplace(bundle: Bundle, images: pa.Table, settings: RunnerSettings) -> Run:
    """A run over the calibration images in the bundle's directory, named by its plan: one cut short is gone on with."""
    table = images.set_column(0, "image_id", pa.array(range(images.num_rows), pa.int64()))
    table = table.drop_columns(user_columns(table.column_names))
    firsts = [chunk.first for chunk in plan_chunks(sizes_of(table), None)]
    found = fingerprint(content_hash(table), table.num_rows, bundle, firsts, settings)
    uri = storage.join(bundle.uri, f"{WORKPLACE}-{short_hash(found)}")
    if Run.exists(uri):
        return Run.open(uri)
    write_manifest(table, storage.join(uri, MANIFEST))
    return plan_run(uri, bundle, firsts, found, {"images": bundle.uri, "settings": kept(settings.model_dump())})


def _commit(
    bundle: Bundle, calibration: pa.Table | None, settings: RuleSettings, choice: Choice | None = None
) -> Bundle:
    primary = bundle.primary_score if choice is None else choice.score
    threshold = _choose(bundle, primary, calibration, settings)
    changed = bundles.calibrated(bundle, calibration, threshold, choice)
    if threshold is None:
        say("no threshold (rule=none): flags will be null")
    else:
        say(f"threshold: {threshold.score} above {threshold.cut:.6g} is an anomaly. {threshold.guarantee}")
    return changed


def _choose(bundle: Bundle, primary: str, calibration: pa.Table | None, settings: RuleSettings) -> Threshold | None:
    if calibration is not None:
        calibration = calibration.filter(pc.invert(calibration["chose_score"]))
    scores = None if calibration is None else calibration["score"].to_numpy().astype(np.float32)
    named = [] if calibration is None else calibration["group"].drop_null().unique().to_pylist()
    about = {"score": primary, "bundle_id": bundle.bundle_id}
    groups, confidence = len(named) or None, settings.confidence
    if settings.rule == "fixed" and settings.cut is not None:
        return fixed(settings.cut, calibration=scores, confidence=confidence, groups=groups, **about)
    if settings.rule == "conformal" and scores is not None:
        return conformal(scores, alpha=settings.alpha, confidence=confidence, groups=groups, **about)
    return None
