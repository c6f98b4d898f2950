"""Home of the cut of the best F-beta, and of what is left of it on images that did not choose it.

F-beta is the weighted harmonic mean of precision and recall, recall counting beta times as much (van Rijsbergen 1979).
"""

from functools import partial

import numpy as np

from rayae.cuts.basis import Basis, check_positive, check_share
from rayae.cuts.crossfitted import crossfitted
from rayae.cuts.labelled import Labelled, Rates, Roc
from rayae.statistics import percent
from rayae.threshold import Threshold


def f_beta(basis: Basis, labelled: Labelled, beta: float, prevalence: float | None = None) -> Threshold:
    """The cut of the best F-beta of the labelled images, with its cross-fitted value; it guarantees nothing.

    With a prevalence the images are weighted to it, and the calibration's count as normal ones; without, the share of
    defects is that of the labelled images alone. DataError when there are fewer than two defects or normal images.
    """
    check_positive("beta", beta)
    if prevalence is not None:
        check_share("prevalence", prevalence)
        labelled = labelled.with_normals(basis.calibration)
    labelled.needs("f_beta", 2, 2)
    share = float(labelled.is_defect.mean()) if prevalence is None else prevalence
    best = partial(best_cut, beta=beta, share=share)
    cut = best(labelled.roc())
    apparent = value(labelled.rates(cut), beta, share)
    crossed = value(crossfitted("f_beta", labelled, best), beta, share)
    everything = value(Rates(1.0, 1.0), beta, share)
    normals = "normal images" if prevalence is None else "normal images, labelled and of the calibration,"
    stated = "as many as of these images" if prevalence is None else "as stated"
    guarantee = (
        f"Of {len(labelled.defects):,} defects and {len(labelled.normals):,} {normals} this cut has the best "
        f"F{beta:g}, {apparent:.3f}, where {percent(share)} are defects, {stated}; chosen and measured on different "
        f"images it is {crossed:.3f}, and {everything:.3f} to flag everything. It is an estimate, and no guarantee."
        f"{labelled.where(labelled.is_defect).about_groups()}"
    )
    figures = {
        "beta": beta,
        "prevalence": share,
        "f": apparent,
        "crossfitted_f": crossed,
        "optimism": apparent - crossed,
    }
    by_calibration = prevalence is not None
    return basis.threshold("f_beta", cut, guarantee, chosen_by_calibration=by_calibration, figures=figures)


def best_cut(roc: Roc, beta: float, share: float) -> float:
    """The cut of the best F-beta, the highest of those that tie."""
    found = [value(Rates(recall, fpr), beta, share) for recall, fpr in zip(roc.recall, roc.fpr, strict=True)]
    return roc.cut_at(int(np.flatnonzero(np.array(found) >= max(found) * (1 - 1e-12))[-1]))


def value(rates: Rates, beta: float, share: float) -> float:
    """F-beta of a cut where this share of the images are defects."""
    hits = (1 + beta**2) * share * rates.recall
    return hits / (hits + beta**2 * share * (1 - rates.recall) + (1 - share) * rates.fpr)
