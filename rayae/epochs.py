"""Home of what a training has reached, epoch by epoch."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """What is told of an epoch. Losses and errors are means over images; errors are squared, of pixels in [0, 1].

    Both errors are taken after the epoch, in the same way, from pictures posed as in training: `validation_error` from
    the held-out ones, `train_error` from as many of those trained on.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    train_error: float
    validation_error: float
    learning_rate: float
    images_per_second: float
    """Of all workers together, while steps were made."""
    wait_seconds: float
    """That rank 0 waited for pictures."""
    seconds: float
    workers: int = 1
    """That made its steps."""

    @property
    def error_ratio(self) -> float | None:
        """Held-out over train error; None when nothing is wrong with the pictures trained on."""
        return self.validation_error / self.train_error if self.train_error > 0 else None


@dataclass(frozen=True)
class Outcome:
    """What a training ends with."""

    weights: bytes
    """Of the detector, as a safetensors file."""
    detector: dict[str, Any]
    """Its spec, with the statistics that its scores are measured by."""
    precision: str
    trial: dict[str, Any]
    """See `Trial`."""


@dataclass
class Progress:
    """What has been reached: the best weights so far (a safetensors file) and the epochs behind them."""

    history: list[Epoch] = field(default_factory=list)
    best: bytes = b""
    best_epoch: int = 0
    best_loss: float = math.inf
    outcome: Outcome | None = None
    """When training is over."""

    @property
    def next_epoch(self) -> int:
        return len(self.history) + 1

    def add(self, epoch: Epoch) -> bool:
        """Note the epoch; whether it is the best so far, so that its weights belong into `best`."""
        self.history.append(epoch)
        is_best = epoch.validation_loss < self.best_loss
        if is_best:
            self.best_epoch, self.best_loss = epoch.epoch, epoch.validation_loss
        return is_best

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or `patience` of them have passed without a better held-out loss."""
        done = len(self.history)
        return done >= epochs or done - self.best_epoch >= patience
