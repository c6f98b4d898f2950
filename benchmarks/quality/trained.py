"""Home of rayae's own detectors under test: the defaults of `rayae train` but for task and network.

The epochs are as many as fit into the CPU-minutes, at the rate of a first short training.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.quality.detectors import CPU, FLOORS, Columns, Fit, Pixels, Score
from rayae import detector as detectors
from rayae.errors import TrainingError
from rayae.preprocess import Preprocess
from rayae.results import PIXEL_STATISTICS
from rayae.scorer import Scorer
from rayae.settings import TrainSettings
from rayae.training import TrainingPlan, fit
from rayae.trial import Trial
from rayae.verbs.train_plan import training_plan

PAIRS = (
    ("copy", "convolutional"),
    ("copy", "variational"),
    ("copy", "linear"),
    ("denoise", "convolutional"),
    ("inpaint", "unet"),
    ("repair", "convolutional"),
    ("repair", "unet"),
)
PROBE_IMAGES = 96
PROBES = (1, 1, 5)
"""Epochs of the short trainings."""
BATCH = 32


def fit_detector(task: str, kind: str, train: Pixels, calibration: Pixels, seed: int, minutes: float) -> Score:
    """Train as `rayae train` does; `auto` among the scores is the one that it chooses."""
    plan = plan_for(task, kind, train.shape[1:], seed)
    epochs = max(1, round(minutes * 60 / epoch_seconds(plan, train, calibration)))
    outcome = fit(with_epochs(plan, epochs), train, calibration, device=CPU).outcome
    if outcome is None:
        raise TrainingError(f"{task}/{kind} ended without an outcome; look at `fit`.")
    model = detectors.load(plan.network, outcome.detector, outcome.weights)
    names = (*detectors.score_names(outcome.detector), *PIXEL_STATISTICS)
    scorer = Scorer(detectors.on_device(model, CPU).eval(), names, CPU, outcome.precision, BATCH)
    return partial(score, scorer, Trial(**outcome.trial).best)


def epoch_seconds(plan: TrainingPlan, train: Pixels, calibration: Pixels) -> float:
    """CPU-seconds of an epoch: from the difference between short trainings, after one that warms up."""
    few = np.resize(train, (PROBE_IMAGES, *train.shape[1:]))
    held_out = calibration[: max(1, PROBE_IMAGES * len(calibration) // len(train))]
    took = []
    for epochs in PROBES:
        began = time.process_time()
        fit(with_epochs(plan, epochs), few, held_out, device=CPU)
        took.append(time.process_time() - began)
    return (took[2] - took[1]) / (PROBES[2] - PROBES[1]) * len(train) / PROBE_IMAGES


def plan_for(task: str, kind: str, shape: tuple[int, ...], seed: int) -> TrainingPlan:
    """The plan of `rayae train` for pictures of `[H, W, C]`, without an early stop."""
    height, width, channels = shape
    settings = TrainSettings(images="", out="", task=task, network={"kind": kind}, seed=seed)
    return training_plan(settings, Preprocess("grey" if channels == 1 else "rgb", height, width))


def with_epochs(plan: TrainingPlan, epochs: int) -> TrainingPlan:
    """The plan for so many epochs, all of them."""
    return replace(plan, epochs=epochs, patience=epochs)


def score(scorer: Scorer, chosen: str, pixels: Pixels) -> Columns:
    """All scores; a picture on which the network fails has none, which the runner refuses."""
    measured, _ = scorer.score(pixels)
    columns = {name: values for name, values in measured.items() if name not in PIXEL_STATISTICS}
    return {**columns, "auto": columns[chosen]}


TRAINED: dict[str, Fit] = {f"{task}/{kind}": partial(fit_detector, task, kind) for task, kind in PAIRS}

DETECTORS: dict[str, Fit] = {**FLOORS, **TRAINED}
