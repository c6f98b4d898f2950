"""Home of cross-fitting: the rates of a way to choose a cut, on labelled images that took no part in the choice."""

from collections.abc import Callable, Iterator

import numpy as np

from rayae.cuts.labelled import Labelled, Rates, Roc
from rayae.errors import DataError
from rayae.threshold import exceeds

FOLDS = 5


def crossfitted(rule: str, labelled: Labelled, choose: Callable[[Roc], float]) -> Rates:
    """The rates of the cuts that `choose` takes from all folds but one, each on that one, over all of them together.

    DataError when no fold can be held out without taking a whole class along.
    """
    hits = false_alarms = 0
    for others, held_out in folds(rule, labelled):
        cut = choose(others.roc())
        hits += int(exceeds(held_out.defects, cut).sum())
        false_alarms += int(exceeds(held_out.normals, cut).sum())
    return Rates(hits / len(labelled.defects), false_alarms / len(labelled.normals))


def folds(rule: str, labelled: Labelled) -> Iterator[tuple[Labelled, Labelled]]:
    """All but one of the folds, and that one, of whole groups; those with defects are dealt out evenly."""
    keys, place = np.unique(labelled.keys, return_inverse=True)
    with_defects = np.bincount(place[labelled.is_defect], minlength=len(keys)) > 0
    number = np.where(with_defects, np.cumsum(with_defects), np.cumsum(~with_defects))
    fold = number[place] % FOLDS
    for one in np.unique(fold):
        others = labelled.where(fold != one)
        if len(others.defects) == 0 or len(others.normals) == 0:
            raise DataError(
                f"rule={rule} needs defects and normal images of two groups or more, so that one can be held out; "
                "label images of more groups."
            )
        yield others, labelled.where(fold == one)
