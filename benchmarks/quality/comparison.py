"""Home of the figures over folds: mean AUROC, and its difference to another score, with intervals.

Both come from the same resamples of whole groups, so that what makes a group hard is not counted twice in a difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.statistics import Bools, Figure, Floats, Ranking, interval, resample

CONFIDENCE = 0.95
RESAMPLES = 1000
AT_ONCE = 100
Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Standing:
    """How well a score ranks defects, and how much better than the reference."""

    auroc: Figure
    difference: Figure | None
    """None for the reference itself, or where there is none."""

    @property
    def is_better(self) -> bool:
        """Whether the interval of the difference lies above 0."""
        return self.difference is not None and self.difference.low is not None and self.difference.low > 0


class Folded:
    """A score ranked within each fold, since scores of two trainings are on different scales."""

    def __init__(self, scores: Scores, positive: Bools, folds: NDArray[np.intp]) -> None:
        self.rows = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        self.rankings = [Ranking(scores[rows], positive[rows]) for rows in self.rows]

    def mean_auroc(self, weights: Floats) -> Floats:
        """Mean over the folds of AUROC for each row of `weights` [R, N]; every fold needs weight on both classes."""
        each = [ranking.skill(weights[:, rows])[0] for ranking, rows in zip(self.rankings, self.rows, strict=True)]
        mean: Floats = np.mean(each, axis=0)
        return mean


def usable(weights: Floats, positive: Bools, folds: NDArray[np.intp]) -> Bools:
    """Which rows of `weights` [R, N] have weight on both classes in every fold."""
    sides = [(folds == fold) & side for fold in np.unique(folds) for side in (positive, ~positive)]
    found: Bools = np.all([weights[:, side].sum(1) > 0 for side in sides], axis=0)
    return found


def draw(
    scores: Mapping[str, Scores], positive: Bools, folds: NDArray[np.intp], clusters: NDArray[np.intp], seed: int
) -> dict[str, Floats]:
    """Mean AUROC of each score in the same resamples of clusters; those that leave a fold one class are left out."""
    folded = {name: Folded(values, positive, folds) for name, values in scores.items()}
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[Floats]] = {name: [] for name in scores}
    for _ in range(RESAMPLES // AT_ONCE):
        weights = resample(clusters, AT_ONCE, generator)
        weights = weights[usable(weights, positive, folds)]
        for name, one in folded.items():
            drawn[name].append(one.mean_auroc(weights))
    return {name: np.concatenate(some) for name, some in drawn.items()}


def point(scores: Scores, positive: Bools, folds: NDArray[np.intp]) -> float:
    """Mean over the folds of AUROC."""
    return float(Folded(scores, positive, folds).mean_auroc(np.ones((1, len(positive))))[0])


def compare(
    scores: Mapping[str, Scores],
    reference: str | None,
    positive: Bools,
    folds: NDArray[np.intp],
    clusters: NDArray[np.intp],
    seed: int,
) -> dict[str, Standing]:
    """Each score with its interval and its difference to the score named `reference`.

    `scores` are finite, `[N]` each, higher for a defect; `clusters` are dense numbers from 0.
    """
    points = {name: point(values, positive, folds) for name, values in scores.items()}
    drawn = draw(scores, positive, folds, clusters, seed)
    standings = {}
    for name in scores:
        method = f"bootstrap of {int(clusters.max()) + 1:,} groups, {len(drawn[name]):,} of {RESAMPLES:,} resamples"
        auroc = interval(points[name], drawn[name], CONFIDENCE, method)
        difference = None
        if reference is not None and name != reference:
            apart = points[name] - points[reference]
            difference = interval(apart, drawn[name] - drawn[reference], CONFIDENCE, method)
        standings[name] = Standing(auroc, difference)
    return standings
