"""Home of the images of two runs side by side: DuckDB joins them, so that any number is compared in bounded memory.

Only the scores of the labelled images are gathered, 20 bytes an image and some times as much while they are sorted;
labels that are given for the occasion are in memory with the names of all images.
Scores of two bundles are not on one scale, so images are held against each other by their rank within each run: `top_a`
is the share of all images, scored in both, that A scores as high or higher.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from rayae.agreement import Flags, LabelledPairs, flags_by_label
from rayae.cuts.labelled import keys_of
from rayae.database import Answer, Database, quoted
from rayae.decisions import Decision
from rayae.errors import DataError
from rayae.manifest import is_defect
from rayae.results import Status
from rayae.run import Run

SCHEMAS = ("a", "b")
GIVEN_LABELS = "given_labels"
IN_BOTH = "score_a IS NOT NULL AND score_b IS NOT NULL"
LABELLED_UNUSED, AND_FAR = "label IS NOT NULL AND NOT is_used", " AND NOT is_near"
CHOSE = "cluster IN (SELECT cluster FROM choosers)"
COUNTS = {
    "images": "count(*)",
    "scored": f"count(*) FILTER ({IN_BOTH})",
    "scored_by_a_only": "count(score_a) FILTER (score_b IS NULL)",
    "scored_by_b_only": "count(score_b) FILTER (score_a IS NULL)",
    "labelled": "count(label)",
    "labels_differ": "count(*) FILTER (labels_differ)",
    "used": f"count(*) FILTER ({IN_BOTH} AND label IS NOT NULL AND is_used)",
    "of_used_groups": f"count(*) FILTER ({IN_BOTH} AND label IS NOT NULL AND is_near AND NOT is_used)",
    "strange_a": "count(*) FILTER (NOT isfinite(score_a))",
    "strange_b": "count(*) FILTER (NOT isfinite(score_b))",
}


@dataclass(frozen=True)
class InCommon:
    """How many images two runs have in common, and what is known of them."""

    images: int
    """In both runs."""
    only_a: int
    only_b: int
    scored: int
    """Scored in both."""
    scored_by_a_only: int
    scored_by_b_only: int
    labelled: int
    labels_differ: int
    used: int
    """Labelled and scored in both, but a bundle was made with them."""
    of_used_groups: int
    """The same, but a bundle was made with others of their groups."""
    chose: int
    """Of those that judge the ranking: the cut of a decision was chosen by them, or by others of their groups."""


@dataclass(frozen=True)
class Pairs:
    """The images that two runs have in common, as a table of a database."""

    database: Database
    counts: InCommon
    judging: str
    """The condition of SQL for the images by which the two are judged."""
    near_ones_judge: bool
    """Whether images of groups that a bundle was made with are among them, as a class has no others."""

    def flags(self, *, evaluated: bool = False) -> dict[str | None, Flags]:
        """Who flags how many images of each label; `evaluated`: of those alone by which cuts are judged.

        Empty when one of the two has no cut.
        """
        wanted = f" AND {self.judging} AND NOT {CHOSE}" if evaluated else ""
        found = self.database.table(
            f"SELECT label, flagged_a, flagged_b, count(*) AS images FROM pairs WHERE {IN_BOTH} AND "
            f"flagged_a IS NOT NULL AND flagged_b IS NOT NULL{wanted} GROUP BY ALL"
        )
        return flags_by_label([tuple(row.values()) for row in found.to_pylist()])

    def labelled(self) -> LabelledPairs:
        """The scores of the images by which the two are judged, in an order that is not that of the files."""
        sql = (
            f"SELECT score_a, score_b, is_defect, cluster FROM pairs JOIN labels USING (label) WHERE {IN_BOTH} AND "
            f"{self.judging}"
        )
        found = self.database.table(sql)
        score_a, score_b, defects, keys = (column.to_numpy() for column in found.columns)
        order = np.lexsort((defects, score_b, score_a, keys))
        return LabelledPairs(score_a[order], score_b[order], defects[order].astype(bool), keys[order].astype(np.uint64))

    def disagreements(self, count: int) -> Answer:
        """The images that one run ranks furthest above where the other ranks them, the furthest first.

        `decades` is the logarithm to base 10 of `top_b / top_a`: 2 for an image of the highest 0.1 % in A and of the
        highest 10 % in B, -2 for the reverse.
        """
        self.database.make(
            "furthest",
            "SELECT image_a, image_b, label, top_a, top_b, log10(top_b / top_a) AS decades FROM (SELECT *, "
            "cume_dist() OVER (ORDER BY score_a DESC) AS top_a, cume_dist() OVER (ORDER BY score_b DESC) AS top_b "
            f"FROM pairs WHERE {IN_BOTH}) WHERE top_a <> top_b ORDER BY abs(decades) DESC, image_a LIMIT {count}",
        )
        return self._described("furthest", "top_a, top_b, decades", "abs(decades) DESC, image_a")

    def flagged_by_one(self) -> Answer:
        """The images that one of the two flags and the other does not, in the order of A."""
        self.database.make(
            "parted",
            "SELECT image_a, image_b, label, flagged_a, flagged_b FROM pairs "
            f"WHERE {IN_BOTH} AND flagged_a <> flagged_b",
        )
        return self._described("parted", "flagged_a, flagged_b", "image_a")

    def _described(self, table: str, own: str, order: str) -> Answer:
        """Rows of a table with what the runs say of their images."""
        return self.database.ask(
            "SELECT a.image_id AS image_id_a, b.image_id AS image_id_b, a.uri, t.label, a.score AS score_a, "
            f"b.score AS score_b, a.p_value AS p_value_a, b.p_value AS p_value_b, {own} FROM {table} AS t "
            "JOIN a.results AS a ON a.image_id = image_a JOIN b.results AS b ON b.image_id = image_b "
            f"ORDER BY {order}"
        )


def pair(
    database: Database,
    runs: tuple[Run, Run],
    decisions: tuple[Decision | None, Decision | None],
    used_uris: Collection[str],
    used_groups: Collection[str],
    labels: pa.Table | None = None,
) -> Pairs:
    """Join two runs, which are opened as `a` and `b`, by their images, with the flags of decisions or their own.

    What is used are images that a bundle was made with, and their groups. `labels` has image_id, label and group of
    images of A, in place of those that it has. Images that chose the cut of a decision do not judge flags. DataError
    when the runs have no image in common, and when a scored image has no finite score.
    """
    if labels is not None:
        database.add(GIVEN_LABELS, labels.select(["image_id", "label", "group"]))
    for name, names in (("used_uris", used_uris), ("used_groups", used_groups)):
        database.add(name, pa.table({"name": pa.array(list(names), pa.string())}))
    for name, decision in zip(SCHEMAS, decisions, strict=True):
        database.add(f"choosers_{name}", _choosers(database, name, 0.0 if decision is None else decision.choose_on))
    key = "image_id" if runs[0].fingerprint["manifest"] == runs[1].fingerprint["manifest"] else "uri"
    a, b = _side("a", decisions[0], has_given_labels=labels is not None), _side("b", decisions[1])
    database.make("pairs", f"{_columns(labels is not None)} FROM {a} JOIN {b} USING ({key})")
    database.make("choosers", "SELECT DISTINCT cluster FROM pairs WHERE has_chosen")
    counts = _count(database, runs)
    names_of_labels = database.table("SELECT DISTINCT label FROM pairs WHERE label IS NOT NULL")["label"]
    strange = pa.array(map(is_defect, names_of_labels.to_pylist()), pa.bool_())
    database.add("labels", pa.table({"label": names_of_labels, "is_defect": strange}))
    near_ones_judge = not _has_both(database, LABELLED_UNUSED + AND_FAR) and _has_both(database, LABELLED_UNUSED)
    judging = LABELLED_UNUSED + ("" if near_ones_judge else AND_FAR)
    chose = database.table(f"SELECT count(*) AS images FROM pairs WHERE {IN_BOTH} AND {judging} AND {CHOSE}")
    counts = replace(counts, chose=chose["images"][0].as_py())
    return Pairs(database, counts, judging, near_ones_judge)


def _choosers(database: Database, schema: str, share: float) -> pa.Table:
    """The groups, and the images of none, of which labelled ones have chosen a cut: this share of all of them."""
    kept = list[pa.Array]()
    if share:
        sql = f'SELECT DISTINCT coalesce("group", uri) AS name FROM {schema}.results'
        for batch in database.ask(f'{sql} WHERE label IS NOT NULL OR "group" IS NOT NULL').batches:
            names = batch["name"]
            kept.append(names.filter(pa.array(keys_of(names.to_pylist()) < share)))
    return pa.table({"name": pa.chunked_array(kept, pa.string())})


def _side(schema: str, decision: Decision | None, *, has_given_labels: bool = False) -> str:
    """The rows of a run, with the labels and the flags that are compared."""
    rows, labels = f"FROM {schema}.results AS r", 'r.label, r."group"'
    if has_given_labels:
        rows += f" LEFT JOIN {GIVEN_LABELS} AS l ON l.image_id = r.image_id"
        labels = 'l.label, l."group"'
    if decision is not None:
        flags = f"SELECT image_id, is_anomaly FROM {schema}.flags WHERE decision = {quoted(decision.id)}"
        rows += f" LEFT JOIN ({flags}) AS f ON f.image_id = r.image_id"
    score = f"CASE WHEN r.status = {quoted(Status.SCORED)} THEN r.score END AS score"
    flagged = f"{'r' if decision is None else 'f'}.is_anomaly AS flagged"
    chose = f'coalesce(r."group", r.uri) IN (SELECT name FROM choosers_{schema}) AS chose'
    return f"(SELECT r.image_id, r.uri, {labels}, {score}, {flagged}, {chose} {rows}) AS {schema}"


def _columns(has_given_labels: bool) -> str:
    group = 'coalesce(a."group", b."group")'
    label = "a.label AS label, false AS labels_differ"
    if not has_given_labels:
        label = "coalesce(a.label, b.label) AS label, coalesce(a.label <> b.label, false) AS labels_differ"
    return (
        f"SELECT a.image_id AS image_a, b.image_id AS image_b, {label}, a.score AS score_a, b.score AS score_b, "
        "a.flagged AS flagged_a, b.flagged AS flagged_b, a.chose OR b.chose AS has_chosen, "
        f"hash(coalesce('group ' || {group}, 'image ' || a.uri)) AS cluster, "
        "a.uri IN (SELECT name FROM used_uris) AS is_used, "
        f"coalesce({group} IN (SELECT name FROM used_groups), false) AS is_near"
    )


def _has_both(database: Database, condition: str) -> bool:
    """Whether defects and normal images are among the images of a condition."""
    found = database.table(
        "SELECT count(DISTINCT is_defect) AS classes FROM pairs JOIN labels USING (label) "
        f"WHERE {IN_BOTH} AND {condition}"
    )
    return bool(found["classes"][0].as_py() == 2)


def _count(database: Database, runs: tuple[Run, Run]) -> InCommon:
    asked = ", ".join(f"{sql} AS {name}" for name, sql in COUNTS.items())
    (found,) = database.table(f"SELECT {asked} FROM pairs").to_pylist()
    for run, name in zip(runs, ("strange_a", "strange_b"), strict=True):
        strange = found.pop(name)
        if strange:
            raise DataError(f"{strange:,} scored images of {run.uri} have no finite score; `rayae verify` says which.")
    if found["images"] == 0:
        raise DataError(
            f"{runs[0].uri} and {runs[1].uri} have no image in common, as no URI is in both; score the same images."
        )
    only_a, only_b = (run.rows - found["images"] for run in runs)
    return InCommon(only_a=only_a, only_b=only_b, chose=0, **found)
