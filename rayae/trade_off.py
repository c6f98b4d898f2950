"""Home of the trade-off that a cut makes: what other cuts would find of the labelled defects, and flag in vain."""

import numpy as np
from numpy.typing import NDArray

from rayae.evidence import TradeOff
from rayae.statistics import Bools, rate

POINTS = 100
"""Cuts that are told, dense among the highest scores, where cuts are chosen."""


def trade_off(scores: NDArray[np.float32], defect: Bools, confidence: float) -> tuple[TradeOff, ...]:
    """Precision, recall and false-positive rate at scores as cuts, the strictest first; nothing without both classes.

    A cut flags what is strictly above it, so the highest score, above which is nothing, is none of the cuts. Each
    interval is Clopper and Pearson's, of one cut by itself: a cut that is chosen by looking at them has a wider one.
    """
    defects, normals = np.sort(scores[defect]), np.sort(scores[~defect])
    if not len(defects) or not len(normals):
        return ()
    cuts = np.unique(scores)[-2::-1]
    if len(cuts) > POINTS:
        places = [spaced(1, len(cuts), POINTS // 2) for spaced in (np.geomspace, np.linspace)]
        cuts = cuts[np.unique(np.concatenate(places).round().astype(np.intp)) - 1]
    found = []
    for cut in cuts:
        hits, alarms = (len(own) - int(np.searchsorted(own, cut, side="right")) for own in (defects, normals))
        found.append(
            TradeOff(
                cut=float(cut),
                precision=rate(hits, hits + alarms, confidence, ""),
                recall=rate(hits, len(defects), confidence, ""),
                false_positive_rate=rate(alarms, len(normals), confidence, ""),
            )
        )
    return tuple(found)
