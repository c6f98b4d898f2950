"""ANALYSE: a finished run and its labels in; figures on the terminal and `evaluation.json` in the run out."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from rayae import evaluation, storage
from rayae.assignment import Assigned
from rayae.bundle import Bundle
from rayae.by_product import ByProduct
from rayae.errors import DataError, RunError
from rayae.exhibits import tables
from rayae.findings import Evaluation
from rayae.labels import attach_labels
from rayae.manifest import is_normal
from rayae.redaction import kept
from rayae.run import EVALUATION, Run
from rayae.settings import EvaluateSettings
from rayae.terminal import say, show_table, warn
from rayae.verbs.evaluate_products import columns_of, evaluate_each

MANY_IMAGES = 20_000
"""Above it the intervals take so long that a word is due: for 100,000 images with 22 scores and floors two minutes."""


def evaluate(settings: EvaluateSettings) -> None:
    """Hold the scores and flags of a run against its labels, on images that its bundle was not made with."""
    run = Run.open(settings.run)
    if run.success() is None or run.chunks_left():
        raise RunError(f"{run.uri} is not finished; `rayae score {run.uri}` scores the rest of it.")
    results = read_results(run, settings.labels)
    if results.num_rows > MANY_IMAGES:
        say(f"drawing {settings.resamples:,} resamples of up to {results.num_rows:,} images for the intervals")
    evaluate_one = partial(_evaluated, settings)
    if run.assignment.column is not None:
        _tell_of_products(run, evaluate_each(run, results, settings.confidence, evaluate_one), settings)
        return
    (assigned,) = run.assignment.bundles.values()
    found = evaluate_one(opened_for(run, results), assigned, results)
    _write(run, found.to_dict(), settings)
    for title, columns, rows in tables(found):
        show_table(title, columns, rows)
    for sentence in found.words:
        say(sentence)
    say(f"evaluation: {storage.join(run.uri, EVALUATION)}")


def _evaluated(settings: EvaluateSettings, bundle: Bundle, assigned: Assigned, results: pa.Table) -> Evaluation:
    """The result rows of one bundle, held against its cut as the run was planned with it."""
    used = used_images(bundle)
    roles = dict(zip(used["uri"].to_pylist(), used["split"].to_pylist(), strict=True))
    warn_of_copies(results, used)
    return evaluation.evaluate(
        results,
        primary=assigned.primary_score,
        scores=assigned.scores,
        cut=None if assigned.threshold is None else assigned.threshold.cut,
        roles=[roles.get(uri) for uri in results["uri"].to_pylist()],
        used_groups=set(used["group"].drop_null().to_pylist()),
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _tell_of_products(run: Run, found: ByProduct, settings: EvaluateSettings) -> None:
    _write(run, found.to_dict(), settings)
    show_table(*found.table())
    for sentence in found.words:
        say(sentence)
    say(f"evaluation: {storage.join(run.uri, EVALUATION)}, with all figures of each `{found.column}`")


def _write(run: Run, figures: Mapping[str, Any], settings: EvaluateSettings) -> None:
    assignment = run.assignment
    about = {"run": run.uri, "bundle_id": assignment.bundle_id, "threshold_id": assignment.threshold_id}
    whole = {**about, "settings": kept(settings.model_dump(mode="json")), **figures}
    storage.write_json(storage.join(run.uri, EVALUATION), whole)


def opened_for(run: Run, results: pa.Table) -> Bundle:
    """The bundle of a run that has but one; RunError when it is not the one that the rows were scored with."""
    bundle = Bundle.open(run.bundle_uri)
    others = set(results["bundle_id"].unique().to_pylist()) - {bundle.bundle_id}
    if others:
        raise RunError(
            f"{run.uri} was scored with the bundle {sorted(others)[0]}, but {bundle.uri} is now "
            f"{bundle.bundle_id}; put the former back, or score again into a new directory."
        )
    return bundle


def read_results(run: Run, labels: str | None) -> pa.Table:
    """The columns that an evaluation needs, with labels; refuses a run without any."""
    results = run.results([*evaluation.COLUMNS, *columns_of(run), *run.record["scores"], "bundle_id"])
    if labels is not None:
        results, notes = attach_labels(results, labels, run.record["images"])
        for note in notes:
            say(note)
    if results["label"].null_count == results.num_rows:
        raise DataError(
            f"{run.uri} has no labels; give labels=, a CSV with `path` and `label`, or `folder` for the "
            f"names of the folders."
        )
    found = results["label"].unique().drop_null().to_pylist()
    if not any(is_normal(label) for label in found):
        warn(
            f"none of the labels ({', '.join(sorted(found)[:5])}) means normal, as `good` and `normal` do, so every "
            "labelled image counts as a defect."
        )
    return results


def used_images(bundle: Bundle) -> pa.Table:
    """The images that the bundle was made with: uri, size_bytes or null, group, split; calibration first."""
    columns = ["uri", "size_bytes", "group", "split"]
    used = bundle.training_images().select(columns)
    calibration = bundle.calibration_table()
    if calibration is None:
        return used
    count = calibration.num_rows
    split = np.where(calibration["chose_score"].to_numpy(), "choice", "calibration").astype(object)
    own = {"size_bytes": pa.nulls(count, pa.int64()), "split": pa.array(split, pa.string())}
    calibrated = pa.table({name: own[name] if name in own else calibration[name] for name in columns})
    return pa.concat_tables([calibrated.cast(used.schema), used])


def warn_of_copies(results: pa.Table, used: pa.Table) -> None:
    """Warn when images that count as never seen have the name and size of images the bundle was made with."""
    known = Counter(zip(names(used), used["size_bytes"].to_pylist(), strict=True))
    seen = set(used["uri"].to_pylist())
    unseen = zip(results["uri"].to_pylist(), names(results), results["size_bytes"].to_pylist(), strict=True)
    copies = sum(uri not in seen and size is not None and (name, size) in known for uri, name, size in unseen)
    if copies:
        warn(
            f"{copies:,} images have the name and the size of images that the bundle was made with, at "
            f"another address; if they are the same, the figures are too good."
        )


def names(images: pa.Table) -> list[str]:
    """The last part of each URI."""
    return [uri.rsplit("/", 1)[-1] for uri in images["uri"].to_pylist()]
