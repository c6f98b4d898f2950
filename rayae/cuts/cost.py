"""Home of the cut of costs: the least expected cost on the convex hull of the ROC points, and a band for review.

A cut that is best for some costs is on the hull (Provost and Fawcett 2001, "Robust classification for imprecise
environments"). To review an image that is a defect with probability p beats both answers when p * cost_fn and
(1 - p) * cost_fp exceed cost_review, which no p does unless cost_review < cost_fn * cost_fp / (cost_fn + cost_fp)
(Chow 1970).
"""

from dataclasses import dataclass

import numpy as np

from rayae.cuts.basis import Basis, check_positive, check_share
from rayae.cuts.crossfitted import crossfitted
from rayae.cuts.labelled import Labelled, Rates, Roc
from rayae.statistics import percent
from rayae.threshold import HIGHEST, Threshold


@dataclass(frozen=True)
class Costs:
    """What answers cost, in any one unit, and the share of images that are defects. ConfigError unless they can be."""

    cost_fn: float
    """Of a defect that passes."""
    cost_fp: float
    """Of a normal image that is flagged."""
    prevalence: float
    cost_review: float | None = None
    """Of a person's look at an image, which is taken to be right; None where nobody looks."""

    def __post_init__(self) -> None:
        check_positive("cost_fn", self.cost_fn)
        check_positive("cost_fp", self.cost_fp)
        check_share("prevalence", self.prevalence)
        if self.cost_review is not None:
            check_positive("cost_review", self.cost_review)

    @property
    def dearest_review(self) -> float:
        """The cost below which a review can pay."""
        return self.cost_fn * self.cost_fp / (self.cost_fn + self.cost_fp)

    @property
    def review(self) -> float | None:
        """The cost of a review, None where it cannot pay."""
        return self.cost_review if self.cost_review is not None and self.cost_review < self.dearest_review else None

    def expected(self, flagged: Rates, looked_at: Rates) -> float:
        """Per image, of the rates above the cut and above the lower end of the band, the same ones without a band."""
        missed, alarms = self.prevalence * (1 - looked_at.recall), (1 - self.prevalence) * flagged.fpr
        band = self.prevalence * (looked_at.recall - flagged.recall)
        band += (1 - self.prevalence) * (looked_at.fpr - flagged.fpr)
        return self.cost_fn * missed + self.cost_fp * alarms + (self.cost_review or 0.0) * band


def cost(basis: Basis, labelled: Labelled, costs: Costs) -> Threshold:
    """The cut of the least expected cost, with a band for review below it where that pays; it guarantees nothing.

    Labelled normal images and those of the calibration choose together. DataError when there are fewer than two
    defects or normal images.
    """
    together = labelled.with_normals(basis.calibration)
    together.needs("cost", 2, 2)
    cut, low = cheapest(together.roc(), costs), cheapest(together.roc(), costs, of_band=True)
    apparent = costs.expected(together.rates(cut), together.rates(low))
    crossed = costs.expected(
        crossfitted("cost", together, lambda roc: cheapest(roc, costs)),
        crossfitted("cost", together, lambda roc: cheapest(roc, costs, of_band=True)),
    )
    figures = {"cost_fn": costs.cost_fn, "cost_fp": costs.cost_fp, "prevalence": costs.prevalence}
    if costs.cost_review is not None:
        figures["cost_review"] = costs.cost_review
    figures |= {"cost": apparent, "crossfitted_cost": crossed, "optimism": crossed - apparent}
    words = (
        f"Where a missed defect costs {costs.cost_fn:g}, a false alarm {costs.cost_fp:g}, and "
        f"{percent(costs.prevalence)} of the images are defects, this is the least expected cost an image, "
        f"{apparent:.4g}; chosen and measured on different images it is {crossed:.4g}.{about_extremes(costs, cut, low)}"
        f"{about_review(costs, cut, low)} It is an estimate from {len(labelled.defects):,} labelled defects, "
        f"{len(labelled.normals):,} labelled normal images and those of the calibration, and no guarantee."
        f"{labelled.about_groups()}"
    )
    review_cut = low if low < cut else None
    return basis.threshold("cost", cut, words, chosen_by_calibration=True, figures=figures, review_cut=review_cut)


def cheapest(roc: Roc, costs: Costs, *, of_band: bool = False) -> float:
    """The cut of the least cost, the highest of those that tie; with `of_band` the lower end of the band.

    Where a review pays, its cost takes the place of the false alarm's at the lower end, and is saved by what passes
    there; at the upper end it takes the place of the miss.
    """
    review = costs.review
    miss, alarm = costs.cost_fn, costs.cost_fp
    if review is not None:
        miss, alarm = (miss - review, review) if of_band else (review, alarm - review)
    places = roc.hull()
    spent = costs.prevalence * miss * (1 - roc.recall[places]) + (1 - costs.prevalence) * alarm * roc.fpr[places]
    return roc.cut_at(int(places[np.flatnonzero(spent <= spent.min() * (1 + 1e-12))[-1]]))


def about_extremes(costs: Costs, cut: float, low: float) -> str:
    """What it costs to do without scores, and whether that is cheapest."""
    nothing, everything = costs.prevalence * costs.cost_fn, (1 - costs.prevalence) * costs.cost_fp
    words = f" To flag nothing costs {nothing:.4g}, to flag everything {everything:.4g}"
    if low < cut or abs(cut) < HIGHEST:
        return f"{words}."
    return f"{words}: no cut is cheaper than to flag {'nothing' if cut > 0 else 'everything'}."


def about_review(costs: Costs, cut: float, low: float) -> str:
    """What becomes of a review that was offered."""
    if costs.cost_review is None:
        return ""
    if costs.review is None:
        dearest = f"it would have to cost less than {costs.dearest_review:.4g}"
        return f" A review that costs {costs.cost_review:g} never pays: {dearest}."
    if low < cut:
        return f" Scores above the review cut and up to the cut are for a person, at {costs.cost_review:g} an image."
    return f" A review at {costs.cost_review:g} could pay, but no score is doubtful enough for it."
