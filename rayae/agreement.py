"""Home of what two runs say of the same images: who flags what, and whose scores rank defects better.

Sources: McNemar 1947, in the exact form (binomial on the images on which the two differ); Newcombe 1998, "Improved
confidence intervals for the difference between binomial proportions based on paired data", method 10, on the score
intervals of Wilson 1927.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import bdtr, ndtri

from rayae.placements import Groups, Keys, area_figure, difference_figure, place
from rayae.statistics import Bools, Figure, percent, rate
from rayae.threshold import Scores

NO_DEFECT = "There is no labelled defect to judge by."
NO_NORMAL = "There is no image labelled normal to judge by."


@dataclass(frozen=True)
class Flags:
    """How many images both runs flag, one of them, or neither."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def images(self) -> int:
        return self.both + self.only_a + self.only_b + self.neither

    def __add__(self, other: "Flags") -> "Flags":
        return Flags(*(own + more for own, more in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def p_value(self) -> float:
        """McNemar's exact two-sided one, of as uneven a split of the images on which they differ by chance alone."""
        fewer, differing = min(self.only_a, self.only_b), self.only_a + self.only_b
        return min(1.0, 2 * float(bdtr(fewer, differing, 0.5)))

    def difference(self, confidence: float) -> Figure:
        """The share that A flags less the share that B flags, with Newcombe's interval. Needs an image."""
        a, b = self.both + self.only_a, self.both + self.only_b
        value, phi = (self.only_a - self.only_b) / self.images, self._phi()
        (low_a, high_a), (low_b, high_b) = (wilson(hits, self.images, confidence) for hits in (a, b))
        down_a, up_a, down_b, up_b = (
            a / self.images - low_a,
            high_a - a / self.images,
            b / self.images - low_b,
            high_b - b / self.images,
        )
        low = value - math.sqrt(max(0.0, down_a**2 - 2 * phi * down_a * up_b + up_b**2))
        high = value + math.sqrt(max(0.0, up_a**2 - 2 * phi * up_a * down_b + down_b**2))
        return Figure(value, low, high, "Newcombe's interval for paired shares, images counted as independent")

    def _phi(self) -> float:
        """The correlation of the two runs' flags, drawn to 0 by Newcombe's correction where it is above that."""
        marginals = (
            self.both + self.only_a,
            self.only_b + self.neither,
            self.both + self.only_b,
            self.only_a + self.neither,
        )
        if not all(marginals):
            return 0.0
        excess = float(self.both * self.neither - self.only_a * self.only_b)
        return (max(0.0, excess - self.images / 2) if excess > 0 else excess) / math.sqrt(math.prod(marginals))


def wilson(hits: int, images: int, confidence: float) -> tuple[float, float]:
    """The score interval of a share."""
    z = float(ndtri((1 + confidence) / 2))
    middle, reach = hits + z * z / 2, z * math.sqrt(hits * (images - hits) / images + z * z / 4)
    return (middle - reach) / (images + z * z), (middle + reach) / (images + z * z)


NO_FLAGS = Flags(0, 0, 0, 0)


@dataclass(frozen=True)
class PairedRates:
    """The shares of some images that two runs flag, and what is between them."""

    flags: Flags
    a: Figure
    b: Figure
    difference: Figure
    """The share of A less that of B."""
    p_value: float | None


def rates(flags: Flags, confidence: float, without: str) -> PairedRates:
    """Both shares and their difference; `without` is the reason when there is no image."""
    a, b = (rate(flags.both + only, flags.images, confidence, without) for only in (flags.only_a, flags.only_b))
    if flags.images == 0:
        return PairedRates(flags, a, b, Figure(None, reason=without), None)
    return PairedRates(flags, a, b, flags.difference(confidence), flags.p_value)


@dataclass(frozen=True)
class LabelledPairs:
    """The scores that two runs give to the same labelled images `[N]`, finite."""

    a: Scores
    b: Scores
    is_defect: Bools
    keys: Keys
    """Of their groups; an image without one has a key of its own."""


@dataclass(frozen=True)
class PairedRanking:
    """How well each of two scores ranks the defects above the normal images."""

    defects: int
    normals: int
    a: Figure
    b: Figure
    difference: Figure
    """The AUROC of A less that of B."""


def rank(labelled: LabelledPairs, confidence: float) -> PairedRanking:
    """Both AUROCs and their paired difference; without one of the classes their reason."""
    is_defect = labelled.is_defect
    defects, normals = int(is_defect.sum()), int((~is_defect).sum())
    if min(defects, normals) == 0:
        none = Figure(None, reason=NO_NORMAL if defects else NO_DEFECT)
        return PairedRanking(defects, normals, none, none, none)
    groups = Groups.of(labelled.keys[is_defect], labelled.keys[~is_defect])
    a, b = (place(scores[is_defect], scores[~is_defect]) for scores in (labelled.a, labelled.b))
    ends = (area_figure(a, groups, confidence), area_figure(b, groups, confidence))
    return PairedRanking(defects, normals, *ends, difference_figure(a, b, groups, confidence))


def in_words(
    ranking: PairedRanking, recall: PairedRates | None, alarms: PairedRates | None, confidence: float
) -> list[str]:
    """What the figures come to, a sentence each."""
    told = [_ranking_in_words(ranking, confidence)]
    for rates, what in ((recall, "defects"), (alarms, "normal images")):
        if rates is not None and rates.difference.value is not None:
            told.append(_rates_in_words(rates, what, confidence))
    return told


def _ranking_in_words(ranking: PairedRanking, confidence: float) -> str:
    found = ranking.difference
    if found.value is None:
        return f"Which of the two ranks better is not known: {found.reason}"
    counted = f"on {ranking.defects:,} defects and {ranking.normals:,} normal images"
    if found.low is None or found.high is None:
        return f"The AUROC of A is {found.value:+.4f} from that of B {counted}. {found.reason}"
    span = f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}, {percent(confidence)} interval)"
    verdict = (
        "A ranks better" if found.low > 0 else "B ranks better" if found.high < 0 else "either may be the better one"
    )
    return f"The AUROC of A less that of B is {span} {counted}: {verdict}."


def _rates_in_words(rates: PairedRates, what: str, confidence: float) -> str:
    flags, found = rates.flags, rates.difference
    told = (
        f"Of {flags.images:,} {what} A flags {flags.both + flags.only_a:,} and B {flags.both + flags.only_b:,}; "
        f"{flags.only_a:,} only A and {flags.only_b:,} only B"
    )
    if found.low is None or found.high is None or found.value is None:
        return f"{told}."
    span = f"{100 * found.value:+.3g} points ({100 * found.low:+.3g} to {100 * found.high:+.3g})"
    return f"{told}: {span} at {percent(confidence)} confidence, McNemar's exact p = {rates.p_value:.3g}."


def flags_by_label(rows: Sequence[tuple[str | None, bool, bool, int]]) -> dict[str | None, Flags]:
    """Counts of images by label, whether A flags them and whether B does; in the order of the labels, none last."""
    found: dict[str | None, Flags] = {}
    for label, a, b, images in rows:
        own = Flags(
            *(images if at == (a, b) else 0 for at in ((True, True), (True, False), (False, True), (False,) * 2))
        )
        found[label] = found.get(label, NO_FLAGS) + own
    return dict(sorted(found.items(), key=lambda item: (item[0] is None, item[0] or "")))
