"""Home of the cut of a precision: the lowest whose lower bound keeps it, down from cuts that were fixed beforehand.

Cuts are tested one after the other, from a strict one down, until one fails: fixed sequences from several starts
(Angelopoulos, Bates, Candes, Jordan and Lei 2021, "Learn then test"). Each test bounds recall from below and the
false-positive rate from above (Clopper and Pearson 1934), and so precision at a stated prevalence. The starts are
scores of a part of the defects that takes no part in the tests, since cuts that are tested must not be chosen by the
images that test them.
"""

import math
from dataclasses import dataclass

import numpy as np

from rayae.cuts.basis import Basis, check_share, just_below, lower_rate, upper_rate
from rayae.cuts.labelled import Labelled, Roc
from rayae.errors import DataError
from rayae.statistics import percent
from rayae.threshold import Scores, Threshold

PILOT = 0.2
"""Share of the defects that give the starts."""
STARTS = (0.75, 0.5, 0.25)
"""Their quantiles. At a high one few defects are flagged and at a low one more normal images: which of them has the
better bound depends on the detector."""


def precision(basis: Basis, labelled: Labelled, target: float, prevalence: float) -> Threshold:
    """The lowest cut of which at least `target` of what it flags are defects where `prevalence` of all images are.

    It holds at the confidence of the basis. Labelled normal images and those of the calibration test together.
    DataError when no cut keeps the target, with what would help.
    """
    check_share("precision", target)
    check_share("prevalence", prevalence)
    pilot, rest = without_pilot(labelled)
    tested = rest.with_normals(basis.calibration)
    m, n = len(tested.defects), len(tested.normals)
    if m == 0 or n == 0:
        raise DataError(
            "rule=precision needs labelled defects of two groups or more, and normal images, labelled or of the "
            f"calibration; found {len(labelled.defects):,} defects and {n:,} normal images. Label more."
        )
    starts = [just_below(score) for score in np.unique(np.quantile(pilot, STARTS, method="inverted_cdf")).tolist()]
    bounds = Bounds(tested.roc(), prevalence, 1 - (1 - basis.confidence) / len(starts))
    passed = [place for start in starts if (place := bounds.lowest_from(start, target)) is not None]
    if not passed:
        raise DataError(_why_none(bounds, starts, target))
    cut = bounds.roc.cut_at(min(passed))
    flagged = tested.rates(cut).recall
    guarantee = (
        f"At least {percent(target)} of what is flagged are defects where {percent(prevalence)} of all images are, "
        f"with {percent(basis.confidence)} confidence, if new defects are exchangeable with the {m:,} labelled "
        f"defects that tested the cut and new normal images with the {n:,} normal ones, labelled and of the "
        f"calibration together. Of these defects it flags {percent(flagged)}.{rest.about_groups()}"
    )
    figures = {"precision": target, "prevalence": prevalence, "recall": flagged, "defects": m, "normals": n}
    return basis.threshold("precision", cut, guarantee, chosen_by_calibration=True, figures=figures)


def without_pilot(labelled: Labelled) -> tuple[Scores, Labelled]:
    """The defects of a fifth of the groups that have any, but one at least, and all images of other groups."""
    groups = np.unique(labelled.keys[labelled.is_defect])
    pilot = np.isin(labelled.keys, groups[: math.ceil(PILOT * len(groups))])
    return labelled.where(pilot).defects, labelled.where(~pilot)


@dataclass(frozen=True)
class Bounds:
    """Lower bounds of the precision of cuts, each at this confidence."""

    roc: Roc
    prevalence: float
    confidence: float

    def lowest_from(self, start: float, target: float) -> int | None:
        """The place of the lowest cut down to which, from the start, all have at least this precision; None if none."""
        place = self.place_of(start)
        lowest = None
        while place >= 0 and self.lower(place) >= target:
            lowest, place = place, place - 1
        return lowest

    def place_of(self, cut: float) -> int:
        """The cut that flags the same images."""
        return max(0, int(np.searchsorted(self.roc.cuts, np.float32(cut), side="right")) - 1)

    def lower(self, place: int) -> float:
        """A lower bound of the precision of a cut."""
        return self.bound(int(self.roc.hits[place]), int(self.roc.false_alarms[place]))

    def bound(self, hits: int, false_alarms: int) -> float:
        """The same from what it flags, with half of the error for each of the two rates."""
        m, n, half = int(self.roc.hits[0]), int(self.roc.false_alarms[0]), (1 + self.confidence) / 2
        defects = self.prevalence * lower_rate(hits, m, half)
        return defects / (defects + (1 - self.prevalence) * upper_rate(false_alarms, n, half))


def _why_none(bounds: Bounds, starts: list[float], target: float) -> str:
    """What was found, and what would help: more images where not even the best scores could show the target."""
    m, n = int(bounds.roc.hits[0]), int(bounds.roc.false_alarms[0])
    found, most = max(bounds.lower(bounds.place_of(start)) for start in starts), bounds.bound(m, 0)
    asked = f"rule=precision with precision={target:g} at prevalence={bounds.prevalence:g}"
    known = f"{asked} finds no cut that keeps it: {percent(found)} is the best lower bound where the tests start"
    if most >= target:
        return (
            f"{known}, though {m:,} defects and {n:,} normal images would allow for {percent(most)}. Label "
            "more defects, calibrate on more normal images, train a better detector, or ask for less."
        )
    recall = lower_rate(m, m, (1 + bounds.confidence) / 2)
    fpr = bounds.prevalence * recall * (1 - target) / ((1 - bounds.prevalence) * target)
    needed = math.ceil(math.log((1 - bounds.confidence) / 2) / math.log1p(-fpr))
    return (
        f"{known}, and no more than {percent(most)} can be shown by {m:,} defects and {n:,} normal images. It takes "
        f"{needed:,} normal images or more, or less to ask for."
    )
