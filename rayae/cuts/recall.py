"""Home of the cut of a recall: below as few of the labelled defects as still keep the recall asked for.

Below the j-th lowest of m exchangeable defects lies a share of new ones that is Beta(j, m + 1 - j), or less where
scores tie (Wilks 1941).
"""

import math
from bisect import bisect_right

import numpy as np
from scipy.special import betaincinv

from rayae.cuts.basis import Basis, check_share, just_below
from rayae.cuts.labelled import Labelled
from rayae.errors import DataError
from rayae.statistics import percent
from rayae.threshold import Threshold


def recall(basis: Basis, labelled: Labelled, target: float) -> Threshold:
    """The highest cut just below a labelled defect that flags at least `target` of new defects, at the confidence.

    No normal image is looked at, so that the false-positive rate of the cut is that of any given one. DataError when
    the labelled defects are too few.
    """
    check_share("recall", target)
    defects = labelled.where(labelled.is_defect)
    m, confidence = len(defects.scores), basis.confidence
    if m == 0 or missed(m, 1, confidence) > 1 - target:
        raise DataError(
            f"rule=recall with recall={target:g} needs at least {recall_needs(target, confidence):,} labelled defects "
            f"that choose the cut, at a confidence of {percent(confidence)}; found {m:,}. Label more, raise choose_on "
            "up to 1, or lower recall."
        )
    j = bisect_right(range(1, m + 1), False, key=lambda rank: missed(m, rank, confidence) > 1 - target)
    lower, expected = 1 - missed(m, j, confidence), 1 - j / (m + 1)
    guarantee = (
        f"If new defects are exchangeable with the {m:,} labelled defects that chose the cut, at least "
        f"{percent(lower)} of them are flagged, with {percent(confidence)} confidence; {percent(expected)} are "
        "expected to be."
        f"{defects.about_groups()}"
    )
    figures = {"recall": target, "lower_recall": lower, "expected_recall": expected, "defects": m}
    cut = just_below(float(np.sort(defects.scores)[j - 1]))
    return basis.threshold("recall", cut, guarantee, chosen_by_calibration=False, figures=figures)


def missed(m: int, j: int, confidence: float) -> float:
    """At this confidence no larger share of new defects lies below the j-th lowest of m."""
    return float(betaincinv(j, m + 1 - j, confidence))


def recall_needs(target: float, confidence: float) -> int:
    """The smallest number of defects of which the lowest has this recall: target ** m <= 1 - confidence."""
    m = max(1, math.floor(math.log1p(-confidence) / math.log(target)) - 1)
    while missed(m, 1, confidence) > 1 - target:
        m += 1
    return m
