"""Home of the highest scores of a run: the score that a given number of others is above, in memory of one histogram."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.errors import DataError
from rayae.threshold import Scores

HALF_BITS = 16
HALVES = 1 << HALF_BITS


@dataclass(frozen=True)
class Place:
    """A score among others."""

    score: float
    above: int
    """Scores strictly above it."""
    equal: int
    """Scores that are it; more than one where scores tie."""
    scores: int
    """All scores that were looked at."""


def highest(scores: Callable[[], Iterator[Scores]], count: int) -> Place | None:
    """The (count + 1)-th highest of all that `scores()` gives at each call: at most `count` are strictly above it.

    It is found exactly, in two passes, by histograms of the halves of its 32 bits; the order of scores and of their
    parts does not matter. None when there are no more than `count`. DataError for a score that is not finite, and
    when the second pass does not give the scores of the first.
    """
    totals = _counted(map(_high_half, scores()))
    if totals.sum() <= count:
        return None
    upper, above = _half_holding(totals, count)
    low = _counted(_low_half(part)[_high_half(part) == upper] for part in scores())
    if low.sum() != totals[upper]:
        raise DataError(
            f"Scores changed while they were counted: {int(totals[upper]):,} of a kind became {int(low.sum()):,}. Wait "
            "until nothing writes to the run, and ask again."
        )
    lower, among = _half_holding(low, count - above)
    return Place(_score_of(upper, lower), above + among, int(low[lower]), int(totals.sum()))


def _counted(halves: Iterator[NDArray[np.int64]]) -> NDArray[np.int64]:
    totals = np.zeros(HALVES, np.int64)
    for part in halves:
        totals += np.bincount(part, minlength=HALVES)
    return totals


def _half_holding(totals: NDArray[np.int64], count: int) -> tuple[int, int]:
    """The half that the (count + 1)-th highest number has, and how many numbers have a higher one."""
    at_or_above = totals[::-1].cumsum()[::-1]
    half = int(np.flatnonzero(at_or_above > count)[-1])
    return half, int(at_or_above[half] - totals[half])


def _ascending_bits(scores: Scores) -> NDArray[np.uint32]:
    """The bits of scores as numbers of the same order; DataError unless all are finite."""
    narrow = np.asarray(scores, np.float32)
    if not np.isfinite(narrow).all():
        raise DataError(
            "A score of the run is not finite, so it has no place among the others; `rayae verify` says it."
        )
    bits = (narrow + np.float32(0)).view(np.uint32)  # -0 becomes 0, which it equals
    return np.where(bits >> np.uint32(31) == 1, ~bits, bits | np.uint32(1 << 31))


def _high_half(scores: Scores) -> NDArray[np.int64]:
    return (_ascending_bits(scores) >> np.uint32(HALF_BITS)).astype(np.int64)


def _low_half(scores: Scores) -> NDArray[np.int64]:
    return (_ascending_bits(scores) & np.uint32(HALVES - 1)).astype(np.int64)


def _score_of(upper: int, lower: int) -> float:
    bits = (upper << HALF_BITS) | lower
    plain = bits & ~(1 << 31) if bits >> 31 else ~bits & 0xFFFFFFFF
    return float(np.array([plain], np.uint32).view(np.float32)[0])
