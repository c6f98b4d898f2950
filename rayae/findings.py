"""Home of what an evaluation finds, and of the same in words."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from rayae.breakdowns import Breakdown
from rayae.evidence import (
    AtCut,
    Decided,
    Examples,
    Floor,
    Floors,
    Overlap,
    Population,
    RoleErrors,
    ScoreSkill,
    TradeOff,
)
from rayae.gates import GENERALISES, MEMORISED, Gate, paragraph
from rayae.operating_points import RecallAt
from rayae.score_names import IN_WORDS, UNTRAINED_SCORES
from rayae.statistics import FEW_CLUSTERS, Figure, percent
from rayae.threshold import HIGHEST

FEW_IMAGES = 20


@dataclass(frozen=True)
class Evaluation:
    """How good the scores and the cut are on images that the bundle has never seen."""

    primary: str
    confidence: float
    population: Population
    skill: tuple[ScoreSkill, ...]
    """The primary score first."""
    at_cut: AtCut
    trade_off: tuple[TradeOff, ...]
    """Other cuts, the strictest first; none without both classes."""
    floors: Floors
    errors: tuple[RoleErrors, ...]
    error_ratio: Figure
    """Median reconstruction error of held-out normal images over that of the training images."""
    overlap: Overlap
    examples: Examples
    recall_at: tuple[RecallAt, ...]
    """At fixed false-positive rates."""
    breakdown: Breakdown
    decided: Decided | None
    gates: tuple[Gate, ...]
    """What has to hold in production."""

    @property
    def words(self) -> list[str]:
        """What the figures mean for somebody who must decide, a sentence or two each."""
        groups = (
            [paragraph(self.gates)],
            _population_words(self.population),
            _decision_words(self.decided),
            _skill_words(self),
            _recall_words(self),
            _floor_words(self),
            _cut_words(self),
            self.breakdown.words,
            _error_words(self),
            _overlap_words(self.overlap, self.breakdown.gap),
            _group_words(self.population),
            _reasons(self),
        )
        return list(dict.fromkeys(sentence for group in groups for sentence in group))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: no NaN, None where a figure cannot be had, with its reason beside it."""
        return {**asdict(self), "words": self.words}


def _population_words(p: Population) -> Iterator[str]:
    yield (
        f"The figures stand on {p.normal:,} normal and {p.defect:,} defect images that were not used to make "
        f"the bundle."
    )
    out = {
        "unscored": p.unscored,
        "used to make the bundle": p.used,
        "of a group of which images were used": p.of_used_groups,
        "without a label": p.unlabelled,
    }
    if any(out.values()):
        yield f"Left out: {', '.join(f'{count:,} {why}' for why, count in out.items() if count)}."
    for count, what in ((p.normal, "normal images"), (p.defect, "defects")):
        if 0 < count < FEW_IMAGES:
            yield f"With only {count} {what}, each single image moves the figures."
    if p.trained_on_defects:
        yield (
            f"{p.trained_on_defects:,} of the images that the network was trained with are labelled as defects: "
            f"it learnt to take them for normal."
        )
    if p.calibrated_on_defects:
        yield (
            f"{p.calibrated_on_defects:,} of the images that the cut was calibrated on are labelled as defects: "
            f"they count as normal there, so the cut is too high."
        )


def _decision_words(decided: Decided | None) -> Iterator[str]:
    if decided is None:
        return
    chose = (
        f"the {decided.chose:,} labelled images that chose it are left out" if decided.chose else "no label chose it"
    )
    yield f"The cut is that of the decision {decided.id}; {chose}."
    if decided.cuts_of_groups:
        yield f"{decided.cuts_of_groups:,} group(s) have a cut of their own, which is asked of their images."


def _recall_words(e: Evaluation) -> Iterator[str]:
    for point in e.recall_at:
        if point.recall.value is not None:
            yield (
                f"With {percent(point.false_positive_rate)} of the normal images flagged or less, "
                f"{share(point.recall, e.confidence)} of the defects could be found, by a cut chosen on these images."
            )


def _skill_words(e: Evaluation) -> Iterator[str]:
    auroc = e.skill[0].auroc
    if auroc.value is None:
        return
    yield f"The score is {e.primary}: {IN_WORDS[e.primary]}."
    yield (
        f"In {100 * auroc.value:.0f} of 100 pairs of a defect and a normal image, the defect has the higher "
        f"{e.primary} (AUROC {figure(auroc, e.confidence)}); 50 is chance."
    )
    if auroc.value < 0.5:
        yield "That is worse than chance: normal images look stranger to this model than defects do."


def _floor_words(e: Evaluation) -> Iterator[str]:
    """A sentence on the best floor of each kind, and one on all of them."""
    if e.skill[0].auroc.value is None:
        return
    if e.primary in UNTRAINED_SCORES:
        yield f"{e.primary} needs no trained network and is a floor itself: the network adds nothing to this score."
    best = e.floors.best
    for kind, floor in best.items():
        title = f"{kind[0].upper()}{kind[1:]}, {floor.title},"
        yield f"{title} reaches {figure(floor.auroc, e.confidence)}: {_held(e, floor)}."
    if not best:
        return
    if all(floor.is_beaten for floor in best.values()):
        yield f"So {e.primary} beats every floor: the detector knows more than what needs no training."
    else:
        *others, last = (kind for kind, floor in best.items() if not floor.is_beaten)
        names = f"{', '.join(others)} and {last}" if others else last
        yield f"So {e.primary} has not been shown to beat {names}: look whether the detector is worth its training."


def _held(e: Evaluation, floor: Floor) -> str:
    """What the lead of the primary score over a floor says."""
    lead = floor.lead
    if lead.value is None:
        return f"{e.primary} cannot be compared with it"
    side = "below" if lead.value < 0 else "above"
    span = ""
    if lead.low is not None:
        span = f" ({percent(e.confidence)} interval of the difference {lead.low:+.3f} to {lead.high:+.3f})"
    no = "which is not better" if lead.value <= 0 else "which is not clearly better"
    judged = {True: "which is clearly better", False: no, None: "and without an interval nobody can tell"}
    return f"{e.primary} is {abs(lead.value):.3f} {side} it{span}, {judged[floor.is_beaten]}"


def _cut_words(e: Evaluation) -> Iterator[str]:
    at, p = e.at_cut, e.population
    if at.true_positives is None or at.false_positives is None:
        return
    if at.cut == HIGHEST:
        yield "The decision has found nothing to flag, so there is no cut."
    else:
        others = ", where its group has no cut of its own" if e.decided is not None and e.decided.cuts_of_groups else ""
        yield f"An image is flagged when its {e.primary} is above {at.cut:.6g}{others}."
    if at.recall.value is not None:
        recall = share(at.recall, e.confidence)
        yield f"The cut finds {at.true_positives:,} of {p.defect:,} defects (recall {recall})."
    review = None if e.decided is None else e.decided.review
    if review is not None:
        yield (
            f"{review.defects + review.normals:,} more images are for a person to look at, {review.defects:,} of them "
            f"defects: with these the recall is {share(review.recall, e.confidence)}."
            if review.recall.value is not None
            else f"{review.normals:,} more normal images are for a person to look at."
        )
    if at.false_positive_rate.value is not None:
        rate = share(at.false_positive_rate, e.confidence)
        yield f"It flags {at.false_positives:,} of {p.normal:,} normal images (false-positive rate {rate})."
    if at.precision.value is not None and p.defect_share is not None:
        yield (
            f"Of {at.true_positives + at.false_positives:,} flagged images {at.true_positives:,} are defects "
            f"(precision {share(at.precision, e.confidence)}); that holds at this set's share of defects, "
            f"{percent(p.defect_share)}, and is lower where defects are rarer."
        )
    floor = e.floors.f1_flag_everything.value
    if at.f1.value is not None and floor is not None:
        better = "" if at.f1.value > floor else ", so by this measure the cut is no better"
        yield f"F1 is {at.f1.value:.3f}; flagging everything has {floor:.3f}{better}."
    if at.flags_that_differ:
        yield (
            f"{at.flags_that_differ:,} of these images carry another flag in the results, or none: the run "
            f"was not flagged with this cut."
        )


def _error_words(e: Evaluation) -> Iterator[str]:
    ratio = e.error_ratio
    if ratio.value is None:
        return
    span = "" if ratio.low is None else f", {percent(e.confidence)} interval {ratio.low:.3g} to {ratio.high:.3g}"
    yield f"The {ratio.method} is {ratio.value:.3g}{span}."
    if ratio.value >= MEMORISED:
        yield "No, it does not generalise: it memorised its images, or the new ones were taken otherwise."
    elif ratio.value > GENERALISES:
        yield "New normal images are reproduced worse than training images: it memorised some of these."
    elif ratio.value >= 1 / GENERALISES:
        yield "That is near 1: the model reproduces new normal images as well as its training images."
    else:
        yield "New normal images are easier than the training images: look whether the two are of one kind."


def _overlap_words(o: Overlap, gap: Figure) -> Iterator[str]:
    highest, most = o.below_highest_normal.value, o.below_95_percent_of_normal.value
    if highest is None or most is None or gap.value is None:
        return
    if highest == 0:
        yield f"Every defect here scores higher than every normal image, the lowest by {gap.value:.3g}."
        return
    yield (
        f"{percent(highest)} of the defects score no higher than the highest normal image, so only a cut "
        f"that also flags normal images finds them; {percent(most)} lie among the lowest 95 % of the normal scores."
    )


def _group_words(p: Population) -> Iterator[str]:
    if p.groups is None or p.normal_groups is None or p.defect_groups is None:
        if p.normal + p.defect:
            yield "No groups are known: if several images show one object, the intervals are too narrow."
        return
    yield (
        f"The images come from {p.groups:,} groups; intervals of the ranking count groups, those of rates at "
        f"the cut count images and are too narrow when images of a group are alike."
    )
    few = min(p.normal_groups, p.defect_groups)
    if 0 < few < FEW_CLUSTERS:
        yield f"One class comes from {few} group(s) only, so no interval here is reliable."
    if p.from_used_groups:
        yield (
            f"{p.from_used_groups:,} of the evaluated images share a group with images that the bundle was "
            f"made with: for new groups expect worse figures."
        )


def _reasons(node: object) -> Iterator[str]:
    """Every reason in the tree, so that nothing is missing without a word."""
    if isinstance(node, tuple):
        for item in node:
            yield from _reasons(item)
    elif is_dataclass(node):
        for field in fields(node):
            value = getattr(node, field.name)
            if field.name == "reason" and value is not None:
                yield value
            else:
                yield from _reasons(value)


def figure(f: Figure, confidence: float) -> str:
    """A figure between 0 and 1 with its interval: `0.871, 95 % interval 0.840 to 0.902`."""
    if f.value is None:
        return "-"
    text = f"{f.value:.3f}"
    return text if f.low is None else f"{text}, {percent(confidence)} interval {f.low:.3f} to {f.high:.3f}"


def share(f: Figure, confidence: float) -> str:
    """A rate in percent with its interval."""
    if f.value is None:
        return "-"
    text = percent(f.value)
    if f.low is None or f.high is None:
        return text
    return f"{text}, {percent(confidence)} interval {percent(f.low)} to {percent(f.high)}"
