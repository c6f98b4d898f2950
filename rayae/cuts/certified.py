"""Home of the certified cut: the lowest calibration score whose certificate keeps the false-positive rate asked for.

Above the k-th lowest of n exchangeable scores lies a share of new ones that is Beta(n + 1 - k, k), or less where scores
tie (Wilks 1941; Vovk 2012, "Conditional validity of inductive conformal predictors").
"""

import math
from bisect import bisect_left

from scipy.special import betaincinv

from rayae.cuts.basis import Basis
from rayae.errors import DataError
from rayae.statistics import percent
from rayae.threshold import Threshold, about_groups, exact


def certified(basis: Basis, alpha: float) -> Threshold:
    """The lowest calibration score above which at most `alpha` of new normal images lie, at the basis' confidence.

    The conformal cut keeps `alpha` on average over calibrations, this one with confidence in the one at hand. DataError
    when the calibration scores are too few.
    """
    exact(alpha)
    basis.needs("certified")
    n, confidence = basis.n, basis.confidence
    if certificate(n, n, confidence) > alpha:
        raise DataError(
            f"rule=certified with alpha={alpha:g} needs at least {certified_needs(alpha, confidence):,} normal "
            f"calibration images at a confidence of {percent(confidence)}; found {n:,}. Give more, raise alpha, or "
            "take rule=conformal, which keeps alpha on average only."
        )
    k = 1 + bisect_left(range(1, n + 1), True, key=lambda rank: certificate(n, rank, confidence) <= alpha)
    expected, upper = (n + 1 - k) / (n + 1), certificate(n, k, confidence)
    guarantee = (
        f"If new normal images are exchangeable with the {n:,} normal calibration images, no more than "
        f"{percent(upper)} of them are flagged, with {percent(confidence)} confidence; {percent(expected)} are "
        "expected to be."
        f"{about_groups(basis.groups)}"
    )
    cut = float(basis.calibration[k - 1])
    return Threshold(
        "certified", basis.score, cut, n, k, float(alpha), expected, upper, confidence, guarantee, basis.bundle_id
    )


def certificate(n: int, k: int, confidence: float) -> float:
    """At this confidence no larger share of new scores lies above the k-th lowest of n."""
    return float(betaincinv(n + 1 - k, k, confidence))


def certified_needs(alpha: float, confidence: float) -> int:
    """The smallest number of scores of which the highest has this certificate: (1 - alpha) ** n <= 1 - confidence."""
    n = max(1, math.floor(math.log1p(-confidence) / math.log1p(-alpha)) - 1)
    while certificate(n, n, confidence) > alpha:
        n += 1
    return n
