"""The part of `rayae flag` that makes the cuts of a run: one for all or one for each group, and who has chosen them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rayae.assignment import ALL
from rayae.cuts.basis import Basis
from rayae.cuts.labelled import Labelled
from rayae.errors import RayaeError
from rayae.flags import Cut, Thresholds
from rayae.run import Run
from rayae.survey import Survey, scored_rows, survey
from rayae.terminal import say, warn
from rayae.threshold import Scores, Threshold, exceeds
from rayae.verbs.flag_bundle import (
    Used,
    bundle_of,
    calibration_by_group,
    groups_of,
    refuse_calibrated_again,
    used_by,
)
from rayae.verbs.flag_rules import Material, by_calibration, chosen, fewest_for

NAMED = 5
"""Groups that are told by name."""
LABELS_AT_MOST = 1_000_000
"""Images of a run whose labels are read even where the rule does not ask for them, for the recall of the curve."""


@dataclass(frozen=True)
class Chosen:
    """The cuts of a run, what they follow from, and who chose them."""

    survey: Survey
    material: Material
    cuts: dict[str, Cut]
    labels: dict[str, Any] | None
    """How many labelled images have chosen, how many have not, and what the cut makes of these; None without labels."""

    @property
    def thresholds(self) -> Thresholds:
        return {value: cut.threshold for value, cut in self.cuts.items()}


def choose(run: Run, asked: Mapping[str, Any]) -> Chosen:
    """Go through the scores of a run and choose its cuts as asked; raises what the rule does."""
    basis, used = basis_of(run, asked["confidence"]), used_as_asked(run, asked)
    known = used or Used()
    found = survey(run, basis.calibration, labels=used is not None, leave_out=known.uris, leave_out_groups=known.groups)
    choosing, others = found.labelled.dealt(asked.get("choose_on", 1.0))
    material = Material(basis, found.ranks, choosing, lambda: _scores(run))
    has_labels = "choose_on" in asked
    if has_labels and found.left_out:
        made = "the bundle was made with them, or with images of their groups"
        say(f"{found.left_out:,} labelled images have no say: {made}")
    threshold, labels = chosen(asked, material), None
    if has_labels:
        counts = {"chosen_on": _count(choosing), "measured_on": _measured(others, threshold)}
        labels = {"left_out": found.left_out, **counts}
        threshold = replace(threshold, guarantee=f"{threshold.guarantee} {in_words(labels)}")
    cuts = {ALL: Cut(threshold, basis.calibration, asked.get("p_values", "marginal"))}
    if asked.get("per_group"):
        cuts |= cuts_of_groups(basis, calibration_by_group(run), asked)
    return Chosen(found, material, cuts, labels)


def basis_of(run: Run, confidence: float) -> Basis:
    """What every rule stands on: the scores that the run was planned with."""
    calibration = run.calibration
    known = np.empty(0, np.float32) if calibration is None else calibration
    return Basis(run.record["primary_score"], run.fingerprint["bundle"], known, groups_of(run), confidence)


def used_as_asked(run: Run, asked: Mapping[str, Any]) -> Used | None:
    """The images whose labels tell nothing; None where no labels are read: not needed, and costly or not to be had."""
    if "choose_on" in asked:
        if run.calibration is not None:
            refuse_calibrated_again(run, bundle_of(run))
        return used_by(run)
    if run.rows > LABELS_AT_MOST:
        return None
    try:
        return used_by(run)
    except RayaeError:  # the curve has no recall then; `groups_of` has warned of the bundle
        return None


def cuts_of_groups(basis: Basis, calibrations: Mapping[str, Scores], asked: Mapping[str, Any]) -> dict[str, Cut]:
    """A cut for each group with enough calibration images, and a warning that names groups without."""
    fewest = fewest_for(asked)
    few = [group for group, own in calibrations.items() if len(own) < fewest]
    if few:
        named = ", ".join(few[:NAMED]) + (" and others" if len(few) > NAMED else "")
        warn(
            f"{len(few):,} of {len(calibrations):,} groups have fewer than {fewest:,} calibration images and get the "
            f"cut of all: {named}."
        )
    return {
        group: Cut(by_calibration(asked, replace(basis, calibration=own, groups=1)), own)
        for group, own in calibrations.items()
        if len(own) >= fewest
    }


def in_words(labels: Mapping[str, Any]) -> str:
    """Who chose a cut, and what it makes of the labelled images that did not."""
    chosen_on, others = labels["chosen_on"], labels["measured_on"]
    chose = (
        f"{chosen_on['defects']:,} defects and {chosen_on['normals']:,} normal images of the run were there to choose "
        "the cut"
    )
    if others["defects"] + others["normals"] == 0:
        return f"{chose}, and no labelled image is left to measure it on."
    band = ""
    if "defects_above_review_cut" in others:
        more = [others[f"{kind}_above_review_cut"] - others[f"{kind}_flagged"] for kind in ("defects", "normals")]
        band = f", and {more[0]:,} more defects and {more[1]:,} more normal images are for a person to look at"
    return (
        f"{chose}; of the others it flags {others['defects_flagged']:,} of {others['defects']:,} defects "
        f"and {others['normals_flagged']:,} of {others['normals']:,} normal images{band}."
    )


def _count(labelled: Labelled) -> dict[str, int]:
    return {"defects": len(labelled.defects), "normals": len(labelled.normals)}


def _measured(others: Labelled, threshold: Threshold) -> dict[str, int]:
    found = _count(others) | _above(others, threshold.cut, "flagged")
    return found if threshold.review_cut is None else found | _above(others, threshold.review_cut, "above_review_cut")


def _above(labelled: Labelled, cut: float, what: str) -> dict[str, int]:
    own = {"defects": labelled.defects, "normals": labelled.normals}
    return {f"{kind}_{what}": int(exceeds(scores, cut).sum()) for kind, scores in own.items()}


def _scores(run: Run) -> Iterator[Scores]:
    for rows in run.result_tables(["status", "score"]):
        yield scored_rows(rows)["score"].to_numpy().astype(np.float32)
