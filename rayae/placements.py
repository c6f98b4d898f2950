"""Home of two samples held against each other: how often a value of one is above a value of the other.

That share is the AUROC where the samples are defects and normal images, and the probability of superiority where they
are any two; Cliff's delta is twice it, less 1. Sources: DeLong, DeLong and Clarke-Pearson 1988 (placements, and the
difference of two paired areas); Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data" (groups of images
that are alike; with groups of one image it is DeLong's).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rayae.statistics import FEW_CLUSTERS, Figure, Floats, delong_interval

Keys = NDArray[np.uint64]
"""What groups are known by: images with the same key are of one group, and it may reach into both samples."""

NO_SPREAD = 1e-15
"""A variance up to it is what rounding leaves of none; samples of 10^8 values have one of 10^-9."""


@dataclass(frozen=True)
class Placements:
    """Where the values of two samples lie in each other."""

    upper: Floats
    """Of each value of the first sample `[M]`: the share of the second below it, ties for half."""
    lower: Floats
    """Of each value of the second sample `[N]`: the share of the first above it, ties for half."""

    @cached_property
    def area(self) -> float:
        """The share of pairs in which the value of the first sample is the higher, ties for half."""
        return float(self.upper.mean())

    def __sub__(self, other: "Placements") -> "Placements":
        """The differences, value by value, from those of other values of the same images."""
        return Placements(self.upper - other.upper, self.lower - other.lower)


@dataclass(frozen=True)
class Groups:
    """The groups of the images of two samples, as dense numbers from 0."""

    upper: NDArray[np.intp]
    lower: NDArray[np.intp]

    @classmethod
    def of(cls, upper: Keys, lower: Keys) -> "Groups":
        """From the keys of the images of the first sample and of the second."""
        _, codes = np.unique(np.concatenate([upper, lower]), return_inverse=True)
        return cls(codes[: len(upper)], codes[len(upper) :])

    @cached_property
    def count(self) -> int:
        return 1 + max((int(codes.max()) for codes in (self.upper, self.lower) if len(codes)), default=-1)

    @cached_property
    def held(self) -> tuple[int, int]:
        """How many groups hold images of the first sample, and of the second."""
        upper, lower = (int(np.count_nonzero(np.bincount(codes))) for codes in (self.upper, self.lower))
        return upper, lower

    @property
    def fewest(self) -> int:
        """Groups of the sample which fewer groups hold."""
        return min(self.held)

    @property
    def pairs(self) -> int:
        """Pairs of an image of either sample that can be had of different groups, each group in one pair."""
        return min(self.fewest, self.count // 2)

    @property
    def are_images(self) -> bool:
        """Whether each image is a group of its own."""
        return self.count == len(self.upper) + len(self.lower)

    @property
    def method(self) -> str:
        """How an interval is had, in words."""
        if self.are_images:
            return "DeLong, images counted as independent"
        few = f"; unreliable, a sample comes from {self.fewest} groups only" if self.fewest < FEW_CLUSTERS else ""
        return f"DeLong by groups (Obuchowski), {self.count:,} groups{few}"


def place(first: NDArray[np.floating], second: NDArray[np.floating]) -> Placements:
    """Where the finite values of two samples lie in each other, by sorting both. Needs a value of each."""
    return Placements(_shares_below(first, second), 1 - _shares_below(second, first))


def _shares_below(values: NDArray[np.floating], others: NDArray[np.floating]) -> Floats:
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    shares: Floats = twice / (2 * len(ordered))
    return shares


def variance(found: Placements, groups: Groups) -> float:
    """The variance of the area, or of the difference of areas. Needs two groups that hold each sample.

    With sums by group of what the placements of a sample are off their mean, u and v: (g / (g - 1)) sum(u^2) / M^2 for
    the g groups that hold the first sample, likewise for the second, and 2 (G / (G - 1)) sum(u v) / (M N) for all G.
    """
    sides = ((groups.upper, found.upper), (groups.lower, found.lower))
    sums = [np.bincount(codes, values - found.area, groups.count) / len(codes) for codes, values in sides]
    own = sum(count / (count - 1) * float(off @ off) for count, off in zip(groups.held, sums, strict=True))
    return own + 2 * groups.count / (groups.count - 1) * float(sums[0] @ sums[1])


def area_figure(found: Placements, groups: Groups, confidence: float) -> Figure:
    """The area with its interval, on the logit scale.

    Where the samples do not overlap it is that of Clopper and Pearson for as many pairs of images as can be had that
    share no group: all of them come out alike.
    """
    area, reason = found.area, why_no_interval(groups)
    if reason is not None:
        return Figure(area, reason=reason)
    if area in (0, 1):
        reach = ((1 - confidence) / 2) ** (1 / groups.pairs)
        low, high = (reach, 1.0) if area == 1 else (0.0, 1 - reach)
        return Figure(area, low, high, f"Clopper-Pearson, {groups.pairs:,} pairs of images of different groups")
    spread = variance(found, groups)
    if spread <= NO_SPREAD:
        return Figure(area, reason="No interval: these images leave no spread to judge by.")
    return Figure(area, *delong_interval(area, spread, confidence), f"{groups.method}, logit scale")


def difference_figure(first: Placements, second: Placements, groups: Groups, confidence: float) -> Figure:
    """The area of the first less that of the second, both of the same images, with its interval."""
    both = first - second
    reason = why_no_interval(groups)
    if reason is not None:
        return Figure(both.area, reason=reason)
    spread = variance(both, groups)
    if spread <= NO_SPREAD:
        are_alike = not both.upper.any() and not both.lower.any()
        why = "both place every image alike" if are_alike else "these images leave no spread to judge by"
        return Figure(both.area, reason=f"No interval: {why}.")
    reach = float(ndtri((1 + confidence) / 2)) * float(np.sqrt(spread))
    return Figure(both.area, max(-1.0, both.area - reach), min(1.0, both.area + reach), f"{groups.method}, paired")


def why_no_interval(groups: Groups) -> str | None:
    """Why nothing tells how far the area may be off, or None when something does."""
    if groups.fewest >= 2:
        return None
    if min(len(groups.upper), len(groups.lower)) < 2:
        return "No interval: it needs at least two images of each kind."
    return "No interval: all images of a kind are of one group, so nothing tells how groups differ."
