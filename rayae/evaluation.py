"""Home of the evaluation: results and labels in, figures with their intervals and their floors out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayae.errors import DataError
from rayae.evidence import AtCut, Example, Examples, Floors, Overlap, Population, RoleErrors, ScoreSkill
from rayae.findings import Evaluation
from rayae.floors import FLOOR_COLUMNS, TRIVIAL, Held, find_floors, without_floors
from rayae.manifest import is_defect, is_normal
from rayae.results import Status
from rayae.score_names import PICTURE_SCORES, UNTRAINED_SCORES
from rayae.statistics import Bools, Figure, rate, skills
from rayae.threshold import exceeds
from rayae.trade_off import trade_off

COLUMNS = ("uri", "label", "group", "status", *TRIVIAL, "score", "is_anomaly")
"""Columns of the results that an evaluation reads, beside those of the other scores."""
HIGHEST, LOWEST_DEFECTS, HIGHEST_NORMALS = 10, 5, 5
ROLES = ("train", "validation", "calibration")
NO_NORMAL = "No unseen normal image is scored and labelled, so false alarms and ranking cannot be had."
NO_DEFECT = "No unseen defect is scored and labelled, so recall and ranking cannot be had."
NO_IMAGE = "No unseen image is scored and labelled, so there is nothing to evaluate."
NO_CUT = "The bundle has no threshold, so nothing is flagged."


@dataclass(frozen=True)
class Rows:
    """The result rows as arrays of one length; the figures stand on those that are `normal` or `defect`."""

    uris: pa.ChunkedArray
    labels: list[str | None]
    groups: list[str | None]
    score: NDArray[np.float32]
    scored: Bools
    used: Bools
    near: Bools
    """Not used, but of a group that was."""
    roles: NDArray[np.object_]
    normal: Bools
    defect: Bools

    @property
    def evaluated(self) -> Bools:
        return self.normal | self.defect

    @property
    def missing_class(self) -> str | None:
        """Why there are not two classes to compare, or None when there are."""
        if not self.evaluated.any():
            return NO_IMAGE
        return NO_NORMAL if not self.normal.any() else NO_DEFECT if not self.defect.any() else None


def evaluate(
    results: pa.Table,
    *,
    primary: str,
    scores: Sequence[str],
    cut: float | None,
    roles: Sequence[str | None],
    used_groups: Collection[str] = (),
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate scores and cut on the images that are scored, labelled and were not used to make the bundle.

    Images of a group that was used stay out too, unless a class would be left without images: then they stay in and
    the words say what that means.

    `roles` says of each row what the bundle used it for (`train`, `validation`, `calibration`), or None.
    `used_groups` are the groups of the images that it used. Raises DataError when a scored row has no finite
    score.
    """
    rows = without_used_groups(read_rows(results, roles), used_groups)
    population = count_population(rows)
    others = [name for name in scores if name != primary and name not in UNTRAINED_SCORES]
    return Evaluation(
        primary=primary,
        confidence=confidence,
        population=population,
        skill=rank_scores(results, rows, [primary, *others], confidence, resamples, seed),
        at_cut=judge_cut(results, rows, cut, confidence),
        trade_off=trade_off(rows.score[rows.evaluated], rows.defect[rows.evaluated], confidence),
        floors=hold_against_floors(results, rows, primary, confidence, resamples, seed),
        errors=scores_by_role(rows),
        error_ratio=compare_errors(results, rows, primary),
        overlap=find_overlap(rows),
        examples=pick_examples(rows, cut),
    )


def read_rows(results: pa.Table, roles: Sequence[str | None]) -> Rows:
    """The columns of the results as arrays."""
    if len(roles) != results.num_rows:
        raise ValueError(f"{len(roles)} roles for {results.num_rows} result rows")
    score = float_column(results, "score")
    scored = np.array([status == Status.SCORED for status in results["status"].to_pylist()], dtype=bool)
    strange = int((scored & ~np.isfinite(score)).sum())
    if strange:
        total = int(scored.sum())
        raise DataError(f"{strange:,} of {total:,} scored images have no finite score; `rayae verify` says more.")
    labels = results["label"].to_pylist()
    used = np.array([role is not None for role in roles], dtype=bool)
    return Rows(
        uris=results["uri"],
        labels=labels,
        groups=results["group"].to_pylist(),
        score=score,
        scored=scored,
        used=used,
        near=np.zeros(len(used), dtype=bool),
        roles=np.array(roles, dtype=object),
        normal=np.array([is_normal(label) for label in labels], dtype=bool) & scored & ~used,
        defect=np.array([is_defect(label) for label in labels], dtype=bool) & scored & ~used,
    )


def float_column(results: pa.Table, name: str) -> NDArray[np.float32]:
    """A score column as float32, NaN for null."""
    return np.asarray(results[name].to_numpy(zero_copy_only=False), dtype=np.float32)


def without_used_groups(rows: Rows, used_groups: Collection[str]) -> Rows:
    """The rows with images near those of the bundle taken out of the figures, where both classes survive it."""
    known = {*used_groups, *(rows.groups[i] for i in np.flatnonzero(rows.used))} - {None}
    near = np.array([group in known for group in rows.groups], dtype=bool) & ~rows.used
    normal, defect = rows.normal & ~near, rows.defect & ~near
    if normal.any() and defect.any():
        return replace(rows, near=near, normal=normal, defect=defect)
    return replace(rows, near=near)


def _defects_of(rows: Rows, *roles: str) -> int:
    """How many images of these roles are labelled as defects."""
    return sum(is_defect(rows.labels[i]) for i in np.flatnonzero(np.isin(rows.roles, roles)))


def count_population(rows: Rows) -> Population:
    """How many images count, and why the others do not."""
    normal, defect = int(rows.normal.sum()), int(rows.defect.sum())
    labelled = np.array([label is not None for label in rows.labels], dtype=bool)
    codes = group_codes(rows)
    evaluated = rows.evaluated
    return Population(
        images=len(rows.score),
        unscored=int((~rows.scored).sum()),
        used=int((rows.scored & rows.used).sum()),
        unlabelled=int((rows.scored & ~rows.used & ~labelled).sum()),
        of_used_groups=int((rows.scored & rows.near & labelled & ~evaluated).sum()),
        normal=normal,
        defect=defect,
        groups=None if codes is None else len(np.unique(codes)),
        normal_groups=None if codes is None else len(np.unique(codes[rows.normal[evaluated]])),
        defect_groups=None if codes is None else len(np.unique(codes[rows.defect[evaluated]])),
        from_used_groups=int((rows.near & evaluated).sum()),
        trained_on_defects=_defects_of(rows, "train", "validation"),
        calibrated_on_defects=_defects_of(rows, "calibration"),
        defect_share=defect / (normal + defect) if normal + defect else None,
        reason=rows.missing_class,
    )


def group_codes(rows: Rows) -> NDArray[np.intp] | None:
    """A dense number for the group of each evaluated image, its own if it has none; None without groups."""
    chosen = [rows.groups[i] for i in np.flatnonzero(rows.evaluated)]
    if all(group is None for group in chosen):
        return None
    numbers: dict[str | int, int] = {}
    keys: list[str | int] = [place if group is None else group for place, group in enumerate(chosen)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)


def rank_scores(
    results: pa.Table, rows: Rows, names: Sequence[str], confidence: float, resamples: int, seed: int
) -> tuple[ScoreSkill, ...]:
    """AUROC and average precision of each score; the first is the primary one, the column `score`."""
    columns = {name: "score" if name == names[0] else name for name in names}
    reasons = {name: why_unranked(results, rows, name, column) for name, column in columns.items()}
    ranked = {
        name: float_column(results, column)[rows.evaluated] for name, column in columns.items() if reasons[name] is None
    }
    positive, groups = rows.defect[rows.evaluated], group_codes(rows)
    measured = skills(list(ranked.values()), positive, groups, confidence=confidence, resamples=resamples, seed=seed)
    found = dict(zip(ranked, measured, strict=True))
    missing = {name: Figure(None, reason=reason) for name, reason in reasons.items()}
    return tuple(
        ScoreSkill(name, found[name].auroc, found[name].average_precision)
        if name in found
        else ScoreSkill(name, missing[name], missing[name])
        for name in columns
    )


def why_unranked(results: pa.Table, rows: Rows, name: str, column: str) -> str | None:
    """Why a score has no AUROC, or None when it can have one."""
    if rows.missing_class is not None:
        return rows.missing_class
    if column not in results.column_names:
        return f"The results have no column {column}."
    if not np.isfinite(float_column(results, column)[rows.evaluated]).all():
        return f"Some scored images have no finite {name}."
    return None


def judge_cut(results: pa.Table, rows: Rows, cut: float | None, confidence: float) -> AtCut:
    """Counts and rates at the cut."""
    if cut is None or not rows.evaluated.any():
        reason = NO_CUT if cut is None else NO_IMAGE
        none = Figure(None, reason=reason)
        return AtCut(cut, None, None, None, None, none, none, none, none, None, reason)
    flagged = exceeds(rows.score, cut)
    tp, fp = int((flagged & rows.defect).sum()), int((flagged & rows.normal).sum())
    fn, tn = int(rows.defect.sum()) - tp, int(rows.normal.sum()) - fp
    stated = results["is_anomaly"].to_pylist()
    differ = sum(bool(flagged[i]) is not stated[i] for i in np.flatnonzero(rows.evaluated))
    return AtCut(
        cut=cut,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        true_negatives=tn,
        precision=rate(tp, tp + fp, confidence, "No image is above the cut, so there is no precision."),
        recall=rate(tp, tp + fn, confidence, NO_DEFECT),
        false_positive_rate=rate(fp, fp + tn, confidence, NO_NORMAL),
        f1=Figure(2 * tp / (2 * tp + fp + fn)) if tp + fn else Figure(None, reason=NO_DEFECT),
        flags_that_differ=differ,
        reason=None,
    )


def hold_against_floors(
    results: pa.Table, rows: Rows, primary: str, confidence: float, resamples: int, seed: int
) -> Floors:
    """What needs no trained network on the same images, and whether the primary score ranks better."""
    if rows.missing_class is not None:
        return without_floors(rows.missing_class)
    chosen = rows.evaluated
    held = Held(primary, rows.score[chosen], rows.defect[chosen], group_codes(rows), confidence, resamples, seed)
    names = [name for name in FLOOR_COLUMNS if name in results.column_names]
    columns = {name: results[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in names}
    return find_floors(held, {name: values[chosen] for name, values in columns.items()})


def members(rows: Rows) -> dict[str, Bools]:
    """Which rows are of each role."""
    used = {role: rows.scored & (rows.roles == role) for role in ROLES}
    return used | {"unseen normal": rows.normal, "unseen defect": rows.defect}


def scores_by_role(rows: Rows) -> tuple[RoleErrors, ...]:
    """Mean and median of the primary score for each role of images."""
    found = []
    for role, chosen in members(rows).items():
        score = rows.score[chosen].astype(np.float64)
        if len(score) == 0:
            found.append(RoleErrors(role, 0, None, None, f"No {role} image is scored in this run."))
        else:
            found.append(RoleErrors(role, len(score), float(score.mean()), float(np.median(score)), None))
    return tuple(found)


def compare_errors(results: pa.Table, rows: Rows, primary: str) -> Figure:
    """Median error of unseen normal images, or failing these of calibration images, over that of training.

    Of the primary score where that is an error of the reconstruction, else of the mean squared error: of a distance, a
    logit or a combined score the ratio does not say whether the network reproduces what it has not seen.
    """
    error = primary if primary in PICTURE_SCORES else "mse"
    column = "score" if error == primary else error
    if column not in results.column_names:
        return Figure(None, reason=f"No ratio of errors: the results have no column {error}.")
    values = float_column(results, column).astype(np.float64)
    median = {role: float(np.median(values[chosen])) for role, chosen in members(rows).items() if chosen.any()}
    held_out = next((role for role in ("unseen normal", "calibration") if role in median), None)
    if "train" not in median:
        return Figure(None, reason="No ratio of errors: no image of this run was trained on.")
    if held_out is None:
        return Figure(None, reason="No ratio of errors: no normal image of this run was kept out of training.")
    if median["train"] <= 0:
        return Figure(None, reason="No ratio of errors: the median error of the training images is not above 0.")
    ratio = median[held_out] / median["train"]
    return Figure(ratio, method=f"median {error} of {held_out} images over that of the training images")


def find_overlap(rows: Rows) -> Overlap:
    """Shares of defects not above the highest normal score, and not above what 95 % of normals keep to."""
    if rows.missing_class is not None:
        return Overlap(Figure(None, reason=rows.missing_class), Figure(None, reason=rows.missing_class))
    normal, defect = rows.score[rows.normal], rows.score[rows.defect]
    most = np.quantile(normal, 0.95, method="inverted_cdf")
    return Overlap(Figure(float(np.mean(defect <= normal.max()))), Figure(float(np.mean(defect <= most))))


def pick_examples(rows: Rows, cut: float | None) -> Examples:
    """The images that tell most: the highest scores, the lowest of defects, the highest of normal images."""

    def top(chosen: Bools, sign: int, count: int) -> tuple[Example, ...]:
        places = np.flatnonzero(chosen)
        order = places[np.argsort(sign * rows.score[places], kind="stable")][:count]
        return tuple(example(rows, int(place), cut) for place in order)

    return Examples(
        highest=top(rows.evaluated, -1, HIGHEST),
        lowest_defects=top(rows.defect, 1, LOWEST_DEFECTS),
        highest_normals=top(rows.normal, -1, HIGHEST_NORMALS),
    )


def example(rows: Rows, place: int, cut: float | None) -> Example:
    """One row of a table of images: image, score, flagged."""
    score = rows.score[place]
    flagged = None if cut is None else bool(exceeds(rows.score[place : place + 1], cut)[0])
    return Example(rows.uris[place].as_py(), rows.labels[place], float(score), flagged)
