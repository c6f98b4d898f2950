"""Home of the figures of an evaluation broken down: by kind of defect, by group, and how far the classes lie apart."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.operating_points import Resampling
from rayae.statistics import (
    Bools,
    Figure,
    Ranking,
    bootstrap,
    bootstrap_method,
    delong,
    delong_interval,
    interval,
    no_interval,
    percent,
    rate,
)

KINDS_AT_MOST, GROUPS_AT_MOST = 20, 20
"""Kinds of defects and groups that are told apart, those with the most images; each costs a bootstrap."""
NO_DEFECTS = "A group without defects has no recall."
NO_NORMALS = "A group without normal images has no false-positive rate."
NO_CUT = "The bundle has no threshold, so nothing is flagged."
Values = NDArray[np.floating]


@dataclass(frozen=True)
class KindSkill:
    """How well the defects of one label are found among all normal images."""

    label: str
    images: int
    auroc: Figure
    recall: Figure
    """At the cut."""


@dataclass(frozen=True)
class GroupRates:
    """What the cut does to the images of one group."""

    group: str
    normal: int
    defect: int
    false_positive_rate: Figure
    recall: Figure


@dataclass(frozen=True)
class Breakdown:
    """The parts that have the most images, most first, and how many others there are."""

    kinds: tuple[KindSkill, ...]
    other_kinds: int
    groups: tuple[GroupRates, ...]
    other_groups: int
    gap: Figure
    """The lowest score of a defect less the highest of a normal image, in units of the score: above 0 a cut parts the
    classes here."""

    @property
    def words(self) -> Iterator[str]:
        """The kind that is found least, and the group with the most false alarms, where there are several."""
        known = {kind.label: kind.auroc.value for kind in self.kinds if kind.auroc.value is not None}
        if len(known) > 1:
            worst, best = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
            span = f"goes from {known[worst]:.3f} ({worst}) to {known[best]:.3f} ({best})"
            if known[worst] == known[best]:
                span = f"is {known[worst]:.3f} for each of {len(known):,}"
            yield f"By kind of defect AUROC {span}; each is held against all normal images."
        if self.other_kinds:
            yield f"{self.other_kinds:,} more kinds of defects have fewer images and are not told apart."
        alarms = {one: one.false_positive_rate.value or 0.0 for one in self.groups if one.normal}
        if len(alarms) > 1 and any(alarms.values()):
            loudest = max(alarms, key=alarms.__getitem__)
            shown = f"the {len(alarms):,} largest groups" if self.other_groups else f"{len(alarms):,} groups"
            images = f"{loudest.normal:,} normal images"
            yield f"Of {shown}, {loudest.group} has the most false alarms: {percent(alarms[loudest])} of its {images}."


@dataclass(frozen=True)
class Evaluated:
    """Evaluated images `[N]`, of which some are of each class."""

    scores: Values
    defect: Bools
    labels: Sequence[str]
    groups: Sequence[str | None]
    flagged: Bools | None
    """None without a cut."""


def break_down(images: Evaluated, how: Resampling) -> Breakdown:
    """The figures by kind of defect and by group, and the gap between the classes, each with its interval."""
    labels, groups = np.asarray(images.labels, dtype=object), np.asarray(images.groups, dtype=object)
    kinds = _most(labels[images.defect])
    named = _most(group for group in images.groups if group is not None)
    return Breakdown(
        kinds=tuple(_kind(images, kind, labels == kind, how) for kind in kinds[:KINDS_AT_MOST]),
        other_kinds=max(0, len(kinds) - KINDS_AT_MOST),
        groups=tuple(_group(images, group, groups == group, how) for group in named[:GROUPS_AT_MOST]),
        other_groups=max(0, len(named) - GROUPS_AT_MOST),
        gap=Figure(
            float(images.scores[images.defect].min()) - float(images.scores[~images.defect].max()),
            method="lowest defect less highest normal image; extremes have no interval",
        ),
    )


def no_breakdown(reason: str) -> Breakdown:
    """That of images that cannot be compared."""
    return Breakdown((), 0, (), 0, Figure(None, reason=reason))


def _most(names: Iterable[str]) -> list[str]:
    """The names, those that occur most first, then by name."""
    return [name for name, _ in sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))]


def _kind(images: Evaluated, label: str, own: Bools, how: Resampling) -> KindSkill:
    chosen = own & images.defect | ~images.defect
    groups = None if how.groups is None else np.unique(how.groups[chosen], return_inverse=True)[1]
    auroc = area(
        images.scores[chosen], images.defect[chosen], Resampling(groups, how.confidence, how.resamples, how.seed)
    )
    return KindSkill(
        label, int((own & images.defect).sum()), auroc, _rate(images, own & images.defect, how, NO_DEFECTS)
    )


def _group(images: Evaluated, group: str, own: Bools, how: Resampling) -> GroupRates:
    normal, defect = own & ~images.defect, own & images.defect
    rates = (_rate(images, normal, how, NO_NORMALS), _rate(images, defect, how, NO_DEFECTS))
    return GroupRates(group, int(normal.sum()), int(defect.sum()), *rates)


def _rate(images: Evaluated, of: Bools, how: Resampling, without: str) -> Figure:
    """The share of these images that is flagged."""
    if images.flagged is None:
        return Figure(None, reason=NO_CUT)
    return rate(int((images.flagged & of).sum()), int(of.sum()), how.confidence, without)


def area(scores: Values, positive: Bools, how: Resampling) -> Figure:
    """AUROC of finite scores of both classes `[N]`, with DeLong's interval, or that of a bootstrap of groups."""
    ranking = Ranking(scores, positive)
    value = float(ranking.skill(np.ones((1, len(scores))))[0][0])
    reason = no_interval(positive, how.groups)
    if reason is not None:
        return Figure(value, reason=reason)
    if how.groups is None:
        found, variance = delong(scores, positive)
        if variance > 0:
            return Figure(found, *delong_interval(found, variance, how.confidence), "DeLong, logit scale")
    clusters = np.arange(len(scores)) if how.groups is None else how.groups
    drawn, skipped = bootstrap([ranking], positive, clusters, how.resamples, how.seed)
    method = bootstrap_method(positive, how.groups, how.resamples, skipped)
    return interval(value, drawn[0, 0], how.confidence, method)
