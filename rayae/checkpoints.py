"""Home of the checkpoint: all that a training goes on from, as bytes."""

import io
import pickle
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from rayae.epochs import Epoch, Outcome, Progress
from rayae.errors import TrainingError


def make(model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> bytes:
    """The weights and the state of the optimizer, while there is something left to do, and what has been reached."""
    going_on = {"model": model.state_dict(), "optimizer": optimizer.state_dict()} if progress.outcome is None else {}
    state = {
        **going_on,
        "progress": {
            "history": [asdict(epoch) for epoch in progress.history],
            "best": progress.best,
            "best_epoch": progress.best_epoch,
            "best_loss": progress.best_loss,
            "outcome": None if progress.outcome is None else asdict(progress.outcome),
        },
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def restore(checkpoint: bytes, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Give model and optimizer their state back, unless all is done.

    TrainingError when the checkpoint is damaged or of another model.
    """
    state, progress = _load(checkpoint)
    if progress.outcome is not None:
        return progress
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the checkpoint to go on from is of another network ({str(error).splitlines()[0].rstrip(':.')}); "
            "give the training a new `out=`."
        ) from error
    return progress


def reached(checkpoint: bytes) -> Progress:
    """The best weights and the epochs that a checkpoint holds."""
    return _load(checkpoint)[1]


def _load(checkpoint: bytes) -> tuple[dict[str, Any], Progress]:
    """The state that a checkpoint holds, and what has been reached with it; TrainingError when it is damaged."""
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        return state, _progress_of(state["progress"])
    except (EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            "the checkpoint to go on from is damaged; remove the folder `training` in `out=` to train anew."
        ) from error


def _progress_of(found: dict[str, Any]) -> Progress:
    history = [Epoch(**epoch) for epoch in found["history"]]
    outcome = None if found["outcome"] is None else Outcome(**found["outcome"])
    return Progress(**(found | {"history": history, "outcome": outcome}))
