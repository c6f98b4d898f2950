"""Home of the gates: what an evaluation has to show before a detector and its cut are ready for production.

Each gate has a figure and a limit. None is a matter of the mean error alone: on photographs of solar cells a mean
squared error below 0.001 went with an AUROC of 0.67.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rayae.statistics import FEW_CLUSTERS, Figure, percent

GENERALISES, MEMORISED = 1.25, 2.0
"""Ratios of held-out to training error, by convention: it generalises up to one, memorised from the other."""
MOST_OVERLAP = 0.1
"""Share of the defects that may lie among the lowest 95 % of the normal scores; by convention."""
LEAST_NORMALS = 59
"""The fewest that show, when none of them is flagged, that less than 5 % are, with 95 % confidence: 0.95^59 < 0.05."""
LEAST_DEFECTS = 29
"""The fewest that show, when all of them are found, that more than 90 % are, with 95 % confidence: 0.9^29 < 0.05."""
LEAST_GROUPS = FEW_CLUSTERS
"""Of each class, where groups are known: with fewer, an interval over groups is not reliable."""


@dataclass(frozen=True)
class Gate:
    """One question that has to be answered with yes."""

    name: str
    passed: bool | None
    """None where nobody can tell."""
    figure: float | None
    limit: float | None
    sentence: str
    """The figure and the limit, or why there is none."""


@dataclass(frozen=True)
class Training:
    """What the bundle says of its own training."""

    error_ratio: float | None = None
    """Error of held-out images over that of the training images."""
    leak: str | None = None
    """That images of its sides are near-duplicates, as a sentence; None when none was found."""


@dataclass(frozen=True)
class Evidence:
    """What the gates look at."""

    normals: int
    defects: int
    fewest_groups: int | None
    """Groups of the class that fewer groups hold; None without groups."""
    error_ratio: Figure
    overlap: Figure
    """Share of the defects that lie among the lowest 95 % of the normal scores."""
    leads: Mapping[str, Figure]
    """How much better the score ranks than the best floor of each kind."""
    f1: Figure
    f1_of_flagging_everything: Figure
    false_positive_rate: Figure
    promised: float | None
    """The upper bound of the false-positive rate that the cut states; None where it states none."""
    promised_fdr: float | None
    """The share of false alarms among the flagged that the cut keeps to on average; None where it states none."""
    precision: Figure
    has_cut: bool
    leaks: Mapping[str, int]
    """Evaluated images that are too near to what was seen in training, by how that is known."""
    alike: int
    """Evaluated images with the name and the size of images that the bundle was made with: perhaps the same ones."""
    calibrated_on_defects: int
    training: Training


def judge(evidence: Evidence) -> tuple[Gate, ...]:
    """All gates, in the order in which to mend what fails."""
    return (
        leakage(evidence),
        memorised(evidence),
        images(evidence),
        floors(evidence),
        overlap(evidence),
        guarantee(evidence),
    )


def paragraph(gates: Sequence[Gate]) -> str:
    """The verdict: ready for production or not, which gates failed, and the figure and the limit of each."""
    failed, unknown = ([gate for gate in gates if gate.passed is answer] for answer in (False, None))
    passed = [gate for gate in gates if gate.passed]
    return " ".join(
        [
            _headline(len(gates), failed, unknown),
            *(gate.sentence for gate in (*failed, *unknown)),
            *(["These hold:", *(gate.sentence for gate in passed)] if passed else []),
        ]
    )


def _headline(count: int, failed: Sequence[Gate], unknown: Sequence[Gate]) -> str:
    if not failed and not unknown:
        return f"Ready for production: yes, all {count} gates are passed."
    names = ", ".join(gate.name for gate in failed or unknown)
    if failed:
        return f"Ready for production: no, {len(failed)} of {count} gates failed ({names})."
    return f"Ready for production: not shown, of {count} gates {len(unknown)} cannot be judged ({names})."


def memorised(e: Evidence) -> Gate:
    """Whether held-out normal images are reproduced nearly as well as those trained on."""
    name, ratio, how = "memorised", e.error_ratio.value, e.error_ratio.method
    if ratio is None and e.training.error_ratio is not None:
        ratio, how = e.training.error_ratio, "error of held-out images over that of the training images, at training,"
    if ratio is None:
        return _untold(name, MEMORISED, e.error_ratio.reason or "No ratio of errors is known.")
    if ratio < MEMORISED:
        return Gate(name, True, ratio, MEMORISED, f"The {how} is {ratio:.3g}, below {MEMORISED:g}.")
    told = f"No: it memorised. The {how} is {ratio:.3g}, and has to be below {MEMORISED:g}."
    return Gate(name, False, ratio, MEMORISED, told)


def overlap(e: Evidence) -> Gate:
    """Whether few defects lie among the scores that normal images have."""
    share = e.overlap.value
    if share is None:
        return _untold("overlap", MOST_OVERLAP, e.overlap.reason or "The overlap of the scores is not known.")
    told = f"{percent(share)} of the defects lie among the lowest 95 % of the normal scores"
    passed = share <= MOST_OVERLAP
    return Gate("overlap", passed, share, MOST_OVERLAP, f"{told}, {_at_most(passed, percent(MOST_OVERLAP))}.")


def leakage(e: Evidence) -> Gate:
    """Whether no evaluated image has, or may have, been seen in training."""
    count = sum(e.leaks.values())
    found = ", ".join(f"{number:,} {why}" for why, number in e.leaks.items() if number)
    if e.training.leak is not None:
        return Gate("leakage", False, None, 0, e.training.leak)
    if count:
        return _untold("leakage", 0, f"Of the labelled images {found}; what it is worth on new groups is not shown.")
    if e.alike:
        told = f"{e.alike:,} labelled images have the name and the size of images that the bundle was made with"
        return _untold("leakage", 0, f"{told}; whether they are the same is not known.")
    return Gate("leakage", True, 0, 0, "No labelled image is known to have been seen in training.")


def images(e: Evidence) -> Gate:
    """Whether there are enough images, and groups, for the figures to say something."""
    counts = {"normal images": (e.normals, LEAST_NORMALS), "defects": (e.defects, LEAST_DEFECTS)}
    if e.fewest_groups is not None:
        counts["groups of a class"] = (e.fewest_groups, LEAST_GROUPS)
    few = {what: pair for what, pair in counts.items() if pair[0] < pair[1]}
    if not few:
        told = ", ".join(f"{number:,} {what} of at least {least}" for what, (number, least) in counts.items())
        return Gate("images", True, e.defects, LEAST_DEFECTS, f"There are {told}.")
    told = "; ".join(
        f"at least {least} {what} are needed, {number:,} are there" for what, (number, least) in few.items()
    )
    number, least = next(iter(few.values()))
    return Gate("images", False, number, least, f"There are too few images: {told}.")


def floors(e: Evidence) -> Gate:
    """Whether the score ranks better than what needs no trained network, and the cut flags better than everything."""
    name, known = "floors", {kind: lead for kind, lead in e.leads.items() if lead.value is not None}
    if not known:
        return _untold(name, 0, "There is no floor that the score could be held against.")
    f1, everything = e.f1.value, e.f1_of_flagging_everything.value
    if f1 is not None and everything is not None and f1 <= everything:
        return Gate(
            name, False, f1, everything, f"F1 is {f1:.3f}, no better than {everything:.3f} of flagging everything."
        )
    kind, lead = min(known.items(), key=lambda item: _surely(item[1]))
    surely = _surely(lead)
    unsure = [kind for kind, lead in known.items() if lead.low is None]
    if unsure and surely > 0:
        return _untold(name, 0, f"Whether the score ranks better than {unsure[0]} nobody can tell without an interval.")
    told = f"AUROC is at least {surely:+.3f} above that of {kind}, and has to be above it"
    return Gate(name, surely > 0, surely, 0, f"{told}.")


def guarantee(e: Evidence) -> Gate:
    """Whether the cut states how many false alarms to expect, and the labelled images do not contradict it."""
    name = "guarantee"
    if not e.has_cut:
        return Gate(name, False, None, None, "There is no cut, so nothing is flagged.")
    if e.calibrated_on_defects:
        told = f"The cut was calibrated on {e.calibrated_on_defects:,} images that are labelled as defects."
        return Gate(name, False, e.calibrated_on_defects, 0, told)
    if e.promised_fdr is not None:
        return _keeps_fdr(e, e.promised_fdr)
    if e.promised is not None:
        return _keeps_fpr(e, e.promised)
    return Gate(name, False, None, None, "The cut states no bound of its false-positive rate.")


def _keeps_fpr(e: Evidence, promised: float) -> Gate:
    """Whether the false-positive rate may be what the cut promises."""
    name, measured = "guarantee", e.false_positive_rate
    if measured.value is None or measured.low is None:
        return _untold(name, promised, measured.reason or "The false-positive rate is not known.")
    passed = measured.low <= promised
    promise = f"the cut promises at most {percent(promised)}"
    told = (
        f"{percent(measured.value)} of the normal images are flagged, at least {percent(measured.low)} by its interval"
    )
    return Gate(name, passed, measured.low, promised, f"{told}; {promise}.")


def _keeps_fdr(e: Evidence, promised: float) -> Gate:
    """Whether the share of false alarms among the flagged may be what the cut promises on average."""
    name, precision = "guarantee", e.precision
    if precision.value is None or precision.high is None:
        return _untold(name, promised, precision.reason or "The share of false alarms among the flagged is not known.")
    share, least = 1 - precision.value, 1 - precision.high
    told = (
        f"{percent(share)} of the flagged labelled images are normal, at least {percent(least)} by the interval; the "
        f"decision promises at most {percent(promised)} on average, if defects are labelled as often as normal images"
    )
    return Gate(name, least <= promised, least, promised, f"{told}.")


def _surely(lead: Figure) -> float:
    """The lead that there is at least, or the lead itself where it has no interval."""
    value = lead.value if lead.low is None else lead.low
    return value if value is not None else float("-inf")


def _at_most(passed: bool, limit: str) -> str:
    return f"and at most {limit} may" if not passed else f"at most {limit} may"


def _untold(name: str, limit: float | None, reason: str) -> Gate:
    return Gate(name, None, None, limit, reason)
