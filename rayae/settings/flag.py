"""Home of the settings of the verbs that decide anew about the scores of a run: `flag` and `decisions`."""

from typing import Annotated, Literal

from pydantic import Field

from rayae.settings.base import Alpha, OpenFraction
from rayae.settings.score import RunVerbSettings

FlagRule = Literal[
    "fdr", "conformal", "certified", "fixed", "recall", "precision", "f_beta", "cost", "capacity", "sigma", "peaks"
]
Positive = Annotated[float, Field(gt=0)]


class FlagSettings(RunVerbSettings):
    rule: FlagRule | None = None
    """How the cut is chosen; `fdr=` alone means the rule fdr."""
    fdr: OpenFraction | None = None
    """Of rule=fdr: share of the flagged images that may be normal, expected."""
    p_values: Literal["marginal", "simes", "dkw"] | None = None
    """Of rule=fdr: `marginal` (default) holds on average over calibrations; `simes` and `dkw` hold for the one at hand,
    with `confidence`, and find less."""
    alpha: Alpha | None = None
    """Of rule=conformal, certified and peaks: share of normal images that may be flagged."""
    cut: float | None = None
    """Of rule=fixed: the cut, in units of the primary score."""
    recall: OpenFraction | None = None
    """Of rule=recall: share of the defects that has to be found."""
    precision: OpenFraction | None = None
    """Of rule=precision: share of the flagged images that have to be defects, at `prevalence`."""
    beta: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Of rule=f_beta: how many times as much recall counts as precision."""
    cost_fn: Positive | None = None
    """Of rule=cost: what a defect costs that is not flagged, in any unit."""
    cost_fp: Positive | None = None
    """Of rule=cost: what a normal image costs that is flagged, in the same unit."""
    cost_review: Positive | None = None
    """Of rule=cost: what it costs to have a person look at an image; where that pays there is a band for review."""
    flags: Annotated[int, Field(gt=0)] | None = None
    """Of rule=capacity: how many of the run's images can be inspected."""
    sigmas: float | None = None
    """Of rule=sigma: how far above the median the cut is, in standard deviations of the logarithm of the score."""
    prevalence: OpenFraction | None = None
    """Of rule=precision, cost and f_beta: share of defects where the cut will be used; labels cannot tell it."""
    choose_on: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of rules that need labels: share of the labelled groups that choose the cut (default: 0.5); on the others it is
    measured."""
    confidence: OpenFraction = 0.95
    """Confidence of the bounds that are stated."""
    per_group: bool = False
    """Of rule=conformal and certified: whether each `group` with enough calibration images has a cut of its own."""
    against: str | None = None
    """Decision that the flags are compared with, or `run` for the run's own; default: the decision before, or `run`."""

    borderline: Annotated[int, Field(ge=0, le=200)] = 12
    """Images nearest to the cut, half of them flagged, that a page shows with their error maps; 0 writes no page."""


class DecisionsSettings(RunVerbSettings):
    pass
