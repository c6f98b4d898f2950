"""ANALYSE: a finished run and its labels in; figures on the terminal and `evaluation.json` out."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayae import decisions, evaluation, storage
from rayae.assignment import Assigned
from rayae.bundle import Bundle
from rayae.by_product import ByProduct
from rayae.decisions import Decision
from rayae.errors import DataError
from rayae.exhibits import tables
from rayae.findings import Evaluation
from rayae.manifest import is_normal
from rayae.redaction import kept
from rayae.run import EVALUATION, Run
from rayae.settings import EvaluateSettings
from rayae.terminal import say, show_table, warn
from rayae.verbs.evaluate_products import evaluate_each
from rayae.verbs.evaluate_rows import Gathered, Gathering, rows_of
from rayae.verbs.flag_bundle import bundle_of

MANY_IMAGES = 20_000
"""Above it the intervals take so long that a word is due: for 100,000 images with 22 scores and floors two minutes."""


def evaluate(settings: EvaluateSettings) -> None:
    """Hold the scores and flags of a run against its labels, on images that its bundle was not made with.

    With `decision=` the flags are those of that decision, and labelled images that chose its cut are left out.
    """
    run = Run.open(settings.run)
    run.refuse_unfinished()
    decision = None if settings.decision is None else decisions.named(run, settings.decision)
    rows = labelled(run, rows_of(run, settings.labels, decision))
    evaluate_one = partial(_evaluated, settings, decision)
    if run.assignment.column is not None:
        _tell_of_products(run, evaluate_each(run, rows, settings.confidence, evaluate_one), settings)
        return
    gathering = Gathering(bundle_of(run))
    for table in rows:
        gathering.add(table)
    (assigned,) = run.assignment.bundles.values()
    found = evaluate_one(gathering.bundle, assigned, gathering.gathered())
    uri = _write(run, found.to_dict(), settings, decision)
    for title, columns, lines in tables(found):
        show_table(title, columns, lines)
    for sentence in found.words:
        say(sentence)
    say(f"evaluation: {uri}")


def _evaluated(
    settings: EvaluateSettings, decision: Decision | None, bundle: Bundle, assigned: Assigned, rows: Gathered
) -> Evaluation:
    """The result rows of one bundle, held against its cut as the run was planned with it, or that of a decision."""
    threshold = assigned.threshold if decision is None else decision.threshold
    about = rows.about(threshold, decision, bundle)
    if about.copies:
        warn(
            f"{about.copies:,} images have the name and the size of images that the bundle was made with, at "
            f"another address; if they are the same, the figures are too good."
        )
    if rows.results.num_rows > MANY_IMAGES:
        say(f"drawing {settings.resamples:,} resamples of up to {rows.results.num_rows:,} images for the intervals")
    return evaluation.evaluate(
        rows.results,
        primary=assigned.primary_score,
        scores=assigned.scores,
        cut=None if threshold is None else threshold.cut,
        roles=rows.roles,
        used_groups=set(rows.used["group"].drop_null().to_pylist()),
        about=about,
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _tell_of_products(run: Run, found: ByProduct, settings: EvaluateSettings) -> None:
    uri = _write(run, found.to_dict(), settings, None)
    show_table(*found.table())
    for sentence in found.words:
        say(sentence)
    say(f"evaluation: {uri}, with all figures of each `{found.column}`")


def _write(run: Run, figures: Mapping[str, Any], settings: EvaluateSettings, decision: Decision | None) -> str:
    """Write the figures into the run, or beside the decision that they judge; the URI."""
    cut = run.assignment.threshold_id if decision is None else decision.threshold.id
    about = {"run": run.uri, "bundle_id": run.assignment.bundle_id, "threshold_id": cut}
    whole = {**about, "settings": kept(settings.model_dump(mode="json")), **figures}
    uri = storage.join(run.uri, EVALUATION) if decision is None else decisions.place(run, decision.id, EVALUATION)
    if storage.exists(uri):
        say(f"{uri} held an earlier evaluation, which this one replaces")
    storage.write_json(uri, whole)
    return uri


def labelled(run: Run, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same tables; at their end DataError when no image has a label, a warning when none of these means normal."""
    found = set[str]()
    for table in tables:
        found |= set(pc.unique(table["label"]).drop_null().to_pylist())
        yield table
    if not found:
        raise DataError(
            f"{run.uri} has no labels; give labels=, a CSV with `path` and `label`, or `folder` for the "
            f"names of the folders."
        )
    if not any(is_normal(label) for label in found):
        warn(
            f"none of the labels ({', '.join(sorted(found)[:5])}) means normal, as `good` and `normal` do, so every "
            "labelled image counts as a defect."
        )
