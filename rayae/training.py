"""Home of the epoch loop, without Ray: the same for one process and for each worker of many.

Every worker holds its share of the pictures as uint8 in memory. When torch.distributed is set up, gradients and the
held-out loss are averaged over the workers, so all of them stop at the same epoch.
"""

import io
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rayae import autoencoder
from rayae.errors import TrainingError
from rayae.losses import reconstruction_loss
from rayae.scorer import as_images

WARM_UP_SHARE = 0.05


@dataclass(frozen=True)
class TrainingPlan:
    """What decides the weights, beside the pictures."""

    network: Mapping[str, Any]
    epochs: int
    batch_size: int
    patience: int
    seed: int
    precision: str
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    ssim_weight: float


@dataclass(frozen=True)
class Epoch:
    """What is told of an epoch; losses are means over images."""

    epoch: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    images_per_second: float
    seconds: float


@dataclass
class Progress:
    """What has been reached: the best weights so far (a safetensors file) and the epochs behind them."""

    history: list[Epoch] = field(default_factory=list)
    best: bytes = b""
    best_epoch: int = 0
    best_loss: float = math.inf

    @property
    def next_epoch(self) -> int:
        return len(self.history) + 1

    def add(self, epoch: Epoch, network: nn.Module) -> None:
        self.history.append(epoch)
        if epoch.validation_loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch.epoch, epoch.validation_loss
            self.best = autoencoder.save(network)

    def is_over(self, plan: TrainingPlan) -> bool:
        """Whether all epochs are done, or `patience` of them have passed without a better held-out loss."""
        done = len(self.history)
        return done >= plan.epochs or done - self.best_epoch >= plan.patience


@dataclass(frozen=True)
class Result:
    """The best weights as a safetensors file, and the epochs behind them."""

    weights: bytes
    best_epoch: int
    history: list[Epoch]


def fit(
    plan: TrainingPlan,
    train: NDArray[np.uint8],
    validation: NDArray[np.uint8],
    *,
    device: torch.device,
    checkpoint: bytes | None = None,
    after_epoch: Callable[[list[Epoch], Callable[[], bytes]], None] = lambda history, make_checkpoint: None,
) -> Result:
    """Train on this worker's pictures, `[N, H, W, C]` uint8, until the last epoch or until held-out loss stops falling.

    Goes on from `checkpoint` when given. `after_epoch` gets what is told of all epochs so far and a function that makes
    the checkpoint. TrainingError when the loss is no number, when there is nothing to train on or to hold out, and
    when the workers do not hold equally many pictures to train on.
    """
    _refuse_shares(len(train), len(validation), device)
    torch.manual_seed(plan.seed)
    network = autoencoder.on_device(autoencoder.build(plan.network), device)
    learner: nn.Module = DistributedDataParallel(network) if _world() > 1 else network
    optimizer = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    batch = max(1, min(plan.batch_size // _world(), len(train)))
    progress = Progress() if checkpoint is None else _restore(checkpoint, network, optimizer)
    while not progress.is_over(plan):
        epoch = progress.next_epoch
        started = time.monotonic()
        train_loss, rate = _train_epoch(plan, epoch, learner, optimizer, train, batch)
        trained = time.monotonic()  # the loss has come from the device, so the steps are done
        told = Epoch(
            epoch,
            train_loss,
            _finite(_held_out_loss(network, validation, plan, batch, device), epoch),
            rate,
            round(len(train) // batch * batch * _world() / (trained - started), 1),
            round(time.monotonic() - started, 2),
        )
        progress.add(told, network)
        after_epoch(progress.history, lambda: _checkpoint(network, optimizer, progress))
    return Result(progress.best, progress.best_epoch, progress.history)


def result_of(checkpoint: bytes) -> Result:
    """The best weights and the epochs that a checkpoint holds."""
    reached = _load(checkpoint)["progress"]
    return Result(reached["best"], reached["best_epoch"], [Epoch(**epoch) for epoch in reached["history"]])


def learning_rate(plan: TrainingPlan, done: float) -> float:
    """The rate when the fraction `done` of all steps is behind: a short linear warm-up, then a cosine to zero."""
    if done < WARM_UP_SHARE:
        return plan.learning_rate * max(done, 1e-3) / WARM_UP_SHARE
    return plan.learning_rate * (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2


def _train_epoch(
    plan: TrainingPlan,
    epoch: int,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    pictures: NDArray[np.uint8],
    batch: int,
) -> tuple[float, float]:
    """The mean loss of an epoch's steps over all workers, and the last learning rate; images over a batch sit out."""
    device = next(learner.parameters()).device
    steps, rate = len(pictures) // batch, 0.0
    loss = torch.zeros((), device=device)
    for step, images in enumerate(_shuffled(pictures, batch, plan.seed + epoch, device)):
        rate = learning_rate(plan, ((epoch - 1) * steps + step) / (plan.epochs * steps))
        loss += _step(learner, optimizer, images, plan, rate)
    return _finite(_all_workers(loss)[0] / (steps * _world()), epoch), rate


def _step(
    learner: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, plan: TrainingPlan, rate: float
) -> Tensor:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss = _loss(learner, images, plan)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(learner.parameters(), plan.gradient_clip)
    optimizer.step()
    return loss.detach()


def _loss(learner: nn.Module, images: Tensor, plan: TrainingPlan) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=plan.precision == "bf16"):
        reconstructions = learner(images)
    return reconstruction_loss(images, reconstructions.float(), plan.ssim_weight)


@torch.inference_mode()
def _held_out_loss(
    network: nn.Module, pictures: NDArray[np.uint8], plan: TrainingPlan, batch: int, device: torch.device
) -> float:
    """The mean loss over the held-out pictures of all workers, of which each may hold any number."""
    network.eval()
    loss = torch.zeros((), device=device)
    for first in range(0, len(pictures), batch):
        images = as_images(torch.from_numpy(pictures[first : first + batch]).to(device))
        loss += _loss(network, images, plan) * len(images)
    network.train()
    total, count = _all_workers(torch.stack([loss, torch.full_like(loss, len(pictures))]))
    return total / count


def _shuffled(pictures: NDArray[np.uint8], batch: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    order = np.random.default_rng(seed).permutation(len(pictures))
    for first in range(0, len(order) - batch + 1, batch):
        yield as_images(torch.from_numpy(pictures[order[first : first + batch]]).to(device))


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _all_workers(values: Tensor, operation: Any = dist.ReduceOp.SUM) -> list[float]:
    """The values summed (or otherwise reduced) over the workers; waits for the device."""
    if _world() > 1:
        dist.all_reduce(values, operation)
    return [float(value) for value in values.reshape(-1).tolist()]


def _refuse_shares(train: int, validation: int, device: torch.device) -> None:
    """TrainingError, on all workers alike, when their shares of the pictures cannot be trained on."""
    fewest, most = _all_workers(torch.tensor([train, -train], device=device), dist.ReduceOp.MIN)
    (held_out,) = _all_workers(torch.tensor([validation], device=device))
    if fewest != -most:
        raise TrainingError(
            f"one worker holds {fewest:.0f} images to train on and another {-most:.0f}; each needs the same number."
        )
    if not fewest:
        raise TrainingError(f"there is no image to train on for each of the {_world()} worker(s); give more images.")
    if not held_out:
        raise TrainingError("there is no image to hold out, and nothing else says when to stop; give more images.")


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} in epoch {epoch}: training diverged. "
            "Lower `optimizer.learning_rate` or try `precision=float32`, with a new `out=`."
        )
    return loss


def _checkpoint(network: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> bytes:
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": {
            "history": [asdict(epoch) for epoch in progress.history],
            "best": progress.best,
            "best_epoch": progress.best_epoch,
            "best_loss": progress.best_loss,
        },
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _restore(checkpoint: bytes, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    state = _load(checkpoint)
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the checkpoint to go on from is of another network ({str(error).splitlines()[0].rstrip(':.')}); "
            "give the training a new `out=`."
        ) from error
    reached = state["progress"]
    return Progress(**reached | {"history": [Epoch(**epoch) for epoch in reached["history"]]})


def _load(checkpoint: bytes) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise TrainingError(
            "the checkpoint to go on from is damaged; remove the folder `training` in `out=` to train anew."
        ) from error
    return state
