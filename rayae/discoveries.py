"""Home of discoveries among millions of p-values: those that can be called anomalies at a false discovery rate.

A conformal p-value is one of the n + 1 ranks over n + 1, so that a histogram of ranks is all that the procedure needs:
histograms of parts add up, in any order. Sources: Benjamini and Hochberg 1995; Bates, Candes, Lei, Romano and Sesia
2023, "Testing for outliers with conformal p-values" (that it holds for conformal p-values, and the calibration-
conditional ones by the inequality of Simes and by that of Dvoretzky, Kiefer and Wolfowitz).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rayae.errors import DataError
from rayae.threshold import Scores

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
PValues = Literal["marginal", "simes", "dkw"]
MOST_SOUGHT = 10**7


def ranks(scores: NDArray[np.floating], ordered: Scores) -> Counts:
    """1 + the number of calibration scores at or above each score; `ordered` are those, ascending.

    The p-value is the rank over n + 1. Scores must not be NaN.
    """
    narrow = np.asarray(scores, dtype=np.float32)
    found: Counts = 1 + len(ordered) - np.searchsorted(ordered, narrow, side="left")
    return found


def histogram(scores: NDArray[np.floating], ordered: Scores) -> Counts:
    """How many scores have the rank 1, 2, ..., n + 1."""
    return np.bincount(ranks(scores, ordered) - 1, minlength=len(ordered) + 1).astype(np.int64)


def p_values_of_ranks(n: int, kind: PValues, confidence: float) -> Floats:
    """The p-value of each rank from 1 to n + 1.

    `marginal` ones hold on average over calibrations. `simes` and `dkw` hold, for all images at once, given the
    calibration at hand, with this confidence that it is no unlucky one: they bound the order statistics of n uniform
    numbers, `simes` tightly for the lowest half, `dkw` evenly.
    """
    if kind == "marginal":
        return np.arange(1, n + 2) / (n + 1)
    bounds = simes(n, confidence) if kind == "simes" else dkw(n, confidence)
    return np.append(bounds, 1.0)


def lowest_p_value(n: int, kind: PValues, confidence: float) -> float:
    """The first of `p_values_of_ranks`, for any n in a moment."""
    if kind == "marginal":
        return 1 / (n + 1)
    if kind == "dkw":
        return min(1.0, _reach(n, confidence))
    return -math.expm1(math.log(1 - confidence) / max(1, n // 2))


def simes(n: int, confidence: float) -> Floats:
    """Upper bounds of the 1st, ..., n-th lowest of n uniform numbers, which hold together with this confidence.

    The generalised inequality of Simes with k = n / 2: the i-th from the top is at most 1 - (d * i (i-1) ... (i-k+1) /
    (n (n-1) ... (n-k+1))) ** (1/k) with d = 1 - confidence (Bates et al. 2023, proposition 1).
    """
    k = max(1, n // 2)
    from_top = np.arange(n, 0, -1)
    steps = np.log(np.arange(1, n + 1))
    sums = np.concatenate([[0.0], np.cumsum(steps)])
    whole = from_top >= k
    product = sums[from_top] - sums[np.where(whole, from_top - k, 0)] - (sums[n] - sums[n - k])
    bounds: Floats = np.where(whole, -np.expm1((math.log(1 - confidence) + product) / k), 1.0)
    return bounds


def dkw(n: int, confidence: float) -> Floats:
    """The same by Dvoretzky, Kiefer and Wolfowitz, with the constant of Massart 1990: (r - 1) / n and a fixed reach."""
    bounds: Floats = np.minimum(1.0, np.arange(n) / n + _reach(n, confidence))
    return bounds


def _reach(n: int, confidence: float) -> float:
    return math.sqrt(math.log(1 / (1 - max(confidence, 0.5))) / (2 * n))


@dataclass(frozen=True)
class Discoveries:
    """What is found at a false discovery rate."""

    rank: int
    """The highest rank of a discovery; 0 when nothing is one."""
    found: int
    tested: int


def discover(counts: Counts, fdr: float, p_values: Floats | None = None) -> Discoveries:
    """The discoveries by Benjamini and Hochberg among images of which `counts` have each rank from 1 to n + 1.

    `p_values` are those of the ranks, by default rank / (n + 1), for which the decision is made in whole numbers.
    DataError when nothing was tested.
    """
    tested = int(counts.sum())
    if tested == 0:
        raise DataError("no image has a score, so there is nothing to find.")
    level, n = Fraction(repr(float(fdr))), len(counts) - 1
    at_or_below = np.cumsum(counts)
    values = p_values_of_ranks(n, "marginal", 0.5) if p_values is None else p_values
    near = np.flatnonzero((values * tested <= fdr * at_or_below * (1 + 1e-9)) & (counts > 0))
    for place in near[::-1].tolist():
        exact = Fraction(place + 1, n + 1) if p_values is None else Fraction(float(values[place]))
        if exact * tested <= level * int(at_or_below[place]):
            return Discoveries(place + 1, int(at_or_below[place]), tested)
    return Discoveries(0, 0, tested)


def why_nothing(counts: Counts, fdr: float, kind: PValues, confidence: float) -> str:
    """Why nothing is found: the lowest p-value there can be, how many have it, and how many would be needed."""
    p_values = p_values_of_ranks(len(counts) - 1, kind, confidence)
    n, tested, lowest = len(counts) - 1, int(counts.sum()), float(p_values[0])
    has, needed = int(counts[0]), math.ceil(lowest * tested / fdr)
    words = (
        f"Nothing can be called an anomaly at a false discovery rate of {fdr:g}: with {n:,} calibration images no "
        f"p-value is below {lowest:.3g}, {has:,} of {tested:,} images have it"
    )
    if has >= needed:
        return f"{words}."
    enough = fewest_for(fdr * has / tested, kind, confidence) if has else None
    remedy = "" if enough is None else f", or there would have to be about {enough:,} calibration images"
    few = f"{needed:,} would have to" if needed <= tested else "not even all of them having it would do"
    return f"{words}, and {few}{remedy}. Calibrate on more images, raise fdr, or test fewer images at once."


def fewest_for(p_value: float, kind: PValues, confidence: float) -> int | None:
    """The smallest number of calibration images, almost to the last, with a p-value as low as this; None above 10^7."""
    low, high = 1, 2
    while lowest_p_value(high, kind, confidence) > p_value:
        low, high = high, 2 * high
        if high > MOST_SOUGHT:
            return None
    while high - low > max(1, high // 100_000):
        middle = (low + high) // 2
        low, high = (low, middle) if lowest_p_value(middle, kind, confidence) <= p_value else (middle, high)
    return high


def cut_of_rank(rank: int, ordered: Sequence[float] | Scores) -> float:
    """The cut above which scores have this rank or a lower one: the rank-th highest calibration score."""
    return float(np.float32(ordered[len(ordered) - rank]))
