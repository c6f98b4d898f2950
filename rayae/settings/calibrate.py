"""Home of the settings of calibration, by itself and at the end of training."""

from typing import Literal

from rayae.settings.base import Alpha, Images, OpenFraction, Settings
from rayae.settings.index import Labelled
from rayae.settings.runner import RunnerSettings


class RuleSettings(Settings):
    rule: Literal["conformal", "fixed", "none"] = "conformal"
    """How the cut is chosen: `conformal` (quantile of held-out normal scores), `fixed` (`cut=`), or `none`."""
    alpha: Alpha = 0.05
    """False-positive rate that the conformal rule aims at, as a fraction of normal images."""
    confidence: OpenFraction = 0.95
    """Confidence of the upper bound that the certificate states."""
    cut: float | None = None
    """The cut of `rule=fixed`, in units of the primary score."""


class CalibrationSettings(RunnerSettings, RuleSettings):
    """What calibration needs, by itself and at the end of training."""

    primary_score: str | None = None
    """The score that is compared with the threshold: one of those of the bundle, or `auto`, the one that ranks labelled
    defects among the images best, when there are ten or more, above a third of the normal images, which then set no
    cut; default: as it is."""


class CalibrateSettings(Labelled, CalibrationSettings):
    bundle: str
    """The bundle that gets the calibration scores and the threshold; in a set of bundles each does, by its images."""
    images: Images | None = None
    """The images, as everywhere: a folder, a glob, a manifest, or a list of URIs."""
