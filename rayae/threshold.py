"""Home of the cut on a score: the rule that chose it, its guarantee in words, and the comparison itself.

Scores and cuts are float32. The conformal quantile is that of Vovk, Gammerman and Shafer 2005; that the rate
of false positives given the calibration set is Beta(n+1-k, k) is Vovk 2012, "Conditional validity of
inductive conformal predictors".
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from rayae.errors import ConfigError, DataError
from rayae.statistics import percent

Scores = NDArray[np.float32]
Rule = Literal[
    "conformal", "certified", "fixed", "fdr", "recall", "precision", "f_beta", "cost", "capacity", "sigma", "peaks"
]
HIGHEST = float(np.finfo(np.float32).max)
"""No score is above it: the cut that flags nothing."""
ONLY_OF_SOME = ("review_cut", "figures")
"""Fields that may be missing from a file."""
FEW_GROUPS = 20


@dataclass(frozen=True)
class Threshold:
    """A cut and where it comes from. An image is an anomaly if its score is strictly above the cut."""

    rule: Rule
    score: str
    """Name of the score that is compared with the cut."""
    cut: float
    """In units of the score, exactly a float32."""
    n: int | None
    """Normal calibration scores behind the figures."""
    k: int | None
    """Rank of the cut among them, from 1 for the lowest; only where the cut is one of them by its rank."""
    alpha: float | None
    """False-positive rate that was asked for; only of the rules that aim at one."""
    expected_fpr: float | None
    """Share of new normal images expected above the cut; for a fixed cut, that of the calibration images."""
    upper_fpr: float | None
    """Upper bound of that share, at `confidence`."""
    confidence: float
    guarantee: str
    """What may be relied on, in words."""
    bundle_id: str
    """Bundle whose scores the cut belongs to."""
    review_cut: float | None = None
    """Scores above it, up to the cut, are for a person to look at; exactly a float32, and below the cut."""
    figures: Mapping[str, float] | None = None
    """What else the rule was asked for and has found, by name."""

    def __post_init__(self) -> None:
        problem = find_problem(self)
        if problem is not None:
            raise DataError(f"This threshold cannot be used: {problem}. Calibrate the bundle again.")

    @property
    def id(self) -> str:
        """12 hex digits that name this very threshold."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def flags_nothing(self) -> bool:
        """Whether no score is above it, as where a rule has found nothing to flag."""
        return self.cut == HIGHEST

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which gives the cut back exactly. What few rules have is left out where it is None,
        so that thresholds without it keep their id."""
        return {name: value for name, value in asdict(self).items() if value is not None or name not in ONLY_OF_SOME}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Threshold":
        """The threshold that `to_dict` wrote; DataError for a strange or missing key or a wrong value."""
        known = {field.name for field in fields(cls)}
        if not known - set(ONLY_OF_SOME) <= set(value) <= known:
            strange, missing = sorted(set(value) - known), sorted(known - set(value) - set(ONLY_OF_SOME))
            raise DataError(f"A threshold was read with unknown keys {strange} and without the keys {missing}.")
        return cls(**value)


def find_problem(threshold: Threshold) -> str | None:
    """What is wrong with a threshold, as the second half of a sentence, or None."""
    t = threshold
    whole, real = (int,), (int, float)
    optional = {"n": whole, "k": whole, "alpha": real, "expected_fpr": real, "upper_fpr": real, "review_cut": real}
    for name in ("rule", "score", "guarantee", "bundle_id"):
        if not isinstance(getattr(t, name), str) or not getattr(t, name):
            return f"its {name} is not a text"
    for name, types in {"cut": real, "confidence": real, **optional}.items():
        value = getattr(t, name)
        if value is None and name in optional:
            continue
        if not isinstance(value, types) or isinstance(value, bool) or not math.isfinite(value):
            return f"its {name} is not a finite number"
    if t.rule not in get_args(Rule):
        return f"its rule {t.rule!r} is not one of {', '.join(get_args(Rule))}"
    if not is_float32(t.cut):
        return f"its cut {t.cut!r} is not a float32 number"
    if not 0 < t.confidence < 1:
        return f"its confidence {t.confidence!r} is not between 0 and 1"
    if t.review_cut is not None and not (is_float32(t.review_cut) and t.review_cut < t.cut):
        return f"its review_cut {t.review_cut!r} is not a float32 number below the cut"
    if not is_figures(t.figures):
        return "its figures are not finite numbers by name"
    if t.rule == "conformal":
        if t.n is None or t.k is None or t.alpha is None or t.expected_fpr is None or t.upper_fpr is None:
            return "a conformal cut needs n, k, alpha, expected_fpr and upper_fpr"
        if not 0 < t.alpha < 1 or not 1 <= quantile_rank(t.n, t.alpha) == t.k <= t.n:
            return f"k = {t.k} is not the conformal rank of n = {t.n} and alpha = {t.alpha}"
    return None


def is_figures(value: Any) -> bool:
    """Whether it is None, or finite numbers by name."""
    if value is None:
        return True
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and type(number) in (int, float) and math.isfinite(number)
        for name, number in value.items()
    )


def is_float32(value: float) -> bool:
    """Whether a finite number is exactly a finite float32."""
    with np.errstate(over="ignore"):
        return float(np.float32(value)) == value


def exact(alpha: float) -> Fraction:
    """The fraction that a person who wrote `alpha` meant: 0.05 is 1/20, which the float is not quite."""
    fraction = Fraction(repr(float(alpha))) if math.isfinite(alpha) else Fraction(0)
    if not 0 < fraction < 1:
        raise ConfigError(f"alpha must be above 0 and below 1; found {alpha!r}.")
    return fraction


def quantile_rank(n: int, alpha: float) -> int:
    """k = ceil((n+1)(1-alpha)) without floating error: the rank of the cut from 1; n+1 if n is too small."""
    return math.ceil((n + 1) * (1 - exact(alpha)))


def conformal_needs(alpha: float) -> int:
    """The smallest number of calibration scores with a conformal quantile: ceil((1-alpha)/alpha)."""
    fraction = exact(alpha)
    return math.ceil((1 - fraction) / fraction)


def conformal(
    calibration: NDArray[np.floating],
    *,
    score: str,
    alpha: float,
    bundle_id: str,
    confidence: float = 0.95,
    groups: int | None = None,
) -> Threshold:
    """The k-th lowest of the normal calibration scores as the cut, with its certificate Beta(n+1-k, k).

    `groups` is the number of groups that the calibration images come from, None if none has one. Raises DataError
    when the scores are too few for `alpha` or not finite.
    """
    check_confidence(confidence)
    ordered = np.sort(checked(calibration, score))
    n = len(ordered)
    k = quantile_rank(n, alpha)
    if k > n:
        raise DataError(too_few(n, alpha))
    expected = (n + 1 - k) / (n + 1)
    upper = float(betaincinv(n + 1 - k, k, confidence))
    guarantee = (
        f"If new normal images are exchangeable with the {n:,} normal calibration images, "
        f"{percent(expected)} of them are expected to be flagged, and with {percent(confidence)} confidence "
        f"no more than {percent(upper)}.{about_groups(groups)}"
    )
    cut = float(ordered[k - 1])
    return Threshold("conformal", score, cut, n, k, float(alpha), expected, upper, confidence, guarantee, bundle_id)


def fixed(
    cut: float,
    *,
    score: str,
    bundle_id: str,
    calibration: NDArray[np.floating] | None,
    confidence: float = 0.95,
    groups: int | None = None,
) -> Threshold:
    """A cut that somebody chose, rounded to float32, with the share of normal calibration scores above it.

    Raises ConfigError for a cut that is no finite float32, DataError for scores that are not finite.
    """
    check_confidence(confidence)
    with np.errstate(over="ignore"):
        rounded = float(np.float32(cut))
    if not math.isfinite(rounded):
        raise ConfigError(f"cut must be a finite number that float32 can hold; found {cut!r}.")
    if calibration is None or len(calibration) == 0:
        words = "The cut was set by hand, and no calibration scores tell how many normal images it flags."
        return Threshold("fixed", score, rounded, None, None, None, None, None, confidence, words, bundle_id)
    known = checked(calibration, score)
    n, above = len(known), int(exceeds(known, rounded).sum())
    upper = float(betaincinv(above + 1, n - above, confidence)) if above < n else 1.0
    guarantee = (
        f"The cut was set by hand: {above:,} of {n:,} normal calibration images ({percent(above / n)}) are "
        f"above it. If new normal images are exchangeable with them, and the cut was not chosen by looking "
        f"at them, no more than {percent(upper)} are flagged, with {percent(confidence)} confidence."
        f"{about_groups(groups)}"
    )
    return Threshold("fixed", score, rounded, n, None, None, above / n, upper, confidence, guarantee, bundle_id)


def flag(scores: Scores, threshold: Threshold) -> NDArray[np.bool_]:
    """Which scores are anomalies: strictly above the cut, in float32. NaN is not: the caller writes null."""
    return exceeds(scores, threshold.cut)


def exceeds(scores: NDArray[np.floating], cut: float) -> NDArray[np.bool_]:
    """The one comparison of scores with a cut: strictly greater, both float32."""
    return np.asarray(scores, dtype=np.float32) > np.float32(cut)


def p_values(scores: NDArray[np.floating], calibration: NDArray[np.floating]) -> NDArray[np.float64]:
    """Conformal p-values, (1 + number of calibration scores >= score) / (n + 1). NaN gives NaN."""
    ordered = np.sort(np.asarray(calibration, dtype=np.float32))
    narrow = np.asarray(scores, dtype=np.float32)
    at_or_above = len(ordered) - np.searchsorted(ordered, narrow, side="left")
    return np.where(np.isnan(narrow), np.nan, (1 + at_or_above) / (len(ordered) + 1))


def checked(calibration: NDArray[np.floating], score: str) -> Scores:
    """Calibration scores as float32, one dimension, all finite; else DataError."""
    with np.errstate(over="ignore"):
        narrow = np.asarray(calibration, dtype=np.float32).reshape(-1)
    strange = int((~np.isfinite(narrow)).sum())
    if strange:
        raise DataError(
            f"Calibration needs finite {score} scores; {strange:,} of {len(narrow):,} are not. "
            f"Look for these images in the calibration scores and leave them out or train again."
        )
    return narrow


def check_confidence(confidence: float) -> None:
    """Raise ConfigError unless it is a share strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be above 0 and below 1; found {confidence!r}.")


def too_few(n: int, alpha: float) -> str:
    """What to do when there is no quantile; the smallest alpha is 1/(n+1), rounded up to three digits."""
    fewest = conformal_needs(alpha)
    needs = f"rule=conformal with alpha={alpha:g} needs at least {fewest:,} normal calibration images"
    if n == 0:
        return f"{needs}; found none. Give normal images that the model was not trained on."
    smallest = Context(prec=3, rounding=ROUND_CEILING).divide(Decimal(1), Decimal(n + 1))
    return f"{needs}; found {n:,}. Give more, or set alpha to {smallest.normalize():f} or more."


def about_groups(groups: int | None) -> str:
    """What the number of groups does to a guarantee that counts images."""
    if groups is None:
        alike = "images that are alike (same part, same camera burst) make the certificate optimistic"
        return f" No groups are known: {alike}."
    if groups < FEW_GROUPS:
        source = "one group" if groups == 1 else f"only {groups} groups"
        return (
            f" The calibration images are of {source}, and images of a group are alike: the certificate is optimistic."
        )
    return f" The calibration images are of {groups:,} groups; the certificate counts images of a group as independent."
