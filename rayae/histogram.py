"""Home of the histogram of scores: bars, ticks and cut in percent of the plot, drawn at any width."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

MOST_BINS = 48
LOGARITHMIC_FROM = 50.0
"""Ratio of the highest to the lowest score from which the axis is logarithmic."""
LOWEST_SHARE = 0.001
"""Share of the scores that may lie below a logarithmic axis, so that a single 1e-12 does not stretch it."""
ROUNDING = 1e-9
SMALLEST_BAR = 0.8
"""Height of the smallest bar in percent: one image among a million must still be seen."""


@dataclass(frozen=True)
class Counted:
    """Finite scores, ascending, and how many images have each."""

    values: Values
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.floating[Any]]) -> "Counted":
        """Scores one by one."""
        values, counts = np.unique(scores.astype(np.float64), return_counts=True)
        return cls(values, counts)

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def at(self, place: int) -> float:
        """The score at a place from 0 among all of them."""
        return float(self.values[np.searchsorted(np.cumsum(self.counts), place, side="right")])

    def above(self, value: float) -> "Counted":
        """Those strictly above a value."""
        chosen = self.values > value
        return Counted(self.values[chosen], self.counts[chosen])

    def with_one(self, value: float) -> "Counted":
        """The same and one more."""
        return self.joined(Counted(np.array([value]), np.array([1])))

    def joined(self, other: "Counted") -> "Counted":
        """The scores of both."""
        values, places = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.bincount(places, np.concatenate([self.counts, other.counts]), len(values))
        return Counted(values, counts.astype(np.int64))


@dataclass(frozen=True)
class Bar:
    """One bar; all numbers in percent of the plot."""

    left: float
    width: float
    height: float
    flagged: bool
    words: str


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent from the left or from the bottom."""

    at: float
    words: str


@dataclass(frozen=True)
class Histogram:
    """All that is drawn; `outline` is the calibration distribution, a path in an SVG box of 100 by 100."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    cut: Tick | None
    outline: str | None
    logarithmic: bool
    below_axis: int
    raised: bool
    words: str


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    logarithmic: bool

    def forward(self, values: Values) -> Values:
        """Values to places on a line; what a logarithm cannot take goes to the low end."""
        places: Values = np.log10(np.maximum(values, self.low)) if self.logarithmic else values
        return places

    def percent(self, values: Values) -> Values:
        low, high = self.forward(np.array([self.low, self.high]))
        share: Values = (self.forward(values) - low) / (high - low)
        return share * 100


def histogram(scores: Counted, calibration: Counted | None, cut: float | None) -> Histogram | None:
    """Bin scores; None when there are none. Bins hold their upper edge, so none straddles the cut."""
    if not scores.total:
        return None
    known = calibration if calibration is not None and calibration.total else None
    seen = scores if known is None else scores.joined(known)
    edges, axis = _edges(seen, cut, bins=int(min(MOST_BINS, max(12, 2 * math.sqrt(scores.total)))))
    counts = _count(scores, edges)
    outline = None if known is None else _count(known, edges) * (scores.total / known.total)
    top = max(counts.max(), 0 if outline is None else outline.max())
    return Histogram(
        bars=_bars(counts, edges, axis, cut, top),
        x_ticks=x_ticks(axis),
        y_ticks=tuple(Tick(100 * value / top, f"{value:,.0f}") for value in _steps(0, top, 4) if value >= 1),
        cut=None if cut is None else Tick(float(axis.percent(np.array([cut]))[0]), number(cut)),
        outline=None if outline is None else _outline(outline / top * 100, axis.percent(edges)),
        logarithmic=axis.logarithmic,
        below_axis=int(seen.counts[seen.values < axis.low].sum()),
        raised=bool((counts[counts > 0] < top * SMALLEST_BAR / 100).any()),
        words=_words(scores, cut),
    )


def number(value: float, digits: int = 4) -> str:
    """A few digits that count, without an exponent where people can do without one."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.{digits}g}".replace("e-0", "e-")


def _edges(scores: Counted, cut: float | None, bins: int) -> tuple[Values, Axis]:
    seen = scores if cut is None else scores.with_one(cut)
    positive = seen.above(0)
    low, high = float(seen.values[0]), float(seen.values[-1])
    floor = positive.at(math.floor(LOWEST_SHARE * (positive.total - 1))) if positive.total else 0.0
    floor = min(floor, cut) if cut is not None else floor
    logarithmic = low >= 0 and floor > 0 and high / floor >= LOGARITHMIC_FROM
    if logarithmic:
        low = floor
    elif low == high:
        margin = abs(low) * 0.05 or 0.5
        low, high = low - margin, high + margin
    ends = np.array([low, high, low if cut is None else cut])
    start, end, at_cut = np.log10(ends) if logarithmic else ends
    step = (end - start) / bins
    before_cut = math.ceil((at_cut - start) / step - 1e-9)
    places = at_cut + step * (np.arange(bins + 2) - before_cut)
    places = places[: bins + 1] if places[bins] >= end - step * 1e-6 else places
    edges = np.power(10.0, places) if logarithmic else places
    edges[before_cut] = ends[2]
    return edges, Axis(float(edges[0]), float(edges[-1]), logarithmic)


def _count(scores: Counted, edges: Values) -> Values:
    bins = np.searchsorted(edges, scores.values, side="left") - 1
    weights = scores.counts.astype(np.float64)
    return np.bincount(np.clip(bins, 0, len(edges) - 2), weights, len(edges) - 1).astype(np.float64)


def _bars(counts: Values, edges: Values, axis: Axis, cut: float | None, top: float) -> tuple[Bar, ...]:
    places = axis.percent(edges)
    return tuple(
        Bar(
            left=float(places[i]),
            width=float(places[i + 1] - places[i]) * 0.9,
            height=max(float(count / top * 100), SMALLEST_BAR),
            flagged=cut is not None and bool(edges[i] >= cut),
            words=f"{number(edges[i])} to {number(edges[i + 1])}: {count:,.0f} scored",
        )
        for i, count in enumerate(counts)
        if count
    )


def _outline(heights: Values, places: Values) -> str:
    steps = "".join(f"V{100 - h:.2f}H{x:.3f}" for h, x in zip(heights, places[1:], strict=True))
    return f"M{places[0]:.3f} 100{steps}V100"


def x_ticks(axis: Axis) -> tuple[Tick, ...]:
    """Round values along an axis."""
    values = _decades(axis.low, axis.high) if axis.logarithmic else _steps(axis.low, axis.high, 6)
    return tuple(Tick(float(axis.percent(np.array([value]))[0]), number(value, digits=10)) for value in values)


def _decades(low: float, high: float) -> list[float]:
    decades = math.log10(high / low)
    digits = (1, 2, 5) if decades < 1.7 else (1, 3) if decades < 3 else (1,)
    every = max(1, math.ceil(decades / 6))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [float(f"{digit}e{power}") for power in powers if power % every == 0 for digit in digits]
    return [value for value in values if low <= value * (1 + ROUNDING) and value <= high * (1 + ROUNDING)]


def _steps(low: float, high: float, about: int) -> list[float]:
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * 0.999)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _words(scores: Counted, cut: float | None) -> str:
    count = scores.total
    median = (scores.at((count - 1) // 2) + scores.at(count // 2)) / 2
    low, middle, high = map(number, (float(scores.values[0]), median, float(scores.values[-1])))
    spread = f"{count:,} scores from {low} to {high}, median {middle}"
    return spread + ("." if cut is None else f"; {scores.above(cut).total:,} above the cut of {number(cut)}.")
