"""Home of the figures: rates, ranks and their intervals. Plain arrays in, plain numbers out.

Sources: Clopper and Pearson 1934 (rates); DeLong, DeLong and Clarke-Pearson 1988 in the fast midrank form of
Sun and Xu 2014 (variance of AUROC); percentile bootstrap of whole clusters (Davison and Hinkley 1997, 3.8).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrik, betaincinv, expit, logit, ndtri

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FEW_CLUSTERS = 10
NORMAL_MAD = 1.4826
"""Standard deviations in one median absolute deviation of a normal distribution."""
FEWEST_RESAMPLES = 100
MAX_CELLS = 1_000_000  # of the matrix of resampled weights: 8 MB, and some copies of it


@dataclass(frozen=True)
class Figure:
    """A figure with its interval. What cannot be had is None, and `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str | None = None
    """How the figure, or its interval, was had."""
    reason: str | None = None


@dataclass(frozen=True)
class Skill:
    """How well one score ranks the positives above the negatives."""

    auroc: Figure
    average_precision: Figure
    lead: Figure | None = None
    """AUROC of the first of the scores that were ranked together, less this one's; None for the first itself."""


def percent(rate: float) -> str:
    """A rate between 0 and 1 for people, in three digits: `2.94 %`. Only 1 is `100 %`, only 0 is `0 %`."""
    text = np.format_float_positional(100 * rate, precision=3, fractional=False, trim="-")
    return f"{'over 99.9' if text == '100' and rate < 1 else text} %"


def clopper_pearson(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    """Exact two-sided interval of a binomial rate. Needs at least one trial."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high


def rate(hits: int, trials: int, confidence: float, without: str) -> Figure:
    """`hits / trials` with its Clopper-Pearson interval; `without` is the reason when there is no trial."""
    if trials == 0:
        return Figure(None, reason=without)
    low, high = clopper_pearson(hits, trials, confidence)
    return Figure(hits / trials, low, high, method="Clopper-Pearson, images counted as independent")


def median_interval(values: NDArray[np.floating], confidence: float) -> tuple[float, float] | None:
    """Two of the values between which the median of what they are drawn from lies, at least with that confidence.

    By the binomial law of how many lie below it (Conover 1999, 3.2), whatever the distribution; None where they are
    too few.
    """
    tail = (1 - confidence) / 2
    if len(values) == 0 or 0.5 ** len(values) > tail:
        return None
    place = int(bdtrik(tail, len(values), 0.5))
    ordered = np.sort(values)
    return float(ordered[place]), float(ordered[len(values) - 1 - place])


def midranks(values: NDArray[np.floating]) -> Floats:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (2 * last - counts + 1) / 2
    return ranks[inverse]


def area_under(scores: NDArray[np.floating], positive: Bools) -> float:
    """AUROC: the share of pairs in which the positive scores higher, ties for half. Needs both classes."""
    hits = int(positive.sum())
    ranks = float(midranks(scores)[positive].sum())
    return (ranks - hits * (hits + 1) / 2) / (hits * (len(scores) - hits))


def delong(scores: NDArray[np.floating], positive: Bools) -> tuple[float, float]:
    """AUROC and DeLong's variance of it, by midranks in O(n log n). Needs two positives and two negatives.

    With m positives x, n negatives y: V10 = (rank of x among all - rank among positives) / n, V01
    likewise for y, and the variance is var(V10) / m + var(V01) / n.
    """
    x, y = scores[positive], scores[~positive]
    together = midranks(np.concatenate([x, y]))
    above = (together[: len(x)] - midranks(x)) / len(y)
    below = 1 - (together[len(x) :] - midranks(y)) / len(x)
    variance = above.var(ddof=1) / len(x) + below.var(ddof=1) / len(y)
    return float(above.mean()), float(variance)


def delong_interval(area: float, variance: float, confidence: float) -> tuple[float, float]:
    """DeLong's interval on the logit scale, so that it stays inside 0 to 1. Needs an area strictly inside."""
    reach = ndtri((1 + confidence) / 2) * np.sqrt(variance) / (area * (1 - area))
    return float(expit(logit(area) - reach)), float(expit(logit(area) + reach))


class Ranking:
    """Scores sorted once, from high to low, so that each reweighting of the items costs one pass."""

    def __init__(self, scores: NDArray[np.floating], positive: Bools) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.positive = positive[self.order].astype(np.float64)
        ordered = scores[self.order]
        self.ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))

    def skill(self, weights: Floats) -> tuple[Floats, Floats]:
        """AUROC and average precision for each row of `weights` [R, N], the times that an item counts.

        Ties count half for AUROC and are one step of the precision-recall curve, as in scikit-learn. Each row
        needs weight on both classes.
        """
        ordered = weights[:, self.order]
        hits = np.cumsum(ordered * self.positive, axis=1)[:, self.ends]
        seen = np.cumsum(ordered, axis=1)[:, self.ends]
        false_alarms = seen - hits
        new_hits = np.diff(hits, axis=1, prepend=0)
        new_false_alarms = np.diff(false_alarms, axis=1, prepend=0)
        all_hits, all_false_alarms = hits[:, -1], false_alarms[:, -1]
        pairs = (new_hits * (all_false_alarms[:, None] - false_alarms + new_false_alarms / 2)).sum(axis=1)
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        return pairs / (all_hits * all_false_alarms), (new_hits * precision).sum(axis=1) / all_hits


def resample(clusters: NDArray[np.intp], resamples: int, generator: np.random.Generator) -> Floats:
    """Weights [R, N] of `resamples` draws of whole clusters with replacement, as many as there are."""
    count = int(clusters.max()) + 1
    draws = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]
    return np.asarray(draws, dtype=np.float64)[:, clusters]


def bootstrap(
    rankings: Sequence[Ranking], positive: Bools, clusters: NDArray[np.intp], resamples: int, seed: int
) -> tuple[Floats, int]:
    """Resampled AUROC and average precision [rankings, 2, R], and how many resamples were skipped.

    Skipped are those without one of the classes. All rankings see the same resamples. `clusters` are dense
    numbers from 0.
    """
    generator = np.random.default_rng(seed)
    at_once = max(1, MAX_CELLS // len(positive))
    kept: list[Floats] = []
    for start in range(0, resamples, at_once):
        weights = resample(clusters, min(at_once, resamples - start), generator)
        usable = (weights[:, positive].sum(axis=1) > 0) & (weights[:, ~positive].sum(axis=1) > 0)
        kept.append(np.asarray([ranking.skill(weights[usable]) for ranking in rankings], dtype=np.float64))
    drawn = np.concatenate(kept, axis=2)
    return drawn, resamples - drawn.shape[2]


def skills(
    columns: Sequence[NDArray[np.floating]],
    positive: Bools,
    groups: NDArray[np.intp] | None,
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> list[Skill]:
    """AUROC, average precision and the first column's lead in AUROC, of each column of finite scores.

    Needs both classes. With `groups` (dense numbers from 0) all intervals come from the bootstrap of groups; without,
    that of AUROC is DeLong's and the others come from the bootstrap of images. The lead is taken in each resample, so
    that what makes an image or a group hard is not counted twice.
    """
    if not columns:
        return []
    rankings = [Ranking(column, positive) for column in columns]
    points = np.array([ranking.skill(np.ones((1, len(positive)))) for ranking in rankings])[..., 0]
    leads = points[0, 0] - points[:, 0]
    reason = no_interval(positive, groups)
    if reason is not None:
        bare = [
            [Figure(float(value), reason=reason) for value in (*point, lead)]
            for point, lead in zip(points, leads, strict=True)
        ]
        return [Skill(auroc, precision, lead if place else None) for place, (auroc, precision, lead) in enumerate(bare)]
    clusters = np.arange(len(positive)) if groups is None else groups
    drawn, skipped = bootstrap(rankings, positive, clusters, resamples, seed)
    method = bootstrap_method(positive, groups, resamples, skipped)
    found = []
    for place, column in enumerate(columns):
        auroc, precision = (interval(float(points[place, n]), drawn[place, n], confidence, method) for n in (0, 1))
        area, variance = delong(column, positive)
        if groups is None and variance > 0:
            auroc = Figure(area, *delong_interval(area, variance, confidence), "DeLong, logit scale")
        lead = interval(float(leads[place]), drawn[0, 0] - drawn[place, 0], confidence, method)
        found.append(Skill(auroc, precision, lead if place else None))
    return found


def no_interval(positive: Bools, groups: NDArray[np.intp] | None) -> str | None:
    """Why no resampling can tell how far a figure may be off, or None when it can."""
    fewest = min(int(positive.sum()), int((~positive).sum()))
    if fewest < 2:
        return "No interval: it needs at least two images of each class."
    if groups is not None and fewest_clusters(positive, groups) < 2:
        return "No interval: all images of a class are of one group, so nothing tells how groups differ."
    return None


def fewest_clusters(positive: Bools, groups: NDArray[np.intp]) -> int:
    """Groups that hold the class which fewer groups hold: what an interval over groups stands on."""
    return min(len(np.unique(groups[positive])), len(np.unique(groups[~positive])))


def bootstrap_method(positive: Bools, groups: NDArray[np.intp] | None, resamples: int, skipped: int) -> str:
    """How the interval was made, in words."""
    units = "images" if groups is None else f"{int(groups.max()) + 1:,} groups"
    text = f"bootstrap of {units}, {resamples:,} resamples"
    if skipped:
        text += f", of which {skipped:,} held one class only and were skipped"
    if groups is not None and (few := fewest_clusters(positive, groups)) < FEW_CLUSTERS:
        text += f"; unreliable, a class comes from {few} groups only"
    return text


def interval(value: float, draws: Floats, confidence: float, method: str) -> Figure:
    """Percentile interval of resampled values, widened to hold the value itself where few clusters draw it elsewhere.

    None where they never moved or are too few.
    """
    if len(draws) < FEWEST_RESAMPLES:
        few = f"No interval: only {len(draws)} resamples held both classes, {FEWEST_RESAMPLES} are needed."
        return Figure(value, reason=few)
    if np.ptp(draws) < 1e-12:
        return Figure(value, reason="No interval: the figure is the same in every resample, so its spread is unknown.")
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Figure(value, min(value, float(low)), max(value, float(high)), method=method)
