"""Home of the cut that flags what can be called an anomaly at a false discovery rate (Benjamini and Hochberg 1995).

That the rate holds with conformal p-values, and which of them hold given the calibration at hand, is of Bates, Candes,
Lei, Romano and Sesia 2023, "Testing for outliers with conformal p-values".
"""

from rayae.cuts.basis import Basis
from rayae.discoveries import Counts, Discoveries, PValues, cut_of_rank, discover, p_values_of_ranks, why_nothing
from rayae.errors import ConfigError
from rayae.statistics import percent
from rayae.threshold import HIGHEST, Threshold


def fdr(basis: Basis, counts: Counts, level: float, kind: PValues = "marginal") -> Threshold:
    """The cut above which are the discoveries among images of which `counts` have each rank from 1 to n + 1.

    Where nothing is found the cut is above every score, and the guarantee says why. DataError without calibration
    scores, and when no image was tested; ConfigError for a level that is not between 0 and 1.
    """
    basis.needs("fdr")
    if not 0 < level < 1:
        raise ConfigError(f"fdr must be above 0 and below 1; found {level!r}.")
    values = p_values_of_ranks(basis.n, kind, basis.confidence)
    found = discover(counts, level, None if kind == "marginal" else values)
    figures = {"fdr": float(level), "found": found.found, "tested": found.tested}
    if found.rank == 0:
        words = why_nothing(counts, level, kind, basis.confidence)
        return basis.threshold("fdr", HIGHEST, words, chosen_by_calibration=True, figures=figures)
    highest = float(values[found.rank - 1])
    return basis.threshold(
        "fdr",
        cut_of_rank(found.rank, basis.calibration),
        _guarantee(basis, level, kind, found, highest),
        chosen_by_calibration=True,
        figures=figures | {"highest_p_value": highest},
    )


def _guarantee(basis: Basis, level: float, kind: PValues, found: Discoveries, highest: float) -> str:
    how = "on average over calibrations"
    if kind != "marginal":
        how = f"given this very calibration, which is no unlucky one with {percent(basis.confidence)} confidence"
    return (
        f"Of the {found.found:,} flagged images, among {found.tested:,} with a score, no more than {percent(level)} "
        f"are expected to be normal, {how}, if the normal images of the run are exchangeable with the {basis.n:,} "
        f"calibration images; each has a p-value of {highest:.3g} or less."
    )
