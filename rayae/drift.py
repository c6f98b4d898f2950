"""Home of drift: how far the images of a run are from reference images, by their score and by their pixels.

With millions of images any difference is beyond chance, so it is told by its size: Cliff's delta (Cliff 1993), the
share of pairs in which the image of the run has the higher value less the share in which the reference has it, and the
shift of the median in robust standard deviations of the reference (1.4826 times the median absolute deviation).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rayae.floors import TRIVIAL
from rayae.placements import Groups, Keys, area_figure, place
from rayae.results import PIXEL_STATISTICS
from rayae.statistics import NORMAL_MAD, Figure, percent

SCORE = "score"
State = Literal["moved", "steady", "unclear"]
Cause = Literal[
    "none", "camera", "camera, score unclear", "product", "score, camera unclear", "both", "score", "unclear"
]
IN_WORDS: Mapping[Cause, str] = {
    "none": "Neither the score nor the pictures have moved by as much as matters.",
    "camera": "The pictures have moved and the score has not: this points to the camera or the light, and the detector "
    "bears it.",
    "camera, score unclear": "The pictures have moved, which points to the camera or the light; whether the score has "
    "moved with them, these images cannot tell.",
    "product": "The score has moved and brightness, contrast and sharpness have not: this points to the product, or to "
    "what these figures do not see, as the place of the part in the picture.",
    "score, camera unclear": "The score has moved; whether the pictures have, these images cannot tell, so the camera "
    "and the product cannot be told apart.",
    "both": "The pictures have moved and the score with them: a camera or a light that changes moves the score too, so "
    "the camera and the product cannot be told apart by these figures. Set the camera right, or calibrate on "
    "pictures as they are, and look again.",
    "score": "The score has moved; there are no statistics of the reference's pixels, so the camera and the product "
    "cannot be told apart.",
    "unclear": "Nothing is seen to have moved by as much as matters, but these images cannot rule it out.",
}


Values = Mapping[str, NDArray[np.float32]]
"""By quantity, of some images `[N]`, finite."""


@dataclass(frozen=True)
class Sample:
    """What is known of some images `[N]`."""

    keys: Keys
    """Of the groups that they are of."""
    values: Values


@dataclass(frozen=True)
class Shift:
    """How far one quantity of the images is from that of the reference."""

    name: str
    delta: Figure
    """Cliff's delta, from -1 to 1; above 0 where the run has the higher values."""
    median_shift: float | None
    """In robust standard deviations of the reference; None where these are 0."""

    def state(self, smallest: float) -> State:
        """Whether it has moved by `smallest` or more, or by less, as far as the whole interval says so."""
        low, high = self.delta.low, self.delta.high
        if low is None or high is None:
            return "unclear"
        if low >= smallest or high <= -smallest:
            return "moved"
        return "steady" if -smallest < low and high < smallest else "unclear"


@dataclass(frozen=True)
class Drift:
    """What has moved in a run, or in those of its images that share a value."""

    value: str | None
    """None for the whole run, and for images without a value."""
    images: int
    cause: Cause
    shifts: Sequence[Shift]
    """The score first."""
    is_like: bool = False
    """Whether it is held against images of the reference that share the value, and not against all of them."""


def measure(
    value: str | None, run: Sample, reference: Sample, confidence: float, smallest: float, *, is_like: bool = False
) -> Drift:
    """The shifts of all quantities of the reference, each with this confidence, and what they point to.

    Needs an image on both sides.
    """
    groups = Groups.of(run.keys, reference.keys)
    shifts = [shift(name, run.values[name], others, groups, confidence) for name, others in reference.values.items()]
    return Drift(value, len(run.keys), cause(shifts, smallest), shifts, is_like)


def shift(
    name: str, values: NDArray[np.float32], reference: NDArray[np.float32], groups: Groups, confidence: float
) -> Shift:
    """The shift of one quantity. Needs an image on both sides."""
    found = place(values, reference)
    area = area_figure(found, groups, confidence)
    low, high = (None if end is None else 2 * end - 1 for end in (area.low, area.high))
    delta = Figure(2 * found.area - 1, low, high, area.method, area.reason)
    return Shift(name, delta, median_shift(values, reference))


def median_shift(values: NDArray[np.floating], reference: NDArray[np.floating]) -> float | None:
    """The median less that of the reference, in robust standard deviations of the reference; None where these are 0."""
    middle = float(np.median(reference))
    spread = NORMAL_MAD * float(np.median(np.abs(reference.astype(np.float64) - middle)))
    return (float(np.median(values)) - middle) / spread if spread > 0 else None


def each_confidence(confidence: float, figures: int) -> float:
    """The confidence of each of so many intervals that hold together with `confidence` (Bonferroni)."""
    return 1 - (1 - confidence) / max(1, figures)


def cause(shifts: Sequence[Shift], smallest: float) -> Cause:
    """What the shifts of the score and of the pixel statistics point to."""
    states = {one.name: one.state(smallest) for one in shifts}
    score, pixels = states[SCORE], {state for name, state in states.items() if name != SCORE}
    if not pixels:
        return "score" if score == "moved" else "unclear"
    if "moved" in pixels:
        by_score: Mapping[State, Cause] = {"moved": "both", "steady": "camera", "unclear": "camera, score unclear"}
        return by_score[score]
    if score == "moved":
        return "product" if pixels == {"steady"} else "score, camera unclear"
    return "none" if {score, *pixels} == {"steady"} else "unclear"


def in_words(shifts: Sequence[Shift], smallest: float, score: str) -> list[str]:
    """What the shifts come to: a sentence for each that moved, and what they point to."""
    moved = [_moved_in_words(one, score) for one in shifts if one.state(smallest) == "moved"]
    found = cause(shifts, smallest)
    beyond = [one for one in shifts if one.state(smallest) == "unclear" and abs(one.delta.value or 0.0) >= smallest]
    if found == "unclear" and beyond:
        return [*(_moved_in_words(one, score) for one in beyond), _may_have_moved(beyond, smallest)]
    if found == "unclear" and len(shifts) == 1:
        state = shifts[0].state(smallest)
        has = "has not moved by as much as matters" if state == "steady" else "may have moved"
        return [
            f"The score {has}; there are no statistics of the reference's pixels to tell whether the pictures have."
        ]
    return [*moved, IN_WORDS[found]]


def _may_have_moved(beyond: Sequence[Shift], smallest: float) -> str:
    """What to do about shifts that are large, and whose intervals are too wide, or not there, to be sure of them."""
    without = next((one.delta.reason for one in beyond if one.delta.low is None), None)
    how = "; ".join(dict.fromkeys(one.delta.method for one in beyond if one.delta.method))
    unsure = f"the interval reaches below it{f' ({how})' if how else ''}" if without is None else "nobody can be sure"
    return (
        f"That is as much as matters (Cliff's delta of {smallest:g} or more), but {unsure}: something may have moved. "
        "Look at these images; to be sure it takes images of more groups, on both sides."
    )


def _moved_in_words(one: Shift, score: str) -> str:
    delta = one.delta
    is_higher = (delta.value or 0.0) > 0
    title, higher, lower = (f"the score ({score})", "higher", "lower") if one.name == SCORE else TRIVIAL[one.name]
    pairs = percent((1 + abs(delta.value or 0.0)) / 2)
    median = "" if one.median_shift is None else f", the median by {one.median_shift:+.3g} robust standard deviations"
    return (
        f"By {title} the images of the run are {higher if is_higher else lower} than the reference in {pairs} of pairs"
        f"{median}."
    )


def titles(score: str) -> dict[str, str]:
    """What each quantity is called for people."""
    return {SCORE: f"score ({score})", **{name: TRIVIAL[name][0] for name in PIXEL_STATISTICS}}
