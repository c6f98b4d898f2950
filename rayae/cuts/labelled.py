"""Home of labelled scores: normal images and defects, dealt out by group, and the ROC points of all their cuts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.cuts.basis import just_below
from rayae.errors import DataError
from rayae.statistics import Bools
from rayae.threshold import HIGHEST, Scores, exceeds

Keys = NDArray[np.float64]


@dataclass(frozen=True)
class Rates:
    """Shares of defects and of normal images that a cut flags."""

    recall: float
    fpr: float


@dataclass(frozen=True)
class Labelled:
    """Finite scores of labelled images. Those with one key are of one group and never part."""

    scores: Scores
    is_defect: Bools
    keys: Keys
    """In [0, 1), from the name of the group, or of the image itself where it has none."""

    def __post_init__(self) -> None:
        strange = int((~np.isfinite(self.scores)).sum())
        if strange:
            raise DataError(
                f"Labelled images need finite scores to choose a cut; {strange:,} of {len(self.scores):,} have none. "
                "`rayae verify` says which."
            )

    @property
    def defects(self) -> Scores:
        return self.scores[self.is_defect]

    @property
    def normals(self) -> Scores:
        return self.scores[~self.is_defect]

    def with_normals(self, scores: Scores) -> "Labelled":
        """The same with further normal images, each a group of its own."""
        own = np.random.default_rng(0).random(len(scores))
        return Labelled(
            np.concatenate([self.scores, scores]),
            np.concatenate([self.is_defect, np.zeros(len(scores), bool)]),
            np.concatenate([self.keys, own]),
        )

    def about_groups(self) -> str:
        """What the number of groups does to a bound that counts these images."""
        groups = len(np.unique(self.keys))
        if groups == len(self.keys):
            return ""
        return f" The {len(self.keys):,} labelled images are of {groups:,} groups, but count as independent."

    def where(self, rows: Bools) -> "Labelled":
        """The same of some of the images."""
        return Labelled(self.scores[rows], self.is_defect[rows], self.keys[rows])

    def dealt(self, share: float) -> tuple["Labelled", "Labelled"]:
        """About this share of the groups, and the others; the same ones whatever the order of the images."""
        first = self.keys < share
        return self.where(first), self.where(~first)

    def needs(self, rule: str, defects: int, normals: int) -> None:
        """DataError when there are fewer defects or normal images than a rule needs."""
        found = (len(self.defects), len(self.normals))
        if found[0] < defects or found[1] < normals:
            raise DataError(
                f"rule={rule} needs {defects:,} labelled defects and {normals:,} labelled normal images that choose "
                f"the cut; found {found[0]:,} and {found[1]:,}. Label more of the run's images, raise choose_on up "
                "to 1, or ask for less."
            )

    def rates(self, cut: float) -> Rates:
        """What a cut flags of these images, of which there are some of both classes."""
        return Rates(float(exceeds(self.defects, cut).mean()), float(exceeds(self.normals, cut).mean()))

    def roc(self) -> "Roc":
        """How many defects and normal images each cut flags that tells these images apart in another way."""
        distinct, place = np.unique(self.scores, return_inverse=True)
        hits = np.bincount(place[self.is_defect], minlength=len(distinct))
        false_alarms = np.bincount(place[~self.is_defect], minlength=len(distinct))
        above = [np.append(counts[::-1].cumsum()[::-1], 0) for counts in (hits, false_alarms)]
        lowest = just_below(float(distinct[0])) if len(distinct) else 0.0
        return Roc(np.append(np.float32(lowest), distinct), above[0], above[1])


@dataclass(frozen=True)
class Roc:
    """Cuts, ascending, with the numbers of defects and normal images above each: the first flags all, the last none."""

    cuts: Scores
    hits: NDArray[np.int64]
    false_alarms: NDArray[np.int64]

    @property
    def recall(self) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = self.hits / self.hits[0]
        return shares

    @property
    def fpr(self) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = self.false_alarms / self.false_alarms[0]
        return shares

    def cut_at(self, place: int) -> float:
        """The cut; at the ends one that flags all, or none, of any images."""
        if place == 0:
            return -HIGHEST
        return float(self.cuts[place]) if place < len(self.cuts) - 1 else HIGHEST

    def hull(self) -> NDArray[np.intp]:
        """Places of the cuts on the upper convex hull, ascending: no other is best for any costs (Provost, Fawcett)."""
        kept: list[int] = []
        x, y = self.false_alarms.tolist(), self.hits.tolist()
        for place in range(len(x) - 1, -1, -1):
            while len(kept) > 1 and _is_under(x, y, kept[-2], kept[-1], place):
                kept.pop()
            kept.append(place)
        return np.array(kept[::-1], dtype=np.intp)


def _is_under(x: list[int], y: list[int], first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or under the line from the first to the last."""
    rise, run = y[last] - y[first], x[last] - x[first]
    return (y[middle] - y[first]) * run <= rise * (x[middle] - x[first])


def keys_of(names: Sequence[str]) -> Keys:
    """A number in [0, 1) for each name, by its BLAKE2b digest: no order and no other name changes it."""
    known = {name: _key(name) for name in set(names)}
    return np.array([known[name] for name in names], dtype=np.float64)


def _key(name: str) -> float:
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48
