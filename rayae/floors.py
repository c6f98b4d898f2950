"""Home of the floors: how well defects are ranked by what needs no trained network, and whether a score beats that.

Three kinds: trivial statistics of the file and its pixels, the principal components of the training pictures, and the
most similar training picture. A detector that beats one of them by chance, or not at all, has not shown that its
network knows more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.evidence import Floor, Floors
from rayae.score_names import COMPONENT_SCORES, NEAREST_SCORES, TEXTURE_SCORES, UNTRAINED_SCORES
from rayae.statistics import Bools, Figure, Skill, area_under, skills

TRIVIAL = {
    "size_bytes": ("file size", "larger", "smaller"),
    "pixel_mean": ("mean brightness", "brighter", "darker"),
    "pixel_std": ("contrast", "higher", "lower"),
    "pixel_p01": ("brightness of the darkest 1 %", "brighter", "darker"),
    "pixel_sharpness": ("sharpness", "sharper", "blurrier"),
}
"""Columns that need no model: what they are, and what defects are taken to be when they rank higher or lower."""
FLOOR_COLUMNS = (*TRIVIAL, *UNTRAINED_SCORES)
Values = NDArray[np.floating]


@dataclass(frozen=True)
class Held:
    """What floors are held against: the primary score of the images `[N]`, finite, and what the images are."""

    primary: str
    values: Values
    positive: Bools
    groups: NDArray[np.intp] | None
    """Dense numbers from 0."""
    confidence: float
    resamples: int
    seed: int

    def of(self, known: Bools) -> "Held":
        """The same of some of the images."""
        groups = None if self.groups is None else np.unique(self.groups[known], return_inverse=True)[1]
        some = (self.values[known], self.positive[known], groups)
        return Held(self.primary, *some, self.confidence, self.resamples, self.seed)

    def against(self, columns: Sequence[Values]) -> list[Skill]:
        """Each column, finite, with its distance from the primary score; both from the same resamples."""
        return skills(
            [self.values, *columns],
            self.positive,
            self.groups,
            confidence=self.confidence,
            resamples=self.resamples,
            seed=self.seed,
        )[1:]


def without_floors(reason: str) -> Floors:
    """The floors of images that cannot be ranked."""
    missing = Figure(None, reason=reason)
    return _floors(missing, missing, {name: _missing(name, reason) for name in FLOOR_COLUMNS})


def find_floors(held: Held, columns: Mapping[str, Values]) -> Floors:
    """What flagging everything, a random order and `FLOOR_COLUMNS` reach on the same images, which are of both classes.

    `columns` are those of them that the results have, `[N]` each, NaN where a value is not known. The primary score is
    no floor of itself.
    """
    share = float(held.positive.mean())
    absent = [name for name in FLOOR_COLUMNS if name not in columns]
    reason = f"The results have no {', '.join(absent)} to hold the score against."
    found = {name: _missing(name, reason) for name in absent}
    whole: dict[str, _Column] = {}
    for name, values in columns.items():
        if name == held.primary:
            continue
        known = np.isfinite(values)
        if len(np.unique(held.positive[known])) < 2:
            found[name] = _missing(name, f"No floor by {_what(name)}: it is not known of a whole class.")
        elif known.all():
            whole[name] = _Column.of(name, values, held.positive, "")
        else:
            some = f", of the {known.sum():,} images whose {_what(name)} is known"
            part = _Column.of(name, values[known], held.positive[known], some)
            found[name] = part.floor(held.of(known).against([part.values])[0])
    ranked = held.against([column.values for column in whole.values()])
    found |= {name: column.floor(skill) for (name, column), skill in zip(whole.items(), ranked, strict=True)}
    found.pop(held.primary, None)
    return _floors(Figure(2 * share / (1 + share)), Figure(share), found)


@dataclass(frozen=True)
class _Column:
    """A column in the direction in which it ranks the images better: if that errs, it is in favour of the floor."""

    name: str
    title: str
    values: NDArray[np.float64]
    method: str | None

    @classmethod
    def of(cls, name: str, values: Values, positive: Bools, some: str) -> "_Column":
        numbers = np.asarray(values, dtype=np.float64)
        if name not in TRIVIAL:
            return cls(name, _title(name), numbers, some.removeprefix(", ") or None)
        _, higher, lower = TRIVIAL[name]
        is_higher = area_under(numbers, positive) >= 0.5
        direction = higher if is_higher else lower
        title = f"{_title(name)} (defects {direction})"
        return cls(name, title, numbers if is_higher else -numbers, f"defects taken to be {direction}{some}")

    def floor(self, skill: Skill) -> Floor:
        auroc = skill.auroc
        how = " / ".join(part for part in (self.method, auroc.method) if part)
        figure = Figure(auroc.value, auroc.low, auroc.high, how or None, auroc.reason)
        assert skill.lead is not None
        return Floor(self.name, self.title, figure, skill.average_precision, skill.lead, _is_beaten(skill.lead))


def _is_beaten(lead: Figure) -> bool | None:
    """Whether the interval of the lead lies above 0; None where there is no interval that could tell."""
    if lead.value is None or (lead.low is None and lead.value > 0):
        return None
    return lead.low is not None and lead.low > 0


def _floors(f1: Figure, precision: Figure, found: Mapping[str, Floor]) -> Floors:
    kinds = (tuple(TRIVIAL), (*COMPONENT_SCORES, *TEXTURE_SCORES), NEAREST_SCORES)
    return Floors(f1, precision, *(tuple(found[name] for name in kind if name in found) for kind in kinds))


def _missing(name: str, reason: str) -> Floor:
    missing = Figure(None, reason=reason)
    return Floor(name, _title(name), missing, missing, missing, None)


def _title(name: str) -> str:
    return f"{_what(name)} alone" if name in TRIVIAL else name


def _what(name: str) -> str:
    return TRIVIAL[name][0] if name in TRIVIAL else name
