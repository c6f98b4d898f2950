"""Home of the cut by deviations: so many of them above the median of the logarithms of the calibration scores.

The deviation is the median absolute one times 1.4826, which is the standard deviation where logarithms are normal
(Hampel 1974; Rousseeuw and Croux 1993).
"""

import math

import numpy as np
from scipy.special import ndtri

from rayae.cuts.basis import Basis, check_positive
from rayae.errors import ConfigError, DataError
from rayae.threshold import Threshold

CONSISTENCY = 1 / float(ndtri(0.75))


def sigma(basis: Basis, sigmas: float) -> Threshold:
    """exp(median + `sigmas` * 1.4826 * MAD) of the logarithms of the calibration scores; it guarantees nothing.

    DataError for scores that have no logarithm, and for those of which more than half are the same. ConfigError when
    no float32 is as large as the cut.
    """
    check_positive("sigmas", sigmas)
    basis.needs("sigma")
    middle, deviation = location_and_scale(basis)
    with np.errstate(over="ignore"):
        cut = float(np.float32(np.exp(middle + sigmas * deviation)))
    if not math.isfinite(cut):
        raise ConfigError(f"sigmas={sigmas:g} gives a cut that float32 cannot hold; lower sigmas.")
    guarantee = (
        f"The cut is {sigmas:g} robust deviations of log scores above their median: a convention, which guarantees no "
        "rate unless log scores are normal."
    )
    figures = {"sigmas": sigmas, "log_median": middle, "log_deviation": deviation}
    return basis.threshold("sigma", cut, guarantee, chosen_by_calibration=True, figures=figures)


def location_and_scale(basis: Basis) -> tuple[float, float]:
    """Median and consistent MAD of the logarithms; DataError where there is none, or the MAD is 0."""
    low = int((basis.calibration <= 0).sum())
    if low:
        raise DataError(
            f"rule=sigma needs scores above 0, since it counts in logarithms; {low:,} of the {basis.n:,} calibration "
            "scores are 0 or less. Take rule=conformal."
        )
    logarithms = np.log(basis.calibration.astype(np.float64))
    middle = float(np.median(logarithms))
    deviation = CONSISTENCY * float(np.median(np.abs(logarithms - middle)))
    if deviation == 0:
        raise DataError(
            f"rule=sigma needs scores that differ; at least half of the {basis.n:,} calibration scores are the same. "
            "Take rule=conformal."
        )
    return middle, deviation
