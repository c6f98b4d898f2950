"""Home of the evaluation: results and labels in, figures with their intervals and their floors out."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from rayae.breakdowns import NO_CUT, Breakdown, Evaluated, break_down, no_breakdown
from rayae.errors import DataError
from rayae.evaluated import (
    NO_DEFECT,
    NO_IMAGE,
    NO_NORMAL,
    NOTHING_MORE,
    About,
    Others,
    Rows,
    float_column,
    group_codes,
    read_rows,
    without_used_groups,
)
from rayae.evidence import (
    AtCut,
    Decided,
    Example,
    Examples,
    Floors,
    Overlap,
    Population,
    Review,
    RoleErrors,
    ScoreSkill,
)
from rayae.findings import Evaluation
from rayae.floors import FLOOR_COLUMNS, TRIVIAL, Held, find_floors, without_floors
from rayae.gates import Evidence, Gate, judge
from rayae.manifest import is_defect
from rayae.operating_points import RATES, RecallAt, Resampling, f1, recalls
from rayae.score_names import PICTURE_SCORES, UNTRAINED_SCORES
from rayae.statistics import Bools, Figure, Floats, fewest_clusters, median_interval, rate, skills
from rayae.trade_off import trade_off

COLUMNS = ("uri", "label", "group", "status", *TRIVIAL, "score", "is_anomaly")
"""Columns of the results that an evaluation reads, beside those of the other scores."""
HIGHEST, LOWEST_DEFECTS, HIGHEST_NORMALS = 10, 5, 5
ROLES = ("train", "validation", "calibration")


def evaluate(
    results: pa.Table,
    *,
    primary: str,
    scores: Sequence[str],
    cut: float | None,
    roles: Sequence[str | None],
    used_groups: Collection[str] = (),
    about: About = NOTHING_MORE,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate scores and cut on the images that are scored, labelled and were not used to make the bundle.

    Images of a group that was used stay out too, unless a class would be left without images: then they stay in and
    the words say what that means.

    `roles` says of each row what the bundle used it for (`train`, `validation`, `calibration`), or None.
    `used_groups` are the groups of the images that it used. Raises DataError when a scored row has no finite
    score, and when no image is left because all have chosen the cut of a decision.
    """
    rows = without_used_groups(read_rows(results, roles, cut, about), used_groups)
    how = Resampling(group_codes(rows), confidence, resamples, seed)
    others = [name for name in scores if name != primary and name not in UNTRAINED_SCORES]
    found = Evaluation(
        primary=primary,
        confidence=confidence,
        population=count_population(rows, about.others),
        skill=rank_scores(results, rows, [primary, *others], confidence, resamples, seed),
        at_cut=judge_cut(results, rows, cut, how, about),
        trade_off=trade_off(rows.score[rows.evaluated], rows.defect[rows.evaluated], confidence),
        floors=hold_against_floors(results, rows, primary, confidence, resamples, seed),
        errors=scores_by_role(rows),
        error_ratio=compare_errors(results, rows, primary, confidence),
        overlap=find_overlap(rows, confidence),
        examples=pick_examples(rows),
        recall_at=find_recalls(rows, how),
        breakdown=find_breakdown(rows, how),
        decided=decided(rows, about, confidence),
        gates=(),
    )
    return replace(found, gates=gates_of(found, rows, how, about))


def _defects_of(rows: Rows, *roles: str) -> int:
    """How many images of these roles are labelled as defects."""
    return sum(is_defect(rows.labels[i]) for i in np.flatnonzero(np.isin(rows.roles, roles)))


def count_population(rows: Rows, others: Others) -> Population:
    """How many images count, and why the others do not."""
    normal, defect = int(rows.normal.sum()), int(rows.defect.sum())
    labelled = np.array([label is not None for label in rows.labels], dtype=bool)
    codes = group_codes(rows)
    evaluated = rows.evaluated
    return Population(
        images=len(rows.score) + others.images,
        unscored=int((~rows.scored).sum()) + others.unscored,
        used=int((rows.scored & rows.used).sum()),
        unlabelled=int((rows.scored & ~rows.used & ~labelled).sum()) + others.unlabelled,
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


def judge_cut(results: pa.Table, rows: Rows, cut: float | None, how: Resampling, about: About) -> AtCut:
    """Counts and rates at the cut."""
    flagged, confidence = rows.flagged, how.confidence
    if cut is None or flagged is None or not rows.evaluated.any():
        reason = NO_CUT if cut is None else NO_IMAGE
        none = Figure(None, reason=reason)
        return AtCut(cut, None, None, None, None, none, none, none, none, None, reason)
    tp, fp = int((flagged & rows.defect).sum()), int((flagged & rows.normal).sum())
    fn, tn = int(rows.defect.sum()) - tp, int(rows.normal.sum()) - fp
    return AtCut(
        cut=cut,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        true_negatives=tn,
        precision=rate(tp, tp + fp, confidence, "No image is above the cut, so there is no precision."),
        recall=rate(tp, tp + fn, confidence, NO_DEFECT),
        false_positive_rate=rate(fp, fp + tn, confidence, NO_NORMAL),
        f1=f1(flagged[rows.evaluated], rows.defect[rows.evaluated], how) if tp + fn else Figure(None, reason=NO_DEFECT),
        flags_that_differ=None if about.decision is not None else flags_that_differ(results, rows, flagged),
        reason=None,
    )


def flags_that_differ(results: pa.Table, rows: Rows, flagged: Bools) -> int:
    """Evaluated images whose flag in the results is another, or none."""
    stated = results["is_anomaly"].to_pylist()
    return sum(bool(flagged[i]) is not stated[i] for i in np.flatnonzero(rows.evaluated))


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


def compare_errors(results: pa.Table, rows: Rows, primary: str, confidence: float) -> Figure:
    """Median error of unseen normal images, or failing these of calibration images, over that of training.

    Of the primary score where that is an error of the reconstruction, else of the mean squared error: of a distance, a
    logit or a combined score the ratio does not say whether the network reproduces what it has not seen.
    """
    error = primary if primary in PICTURE_SCORES else "mse"
    column = "score" if error == primary else error
    if column not in results.column_names:
        return Figure(None, reason=f"No ratio of errors: the results have no column {error}.")
    values = float_column(results, column).astype(np.float64)
    known = {role: values[chosen] for role, chosen in members(rows).items() if chosen.any()}
    held_out = next((role for role in ("unseen normal", "calibration") if role in known), None)
    if "train" not in known:
        return Figure(None, reason="No ratio of errors: no image of this run was trained on.")
    if held_out is None:
        return Figure(None, reason="No ratio of errors: no normal image of this run was kept out of training.")
    if np.median(known["train"]) <= 0:
        return Figure(None, reason="No ratio of errors: the median error of the training images is not above 0.")
    method = f"median {error} of {held_out} images over that of the training images"
    return ratio_of_medians(known[held_out], known["train"], confidence, method)


def ratio_of_medians(above: Floats, below: Floats, confidence: float, method: str) -> Figure:
    """The ratio, with an interval from those of the two medians, of which each is allowed half of the error."""
    value = float(np.median(above) / np.median(below))
    ends = [median_interval(values, (1 + confidence) / 2) for values in (above, below)]
    if ends[0] is None or ends[1] is None or ends[1][0] <= 0:
        return Figure(value, method=method)
    return Figure(value, ends[0][0] / ends[1][1], ends[0][1] / ends[1][0], method)


def find_overlap(rows: Rows, confidence: float) -> Overlap:
    """Shares of defects not above the highest normal score, and not above what 95 % of normals keep to.

    Their intervals take the normal images as given.
    """
    if rows.missing_class is not None:
        return Overlap(Figure(None, reason=rows.missing_class), Figure(None, reason=rows.missing_class))
    normal, defect = rows.score[rows.normal], rows.score[rows.defect]
    most = np.quantile(normal, 0.95, method="inverted_cdf")
    below = [int((defect <= limit).sum()) for limit in (normal.max(), most)]
    return Overlap(*(rate(count, len(defect), confidence, NO_DEFECT) for count in below))


def find_recalls(rows: Rows, how: Resampling) -> tuple[RecallAt, ...]:
    """Recall at fixed false-positive rates, or why there is none."""
    if rows.missing_class is not None:
        return tuple(RecallAt(at, None, Figure(None, reason=rows.missing_class)) for at in RATES)
    return recalls(rows.score[rows.evaluated], rows.defect[rows.evaluated], how)


def find_breakdown(rows: Rows, how: Resampling) -> Breakdown:
    """The figures by kind of defect and by group."""
    if rows.missing_class is not None:
        return no_breakdown(rows.missing_class)
    chosen = np.flatnonzero(rows.evaluated)
    judged = Evaluated(
        scores=rows.score[chosen],
        defect=rows.defect[chosen],
        labels=[str(rows.labels[i]) for i in chosen],
        groups=[rows.groups[i] for i in chosen],
        flagged=None if rows.flagged is None else rows.flagged[chosen],
    )
    return break_down(judged, how)


def decided(rows: Rows, about: About, confidence: float) -> Decided | None:
    """The decision whose cut is evaluated, if it is one; DataError when nothing is left that did not choose it."""
    if about.decision is None:
        return None
    if about.chosen_on and not rows.evaluated.any():
        raise DataError(
            f"all {about.chosen_on:,} labelled images that could measure the decision {about.decision} have chosen its "
            "cut; decide again with a lower `choose_on=`, or give `labels=` for more images."
        )
    return Decided(about.decision, about.chosen_on, about.cuts_of_groups, reviewed(rows, about, confidence))


def reviewed(rows: Rows, about: About, confidence: float) -> Review | None:
    """The images that are for a person to look at, where the decision has such a band."""
    band = about.for_review
    if band is None or rows.flagged is None:
        return None
    defects, normals = int((band & rows.defect).sum()), int((band & rows.normal).sum())
    found = int((rows.flagged & rows.defect).sum()) + defects
    return Review(defects, normals, rate(found, int(rows.defect.sum()), confidence, NO_DEFECT))


def gates_of(found: Evaluation, rows: Rows, how: Resampling, about: About) -> tuple[Gate, ...]:
    """Whether the detector and its cut are ready for production, gate by gate."""
    chosen, population = rows.defect[rows.evaluated], found.population
    is_grouped = how.groups is not None and rows.missing_class is None
    evidence = Evidence(
        normals=population.normal,
        defects=population.defect,
        fewest_groups=fewest_clusters(chosen, how.groups) if is_grouped and how.groups is not None else None,
        error_ratio=found.error_ratio,
        overlap=found.overlap.below_95_percent_of_normal,
        leads={kind: floor.lead for kind, floor in found.floors.best.items()},
        f1=found.at_cut.f1,
        f1_of_flagging_everything=found.floors.f1_flag_everything,
        false_positive_rate=found.at_cut.false_positive_rate,
        promised=about.promised,
        promised_fdr=about.promised_fdr,
        precision=found.at_cut.precision,
        has_cut=rows.flagged is not None,
        leaks={"share a group with images that the bundle was made with": population.from_used_groups},
        alike=about.copies,
        calibrated_on_defects=population.calibrated_on_defects,
        training=about.training,
    )
    return judge(evidence)


def pick_examples(rows: Rows) -> Examples:
    """The images that tell most: the highest scores, the lowest of defects, the highest of normal images."""

    def top(chosen: Bools, sign: int, count: int) -> tuple[Example, ...]:
        places = np.flatnonzero(chosen)
        order = places[np.argsort(sign * rows.score[places], kind="stable")][:count]
        return tuple(example(rows, int(place)) for place in order)

    return Examples(
        highest=top(rows.evaluated, -1, HIGHEST),
        lowest_defects=top(rows.defect, 1, LOWEST_DEFECTS),
        highest_normals=top(rows.normal, -1, HIGHEST_NORMALS),
    )


def example(rows: Rows, place: int) -> Example:
    """One row of a table of images: image, score, flagged."""
    flagged = None if rows.flagged is None else bool(rows.flagged[place])
    return Example(rows.uris[place].as_py(), rows.labels[place], float(rows.score[place]), flagged)
