"""Home of the typed settings, one class a verb. Below the verbs nobody sees them: values are passed on."""

from rayae.settings.analysis import CompareSettings, DriftSettings, QuerySettings, ReportSettings, TopSettings
from rayae.settings.base import Fraction, Images, Moment, OpenFraction, Placement, Settings, moment
from rayae.settings.calibrate import CalibrateSettings, CalibrationSettings, RuleSettings
from rayae.settings.elsewhere import DemoSettings, SubmitSettings
from rayae.settings.flag import DecisionsSettings, FlagSettings
from rayae.settings.index import IndexSettings, Labelled, Patterns, SelectSettings
from rayae.settings.network import AugmentSettings, HeadSettings, LossSettings, NetworkSettings, OptimizerSettings
from rayae.settings.plan import PlanSettings
from rayae.settings.runner import PreprocessSettings, ReaderSettings, ResourceSettings, RunnerSettings
from rayae.settings.score import (
    CompactSettings,
    EvaluateSettings,
    RetrySettings,
    RunVerbSettings,
    ScoreSettings,
    StatusSettings,
    VerifySettings,
)
from rayae.settings.train import DefectsSettings, Rectangle, Task, TrainSettings
from rayae.settings.verb import Allowed, Endpoint, SpokenSettings, StorageSettings, VerbSettings

__all__ = [
    "Allowed",
    "AugmentSettings",
    "CalibrateSettings",
    "CalibrationSettings",
    "CompactSettings",
    "CompareSettings",
    "DecisionsSettings",
    "DefectsSettings",
    "DemoSettings",
    "DriftSettings",
    "Endpoint",
    "EvaluateSettings",
    "FlagSettings",
    "Fraction",
    "HeadSettings",
    "Images",
    "IndexSettings",
    "Labelled",
    "LossSettings",
    "Moment",
    "NetworkSettings",
    "OpenFraction",
    "OptimizerSettings",
    "Patterns",
    "Placement",
    "PlanSettings",
    "PreprocessSettings",
    "QuerySettings",
    "ReaderSettings",
    "Rectangle",
    "ReportSettings",
    "ResourceSettings",
    "RetrySettings",
    "RuleSettings",
    "RunVerbSettings",
    "RunnerSettings",
    "ScoreSettings",
    "SelectSettings",
    "Settings",
    "SpokenSettings",
    "StatusSettings",
    "StorageSettings",
    "SubmitSettings",
    "Task",
    "TopSettings",
    "TrainSettings",
    "VerbSettings",
    "VerifySettings",
    "moment",
]
