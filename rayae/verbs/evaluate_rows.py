"""The part of `rayae evaluate` that gathers the rows that figures stand on, file by file: of the others it counts.

Kept are the scored rows that have a label, and those of images that the bundle was made with, so that memory follows
the labels and not the run: some 1 kB a labelled image, with seven scores.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae import evaluation
from rayae.assignment import GROUP
from rayae.bundle import Bundle
from rayae.cuts.labelled import keys_of
from rayae.decisions import Decision
from rayae.errors import RunError
from rayae.evaluated import About, Others, refuse_strange
from rayae.flags import anomalies, for_review
from rayae.gates import Training
from rayae.labels import labelling_for
from rayae.manifest import regrouped
from rayae.results import Status
from rayae.run import Run
from rayae.statistics import Bools
from rayae.survey import MOD, digest_of
from rayae.terminal import say, warn
from rayae.threshold import Threshold
from rayae.verdicts import FINE

FLAGGED, REVIEW, CHOSE = "flagged by the decision", "for review by the decision", "chose the decision"
"""Columns beside those of the results, for as long as the rows are in memory."""
ROWS_AT_ONCE = 262_144
"""Rows in memory at a time: some 50 MB with twenty scores."""


@dataclass(frozen=True)
class Gathered:
    """The rows of one bundle that figures stand on, in the order of the manifest."""

    results: pa.Table
    roles: list[str | None]
    used: pa.Table
    """The images that the bundle was made with: uri, size_bytes, group, split."""
    others: Others

    def about(self, threshold: Threshold | None, decision: Decision | None, bundle: Bundle) -> About:
        """What the evaluation is told beside the rows."""
        promised, alike = None if threshold is None else threshold.upper_fpr, copies(self)
        about = About(self.others, promised, copies=int(alike.sum()), training=training_of(bundle))
        if decision is None:
            return about
        flagged, review, chose = (
            self.results[name].to_numpy(zero_copy_only=False) for name in (FLAGGED, REVIEW, CHOSE)
        )
        has_band = decision.counts.for_review is not None
        bounds = [cut.upper_fpr for cut in decision.ruling.thresholds.values()]
        chosen_on = 0 if decision.labels is None else sum(decision.labels["chosen_on"].values())
        return replace(
            about,
            promised=None if None in bounds else max(bound for bound in bounds if bound is not None),
            copies=int((alike & ~chose.astype(bool)).sum()),
            promised_fdr=decision.ruling.settings.get("fdr"),
            decision=decision.id,
            chosen_on=chosen_on,
            cuts_of_groups=len(decision.ruling.thresholds) - 1,
            flagged=flagged,
            for_review=review if has_band else None,
            chose=chose,
        )

    def without_groups(self) -> "Gathered":
        """The same, with no group known."""
        place = self.results.column_names.index(GROUP)
        nothing = pa.nulls(self.results.num_rows, pa.string())
        return replace(self, results=self.results.set_column(place, GROUP, nothing))


@dataclass
class Gathering:
    """Takes the rows of one bundle, table by table."""

    bundle: Bundle
    kept: list[pa.Table] = field(default_factory=list)
    images: int = 0
    scored: int = 0
    strange: int = 0

    def __post_init__(self) -> None:
        self.used = used_images(self.bundle)
        self.uris = pc.unique(self.used["uri"])

    def add(self, rows: pa.Table) -> None:
        """Keep what figures stand on, and count."""
        scored = rows.filter(pc.equal(rows["status"], Status.SCORED.value))
        telling = pc.or_(pc.is_valid(scored["label"]), pc.is_in(scored["uri"], value_set=self.uris))
        self.images += rows.num_rows
        self.scored += scored.num_rows
        self.strange += scored.num_rows - int(np.isfinite(scored["score"].to_numpy(zero_copy_only=False)).sum())
        self.kept.append(scored.filter(telling))

    def gathered(self) -> Gathered:
        """All that was kept; DataError when a scored row, of whatever image, has no finite score."""
        refuse_strange(self.strange, self.scored)
        results = pa.concat_tables(self.kept).combine_chunks()
        results = results.take(np.argsort(results["image_id"].to_numpy(), kind="stable"))
        sides = dict(zip(self.used["uri"].to_pylist(), self.used["split"].to_pylist(), strict=True))
        roles = [sides.get(uri) for uri in results["uri"].to_pylist()]
        left = Others(self.images - results.num_rows, self.images - self.scored, self.scored - results.num_rows)
        return Gathered(results, roles, self.used, left)


def rows_of(run: Run, labels: str | None, decision: Decision | None) -> Iterator[pa.Table]:
    """The rows of a run, some files at a time, with the labels of `labels=` and what a decision says of them.

    RunError when the files differ in their columns.
    """
    by = [] if run.assignment.column is None else [run.assignment.column]
    columns = dict.fromkeys(["image_id", *evaluation.COLUMNS, *by, *run.record["scores"]])
    tables: Iterable[pa.Table] = together(run, run.result_tables(list(columns)))
    if decision is not None:
        tables = judged_by(decision, tables)
    if labels is None:
        yield from tables
        return
    labelling = labelling_for(run.result_tables(["uri"]), labels, run.record["images"])
    yield from map(labelling.label, tables)
    for note in labelling.notes():
        say(note)


def together(run: Run, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in larger tables: what is looked for among the images of a bundle is looked for in one go."""
    try:
        yield from regrouped(tables, ROWS_AT_ONCE)
    except pa.ArrowInvalid as error:
        raise RunError(
            f"the files of {run.uri} differ in their columns; `rayae verify {run.uri}` says where."
        ) from error


def judged_by(decision: Decision, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Rows with the flags of a decision, and with who chose its cut; warns when scores have changed since."""
    digest, thresholds = 0, decision.ruling.thresholds
    for table in tables:
        digest = (digest + digest_of(table)) % MOD
        beside = {
            FLAGGED: anomalies(table, thresholds),
            REVIEW: for_review(table, thresholds),
            CHOSE: chose(table, decision.choose_on),
        }
        yield pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **beside})
    if f"{digest:016x}" != decision.ruling.scores:
        warn(
            f"the decision {decision.id} was made before the scores of some images changed; its cut is asked of those "
            "of now."
        )


def chose(table: pa.Table, share: float) -> Bools:
    """The images that a share of the groups has: those with a label chose, the others of a group are too like them."""
    if share == 0:
        return np.zeros(table.num_rows, dtype=bool)
    keys = keys_of(pc.coalesce(table["group"], table["uri"]).to_pylist())
    known: Bools = pc.or_(pc.is_valid(table["label"]), pc.is_valid(table["group"])).to_numpy(zero_copy_only=False)
    return (keys < share) & known


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


def copies(gathered: Gathered) -> Bools:
    """Which count as never seen, and have the name and the size of images that the bundle was made with."""
    used, rows = gathered.used, gathered.results
    known = set(zip(names(used), used["size_bytes"].to_pylist(), strict=True))
    unseen = zip(gathered.roles, names(rows), rows["size_bytes"].to_pylist(), strict=True)
    found = [role is None and size is not None and (name, size) in known for role, name, size in unseen]
    return np.array(found, dtype=bool)


def names(images: pa.Table) -> list[str]:
    """The last part of each URI."""
    return [uri.rsplit("/", 1)[-1] for uri in images["uri"].to_pylist()]


def training_of(bundle: Bundle) -> Training:
    """What the bundle says of its own training: the ratio of its errors, and near-duplicates between its sides."""
    said = {verdict["name"]: verdict for verdict in bundle.training.get("verdicts", [])}
    ratio = next((said[name]["figure"] for name in ("overfit", FINE) if name in said), None)
    return Training(ratio, said["leaking"]["sentence"] if "leaking" in said else None)
