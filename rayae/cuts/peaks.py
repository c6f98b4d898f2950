"""Home of the cut by peaks over threshold: a tail beyond the calibration scores, by a model of the highest of them.

What lies above a high start is nearly generalised Pareto, with a scale and a shape (Pickands 1975), and so a rate too
low for any calibration score gets a cut (Siffer, Fouque, Termier and Largouet 2017, "Anomaly detection in streams with
extreme value theory"). The likelihood is that of one number, scale and shape following from it (Grimshaw 1993).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from rayae.cuts.basis import Basis
from rayae.errors import ConfigError, DataError
from rayae.statistics import percent
from rayae.threshold import Threshold, exact

Floats = NDArray[np.float64]
START = 0.1
"""Share of the calibration scores that the tail is fitted to."""
FEWEST, MOST = 50, 1000
"""Scores of the tail. The shape is known to (1 + shape) / sqrt(N) (Smith 1987), which is 0.14 with 50 and an
exponential tail; the rate above a cut from so few is on average twice the one asked for, that from 500 a tenth more
(benchmarks/coverage.txt). Beyond 1,000 the start moves up instead, where the model is nearer to the truth."""
LOWEST_SHAPE = -0.5
"""Below it the likelihood has no regular maximum (Smith 1985)."""
WORST_FIT = 0.01
"""P-value of the fit below which the model is refused."""
RESAMPLES = 199
FORBIDDEN = 1e9
"""More than minus the logarithm of any likelihood of an excess."""


@dataclass(frozen=True)
class Pareto:
    """A generalised Pareto distribution of what lies above a start."""

    shape: float
    """0 for an exponential tail, above for heavier ones; below, the tail ends."""
    scale: float
    """In units of the score."""

    @property
    def is_exponential(self) -> bool:
        """Whether the shape is too near 0 to divide by."""
        return abs(self.shape) < 1e-9

    def survival(self, excess: Floats) -> Floats:
        """The share above each excess."""
        if self.is_exponential:
            return np.exp(-excess / self.scale)
        with np.errstate(divide="ignore"):  # none is above the end of a tail that ends
            shares: Floats = np.exp(-np.log1p(np.maximum(self.shape * excess / self.scale, -1.0)) / self.shape)
        return shares

    def excess(self, share: float) -> float:
        """The excess that this share lies above."""
        if self.is_exponential:
            return -self.scale * math.log(share)
        return self.scale * math.expm1(-self.shape * math.log(share)) / self.shape

    def draw(self, generator: np.random.Generator, count: int) -> Floats:
        """Random excesses."""
        exponential = generator.standard_exponential(count)
        drawn = exponential if self.is_exponential else np.expm1(self.shape * exponential) / self.shape
        excesses: Floats = self.scale * drawn
        return excesses

    def misfit(self, excesses: Floats) -> float:
        """The statistic of Anderson and Darling, which weighs the tail."""
        above = np.clip(self.survival(np.sort(excesses)), 1e-300, 1 - 1e-16)
        weights = (2 * np.arange(1, len(above) + 1) - 1) / len(above)
        return float(-len(above) - weights @ (np.log1p(-above) + np.log(above[::-1])))


@dataclass(frozen=True)
class Tail:
    """The scores above a start, and the model of them."""

    start: float
    excesses: Floats
    share: float
    """Of all calibration scores."""
    pareto: Pareto


def peaks(basis: Basis, alpha: float) -> Threshold:
    """The cut that a share `alpha` of new normal images lies above by a model of the tail of the calibration scores.

    No guarantee comes with it. DataError when there are too few scores, when the model does not fit them, or when
    `alpha` is so large that no model is needed.
    """
    exact(alpha)
    tail = tail_of(basis)
    if alpha >= tail.share:
        raise DataError(
            f"rule=peaks is for rates below {tail.share:.3g}, the share of the calibration scores that the tail is "
            f"fitted to; found alpha={alpha:g}. Take rule=conformal, which needs no model for it."
        )
    fit, upper = checked_by_resampling(tail, basis, alpha)
    if fit < WORST_FIT:
        raise DataError(
            f"rule=peaks needs a generalised Pareto tail, and the {len(tail.excesses):,} highest calibration scores "
            f"have none (p = {fit:.3g} by the test of Anderson and Darling). Take rule=conformal with alpha="
            f"{1 / (basis.n + 1):.3g} or more."
        )
    pareto = tail.pareto
    guarantee = (
        f"By a model, not by counting, {percent(alpha)} of new normal images lie above the cut: a generalised Pareto "
        f"tail of shape {pareto.shape:.2f}, fitted to the {len(tail.excesses):,} highest of {basis.n:,} calibration "
        f"scores (p = {fit:.3g} that it fits). If the model is right it is no more than about {percent(upper)}, with "
        f"{percent(basis.confidence)} confidence; whether it is right so far out, no image tells."
    )
    figures = {
        "start": tail.start,
        "tail": len(tail.excesses),
        "shape": pareto.shape,
        "scale": pareto.scale,
        "fit_p_value": fit,
        "model_upper_fpr": upper,
    }
    with np.errstate(over="ignore"):
        cut = float(np.float32(tail.start + pareto.excess(alpha / tail.share)))
    if not math.isfinite(cut):
        raise ConfigError(f"alpha={alpha:g} gives a cut that float32 cannot hold; raise alpha.")
    return basis.threshold("peaks", cut, guarantee, chosen_by_calibration=True, alpha=float(alpha), figures=figures)


def tail_of(basis: Basis) -> Tail:
    """The highest tenth of the calibration scores, 1,000 at most, and their model; DataError below 50."""
    basis.needs("peaks")
    count = min(int(START * basis.n), MOST)
    start = float(basis.calibration[basis.n - count - 1])
    excesses = basis.calibration[basis.calibration > np.float32(start)].astype(np.float64) - start
    if len(excesses) < FEWEST:
        needed = math.ceil(FEWEST / START)
        raise DataError(
            f"rule=peaks needs {FEWEST} scores in the tail, the highest tenth of {needed} calibration scores or more, "
            f"that are above the others; found {len(excesses)} of {basis.n:,}. Calibrate on more images, or take "
            "rule=conformal."
        )
    return Tail(start, excesses, len(excesses) / basis.n, fitted(excesses))


def fitted(excesses: Floats) -> Pareto:
    """The most likely distribution whose shape is -1/2 or more."""
    highest = float(excesses.max())

    def of(logarithm: float) -> Pareto:  # of 1 + shape * highest / scale
        theta = math.expm1(logarithm) / highest
        if theta == 0:
            return Pareto(0.0, float(excesses.mean()))
        shape = float(np.log1p(theta * excesses).mean())
        return Pareto(shape, shape / theta)

    def unlikeliness(logarithm: float) -> float:
        found = of(logarithm)
        return math.log(found.scale) + found.shape if found.shape >= LOWEST_SHAPE else FORBIDDEN

    grid = np.linspace(-8, 24, 65)
    best = int(np.argmin([unlikeliness(one) for one in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    return of(float(minimize_scalar(unlikeliness, bounds=around, method="bounded").x))


def checked_by_resampling(tail: Tail, basis: Basis, alpha: float) -> tuple[float, float]:
    """The p-value of the fit, and an upper bound of the rate above the cut, both by the parametric bootstrap.

    Tails drawn from the model are fitted again: so often they fit worse, and so much of the model lies above their
    cuts. The share beyond the start is drawn, too.
    """
    generator, count = np.random.default_rng(0), len(tail.excesses)
    misfit, worse, rates = tail.pareto.misfit(tail.excesses), 1, []
    for _ in range(RESAMPLES):
        drawn = tail.pareto.draw(generator, count)
        again = fitted(drawn)
        worse += again.misfit(drawn) >= misfit
        above = float(tail.pareto.survival(np.array([again.excess(alpha / tail.share)]))[0])
        rates.append(above * generator.beta(count, basis.n + 1 - count))
    return worse / (RESAMPLES + 1), float(np.quantile(rates, basis.confidence))
