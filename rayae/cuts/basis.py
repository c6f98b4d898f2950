"""Home of what every rule stands on: the normal calibration scores, and the false-positive rate that they say of a cut.

Sources: Clopper and Pearson 1934 for a cut that was chosen without looking at the scores; for one that was chosen by
them the inequality of Dvoretzky, Kiefer and Wolfowitz with the constant of Massart 1990, which holds for all cuts at
once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from rayae.errors import ConfigError, DataError
from rayae.statistics import percent
from rayae.threshold import HIGHEST, Rule, Scores, Threshold, about_groups, check_confidence, checked, exceeds


def upper_rate(hits: int, trials: int, confidence: float) -> float:
    """One-sided upper bound of a binomial rate (Clopper-Pearson); 1 without trials."""
    return float(betaincinv(hits + 1, trials - hits, confidence)) if hits < trials else 1.0


def lower_rate(hits: int, trials: int, confidence: float) -> float:
    """One-sided lower bound of a binomial rate (Clopper-Pearson); 0 without hits."""
    return float(betaincinv(hits, trials - hits + 1, 1 - confidence)) if hits > 0 else 0.0


def reach(n: int, confidence: float) -> float:
    """How far, on one side, the true rates above all cuts at once lie beyond those of `n` scores, at most (DKW).

    Massart's constant needs a confidence of one half or more.
    """
    return math.sqrt(math.log(1 / (1 - max(confidence, 0.5))) / (2 * n))


def just_below(score: float) -> float:
    """The cut that an image with this very score is just above: the float32 before it."""
    return float(np.nextafter(np.float32(score), np.float32(-np.inf)))


def check_share(name: str, value: float) -> None:
    """ConfigError unless the value is strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ConfigError(f"{name} must be above 0 and below 1; found {value!r}.")


def check_positive(name: str, value: float) -> None:
    """ConfigError unless the value is above 0 and finite."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} must be a finite number above 0; found {value!r}.")


@dataclass(frozen=True)
class Basis:
    """What a cut is on, and the finite scores of normal images that tell what it flags."""

    score: str
    """Name of the score."""
    bundle_id: str
    calibration: Scores
    """Of normal images, ascending and finite, of which none was trained on; empty where there are none."""
    groups: int | None
    """How many groups these images are of; None if that is not known."""
    confidence: float

    def __post_init__(self) -> None:
        check_confidence(self.confidence)
        checked(self.calibration, self.score)

    @property
    def n(self) -> int:
        return len(self.calibration)

    def needs(self, rule: str) -> None:
        """DataError when there are no calibration scores at all."""
        if self.n == 0:
            raise DataError(
                f"rule={rule} needs the scores of normal calibration images, and the run was planned without any; "
                "calibrate the bundle and score into a new `out=`, or take rule=fixed."
            )

    def above(self, cut: float) -> int:
        """How many calibration scores a cut flags."""
        return int(exceeds(self.calibration, cut).sum())

    def rates(self, cut: float, *, chosen_by_them: bool) -> tuple[float | None, float | None]:
        """The share of normal images above a cut, expected and at most; None without calibration scores.

        With `chosen_by_them` the upper bound holds whatever cut was chosen by looking at the calibration scores.
        """
        if self.n == 0:
            return None, None
        above = self.above(cut)
        if chosen_by_them:
            return above / self.n, min(1.0, above / self.n + reach(self.n, self.confidence))
        return above / self.n, upper_rate(above, self.n, self.confidence)

    def rates_in_words(self, cut: float, *, chosen_by_them: bool) -> str:
        """The same as a sentence."""
        expected, upper = self.rates(cut, chosen_by_them=chosen_by_them)
        if cut == HIGHEST:
            return "So there is no cut, and no normal image is flagged."
        if expected is None or upper is None:
            return "No calibration scores tell how many normal images it flags."
        how = ", whatever cut had been chosen by them" if chosen_by_them else ""
        return (
            f"{self.above(cut):,} of {self.n:,} normal calibration images ({percent(expected)}) are above it; of new "
            f"ones like them no more than {percent(upper)}, with {percent(self.confidence)} confidence{how}."
            f"{about_groups(self.groups)}"
        )

    def threshold(
        self,
        rule: Rule,
        cut: float,
        guarantee: str,
        *,
        chosen_by_calibration: bool,
        alpha: float | None = None,
        figures: Mapping[str, float] | None = None,
        review_cut: float | None = None,
    ) -> Threshold:
        """The cut of a rule with its rates among the calibration scores; `guarantee` goes before their sentence."""
        expected, upper = self.rates(cut, chosen_by_them=chosen_by_calibration)
        return Threshold(
            rule,
            self.score,
            cut,
            n=self.n or None,
            k=None,
            alpha=alpha,
            expected_fpr=expected,
            upper_fpr=upper,
            confidence=self.confidence,
            guarantee=f"{guarantee} {self.rates_in_words(cut, chosen_by_them=chosen_by_calibration)}",
            bundle_id=self.bundle_id,
            review_cut=review_cut,
            figures=figures,
        )
