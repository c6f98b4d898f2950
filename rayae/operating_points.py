"""Home of operating points: recall at stated false-positive rates, and F1 at a cut, with bootstrap intervals.

The point at a false-positive rate is that of `sklearn.metrics.roc_curve` with the highest recall among those whose rate
is not above it; nothing is interpolated, so that a cut stands behind each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.statistics import (
    MAX_CELLS,
    Bools,
    Figure,
    Floats,
    Ranking,
    bootstrap_method,
    interval,
    no_interval,
    percent,
    resample,
)

RATES = (0.001, 0.01, 0.05)
"""False-positive rates that recall is told at."""
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class RecallAt:
    """What could be found at a false-positive rate, if the cut were chosen on these very images."""

    false_positive_rate: float
    """At most; what the images can resolve may lie below."""
    cut: float | None
    """The lowest cut that keeps to it."""
    recall: Figure


@dataclass(frozen=True)
class Resampling:
    """How intervals are drawn: whole `groups` (dense numbers from 0), or images where it is None."""

    groups: Codes | None
    confidence: float
    resamples: int
    seed: int


def normals_needed(rate: float) -> int:
    """The fewest normal images with which a false-positive rate above 0 can be at most `rate`."""
    return int(np.ceil(1 / rate - 1e-9))


def recalls(
    scores: NDArray[np.floating], positive: Bools, how: Resampling, rates: Sequence[float] = RATES
) -> tuple[RecallAt, ...]:
    """Recall at each rate, from finite scores of both classes `[N]`; a rate that the normals cannot resolve has none.

    The cut is chosen anew in each resample, so that the interval holds what the choice costs.
    """
    normals = int((~positive).sum())
    known = [rate for rate in rates if normals >= normals_needed(rate)]
    found = dict(zip(known, _resolved(scores, positive, how, known), strict=True)) if known else {}
    return tuple(found[rate] if rate in found else _unresolved(rate, normals) for rate in rates)


def f1(flagged: Bools, positive: Bools, how: Resampling) -> Figure:
    """F1 of flags `[N]`, of which some are of each class.

    Of images the resampled counts are multinomial; of groups they are sums over the groups drawn.
    """
    cells = 2 * flagged.astype(np.intp) + positive
    point = _f1(np.bincount(cells, minlength=4)[None].astype(np.float64))[0]
    reason = no_interval(positive, how.groups)
    if reason is not None:
        return Figure(float(point), reason=reason)
    generator = np.random.default_rng(how.seed)
    if how.groups is None:
        shares = np.bincount(cells, minlength=4) / len(cells)
        drawn = generator.multinomial(len(cells), shares, size=how.resamples).astype(np.float64)
    else:
        groups = int(how.groups.max()) + 1
        counts = np.bincount(4 * how.groups + cells, minlength=4 * groups).reshape(groups, 4).astype(np.float64)
        drawn = np.vstack([weights @ counts for weights in _weights(np.arange(groups), how.resamples, generator)])
    usable = drawn[(drawn[:, 1] + drawn[:, 3] > 0) & (drawn[:, 0] + drawn[:, 2] > 0)]
    method = bootstrap_method(positive, how.groups, how.resamples, how.resamples - len(usable))
    return interval(float(point), _f1(usable), how.confidence, method)


def _resolved(scores: NDArray[np.floating], positive: Bools, how: Resampling, rates: Sequence[float]) -> list[RecallAt]:
    ranking = Ranking(scores, positive)
    places, points = recall_of(ranking, np.ones((1, len(scores))), rates)
    distinct = scores[ranking.order][ranking.ends]
    cuts = distinct[places[0] + 1]
    reason = no_interval(positive, how.groups)
    if reason is not None:
        bare = [Figure(float(point), reason=reason) for point in points[0]]
    else:
        drawn, skipped = _drawn(ranking, positive, how, rates)
        method = bootstrap_method(positive, how.groups, how.resamples, skipped)
        pairs = zip(points[0], drawn.T, strict=True)
        bare = [interval(float(point), own, how.confidence, method) for point, own in pairs]
    return [RecallAt(rate, float(cut), figure) for rate, cut, figure in zip(rates, cuts, bare, strict=True)]


def _drawn(ranking: Ranking, positive: Bools, how: Resampling, rates: Sequence[float]) -> tuple[Floats, int]:
    """Resampled recalls `[R, rates]`, and how many resamples were skipped since they held one class only."""
    clusters = np.arange(len(positive)) if how.groups is None else how.groups
    kept = [np.empty((0, len(rates)))]
    for weights in _weights(clusters, how.resamples, np.random.default_rng(how.seed)):
        usable = (weights[:, positive].sum(axis=1) > 0) & (weights[:, ~positive].sum(axis=1) > 0)
        kept.append(recall_of(ranking, weights[usable], rates)[1])
    drawn = np.concatenate(kept)
    return drawn, how.resamples - len(drawn)


def recall_of(ranking: Ranking, weights: Floats, rates: Sequence[float]) -> tuple[NDArray[np.intp], Floats]:
    """For each row of `weights` [R, N] and each rate: how far down the distinct scores to go, and the recall there.

    Places are from 0 for the highest score, -1 for flagging nothing; both results are [R, rates].
    """
    ordered = weights[:, ranking.order]
    hits = np.cumsum(ordered * ranking.positive, axis=1)[:, ranking.ends]
    misses = np.cumsum(ordered * (1 - ranking.positive), axis=1)[:, ranking.ends]
    places, shares = [], []
    for rate in rates:
        allowed = np.floor(rate * misses[:, -1:] + 1e-9)
        place = (misses <= allowed).sum(axis=1) - 1
        reached = np.take_along_axis(hits, np.maximum(place, 0)[:, None], axis=1)[:, 0]
        places.append(place)
        shares.append(np.where(place < 0, 0.0, reached) / hits[:, -1])
    return np.stack(places, axis=1), np.stack(shares, axis=1)


def _weights(clusters: Codes, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Weights of all resamples, as many at a time as memory is meant to hold."""
    at_once = max(1, MAX_CELLS // len(clusters))
    for start in range(0, resamples, at_once):
        yield resample(clusters, min(at_once, resamples - start), generator)


def _unresolved(rate: float, normals: int) -> RecallAt:
    reason = (
        f"No recall at a false-positive rate of {percent(rate)}: it takes {normals_needed(rate):,} unseen normal "
        f"images to resolve it, and there are {normals:,}."
    )
    return RecallAt(rate, None, Figure(None, reason=reason))


def _f1(cells: Floats) -> Floats:
    """F1 of counts [R, 4]: normal passed, defect missed, normal flagged, defect flagged."""
    tp = cells[:, 3]
    shares: Floats = 2 * tp / (2 * tp + cells[:, 2] + cells[:, 1])
    return shares
