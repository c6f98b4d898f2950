"""Home of the curve of cuts: what each would flag of a run, how much of that is false, and what it finds and costs.

The upper bounds hold for all cuts at once, and so do the lower ones (Dvoretzky, Kiefer and Wolfowitz; Massart 1990), so
that a cut may be chosen by looking at either.
"""

import numpy as np
from numpy.typing import NDArray

from rayae.cuts.basis import Basis, reach
from rayae.cuts.cost import Costs
from rayae.cuts.labelled import Labelled, Rates
from rayae.errors import DataError
from rayae.threshold import Scores

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
POINTS = 1000


def curve(
    basis: Basis, ranks: Counts, labelled: Labelled | None = None, costs: Costs | None = None
) -> dict[str, Floats | Counts]:
    """Columns by name, a row a cut, from the strictest down: of the calibration scores 1,000 at most, dense at the top.

    `ranks` is how many scores of the run have the rank 1, 2, ..., n + 1 among the calibration scores, and `flags` how
    many are above the cut. False positives are those expected, and at least and at most, if all the run were normal.
    Recall is there with labelled defects, and the expected cost an image with costs as well. DataError without
    calibration scores, ValueError for ranks that are not among them.
    """
    if len(ranks) != basis.n + 1:
        raise ValueError(f"{len(ranks)} ranks among {basis.n} calibration scores")
    if basis.n == 0:
        raise DataError(
            "A curve needs the scores of normal calibration images, and the run was planned without any; calibrate the "
            "bundle and score into a new `out=`."
        )
    cuts, above = chosen(basis.calibration)
    fpr, images = above / basis.n, int(ranks.sum())
    columns: dict[str, Floats | Counts] = {"cut": cuts.astype(np.float64), "flags": np.cumsum(ranks)[above]}
    columns |= banded("false_positives", fpr, reach(basis.n, basis.confidence), images)
    if labelled is None or len(labelled.defects) == 0:
        return columns
    defects = np.sort(labelled.defects)
    recall = 1 - np.searchsorted(defects, cuts, side="right") / len(defects)
    columns |= banded("recall", recall, reach(len(defects), basis.confidence))
    if costs is not None:
        columns["cost"] = np.array(
            [costs.expected(one, one) for one in map(Rates, recall.tolist(), fpr.tolist())], dtype=np.float64
        )
    return columns


def chosen(calibration: Scores) -> tuple[Scores, NDArray[np.intp]]:
    """Different scores from the highest down, many of them thinned as their places grow; how many are above each."""
    distinct, first = np.unique(calibration, return_index=True)
    at_or_above = (len(calibration) - first)[::-1]
    places = np.arange(len(distinct))
    if len(distinct) > POINTS:
        places = np.unique(np.geomspace(1, len(distinct), POINTS).round().astype(np.intp)) - 1
    return distinct[::-1][places], np.concatenate([[0], at_or_above])[places]


def banded(name: str, shares: Floats, reach: float, images: int = 1) -> dict[str, Floats | Counts]:
    """The shares of so many images with their bounds, as three columns."""
    bounds = {"": shares, "lower_": np.maximum(shares - reach, 0.0), "upper_": np.minimum(shares + reach, 1.0)}
    return {f"{which}{name}": images * values for which, values in bounds.items()}
