"""Home of the epoch loop, without Ray: the same for one process and for each worker of many.

Every worker holds its share of the pictures as uint8 in memory, or streams it. When torch.distributed is set up,
gradients and the held-out figures are averaged over the workers, so all of them stop at the same epoch.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rayae import checkpoints, collective, detector, stopping
from rayae.augmentation import Augmentation, augment
from rayae.batches import Pictures, in_batches, pixels_of
from rayae.compiling import compiled
from rayae.detector import Detector
from rayae.epochs import Epoch, Outcome, Progress
from rayae.errors import TrainingError
from rayae.losses import Weights, head_loss, reconstruction_loss
from rayae.networks import weights
from rayae.pixels import as_images
from rayae.samples import Sample, samples_of
from rayae.scores import Region, average
from rayae.shares import images_of_each
from rayae.tasks import Posed, posed, with_neighbours
from rayae.trial import MOST_OFF, rounded_off, try_out

WARM_UP_SHARE = 0.05
SAMPLES = 4


@dataclass(frozen=True)
class TrainingPlan:
    """What decides the weights, beside the pictures."""

    network: Mapping[str, Any]
    """The spec of the network."""
    detector: Mapping[str, Any]
    """The spec of what is around it, which has no statistics yet; see `detector`."""
    epochs: int
    batch_size: int
    accumulation: int
    """Parts that a worker's images of a step go through the network in."""
    patience: int
    seed: int
    precision: str
    """`bf16`, `float32`, or `auto`: what the workers' devices multiply in."""
    learning_rate: float
    weight_decay: float
    gradient_clip: float
    loss: Weights
    head_weight: float
    augmentation: Augmentation

    @property
    def task(self) -> str:
        return str(self.detector["task"])


@dataclass(frozen=True)
class Told:
    """What is told after an epoch, and once more at the end."""

    history: list[Epoch]
    make_checkpoint: Callable[[], bytes]
    make_samples: Callable[[], list[Sample]]
    """A few held-out pictures of this worker and what the network makes of them."""
    is_end: Callable[[], bool]


@dataclass
class Training:
    """What the steps of one worker work with."""

    plan: TrainingPlan
    detector: Detector
    learner: nn.Module
    """The detector, with the gradients of all workers averaged, and perhaps compiled."""
    optimizer: torch.optim.Optimizer
    batch: int
    """Images of a step, of this worker."""
    precision: str

    @property
    def device(self) -> torch.device:
        return next(self.detector.parameters()).device

    @classmethod
    def begin(
        cls,
        plan: TrainingPlan,
        device: torch.device,
        pictures: int,
        region: NDArray[np.uint8] | None,
        is_compiled: bool,
    ) -> "Training":
        torch.manual_seed(plan.seed)
        model = detector.build(plan.network, plan.detector)
        if region is not None:
            model.look_at(torch.from_numpy(region))
        model = detector.on_device(model, device)
        learner: nn.Module = DistributedDataParallel(model) if collective.count() > 1 else model
        if is_compiled:
            learner = compiled(learner, device)
        optimizer = torch.optim.AdamW(model.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
        batch = min(images_of_each(plan.batch_size, collective.count()), max(1, pictures))
        return cls(plan, model, learner, optimizer, batch, resolved_precision(plan.precision, device))


def fit(
    plan: TrainingPlan,
    train: Pictures,
    validation: Pictures,
    *,
    device: torch.device,
    region: NDArray[np.uint8] | None = None,
    compiled: bool | None = None,
    checkpoint: bytes | None = None,
    after_epoch: Callable[[Told], None] = lambda told: None,
) -> Progress:
    """Train on this worker's pictures until the last epoch or until held-out loss stops falling.

    `region` are the weights of the pixels, `[H, W]` uint8. The network is `compiled` on a GPU when nobody says. Goes on
    from `checkpoint` when given, also from one of another number of workers. In the main thread SIGTERM ends it after
    the epoch in hand (see `stopping`). TrainingError when the loss is no number, when there is nothing to train on or
    to hold out, and when the workers do not have equally many pictures to train on; PictureLost when a streamed one
    cannot be read any more.
    """
    _refuse_shares(len(train), len(validation), device)
    training = Training.begin(plan, device, len(train), region, device.type == "cuda" if compiled is None else compiled)
    model, optimizer = training.detector, training.optimizer
    progress = Progress() if checkpoint is None else checkpoints.restore(checkpoint, model, optimizer)
    if progress.history and progress.history[-1].workers != collective.count():
        progress.best_loss = _loss_of_best(training, progress.best, validation)
    told = Told(
        progress.history,
        lambda: checkpoints.make(model, optimizer, progress),
        lambda: samples_of(model.eval(), pixels_of(validation[:SAMPLES]), training.precision),
        lambda: progress.outcome is not None,
    )
    while not progress.is_over(plan.epochs, plan.patience):
        with stopping.finished_first():
            if progress.add(_epoch(training, progress.next_epoch, train, validation)):
                progress.best = weights.save(model)
            after_epoch(told)
    if progress.outcome is None:
        progress.outcome = _outcome(training, progress.best, train, validation)
        after_epoch(told)
    return progress


def resolved_precision(asked: str, device: torch.device) -> str:
    """What `auto` means for all workers: bf16 when the devices of all of them multiply matrices in it."""
    if asked != "auto":
        return asked
    multiplies = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_amx_tile_supported()
    (all_do,) = collective.reduced(torch.tensor([float(multiplies)], device=device), dist.ReduceOp.MIN)
    return "bf16" if all_do else "float32"


def learning_rate(plan: TrainingPlan, done: float) -> float:
    """The rate when the fraction `done` of all steps is behind: a short linear warm-up, then a cosine to zero."""
    if done < WARM_UP_SHARE:
        return plan.learning_rate * max(done, 1e-3) / WARM_UP_SHARE
    return plan.learning_rate * (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2


def _epoch(training: Training, epoch: int, train: Pictures, validation: Pictures) -> Epoch:
    """One pass over the pictures, and what is to be told of it."""
    started = time.monotonic()
    loss, rate, waited = _steps(training, epoch, train)
    loss = _finite(loss, epoch)
    trained = time.monotonic()  # the loss has come from the device, so the steps are done
    images = len(train) // training.batch * training.batch * collective.count()
    held_out_loss, held_out_error = _look(training, validation)
    _, train_error = _look(training, train[: len(validation)])
    return Epoch(
        epoch=epoch,
        train_loss=loss,
        validation_loss=_finite(held_out_loss, epoch),
        train_error=_finite(train_error, epoch),
        validation_error=_finite(held_out_error, epoch),
        learning_rate=rate,
        images_per_second=round(images / (trained - started), 1),
        wait_seconds=round(waited, 2),
        seconds=round(time.monotonic() - started, 2),
        workers=collective.count(),
    )


def _steps(training: Training, epoch: int, pictures: Pictures) -> tuple[float, float, float]:
    """The mean loss of an epoch's steps over all workers, the last learning rate, and the seconds waited for pictures.

    Images over a batch sit out.
    """
    plan, device = training.plan, training.device
    generator = seeded(plan.seed, epoch)
    training.detector.train()
    steps, rate, waited = len(pictures) // training.batch, 0.0, 0.0
    loss = torch.zeros((), device=device)
    batches = with_neighbours(_shuffled(pictures, training.batch, plan.seed + epoch, device))
    for step in range(steps):
        asked = time.monotonic()
        images, neighbours = next(batches)
        waited += time.monotonic() - asked
        rate = learning_rate(plan, ((epoch - 1) * steps + step) / (plan.epochs * steps))
        loss += _step(training, images, neighbours, rate, generator)
    return collective.reduced(loss)[0] / (steps * collective.count()), rate, waited


def _step(
    training: Training, images: Tensor, neighbours: Tensor | None, rate: float, generator: torch.Generator
) -> Tensor:
    plan, optimizer = training.plan, training.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    images, pose = _posed(training, augment(images, plan.augmentation, generator), neighbours, generator)
    total = torch.zeros((), device=images.device)
    parts = list(_parts(images, pose, plan.accumulation))
    for number, (some, part) in enumerate(parts):
        with _gradients_kept_back(training.learner, number < len(parts) - 1):
            loss = _loss(training, training.learner, some, part)[0] * (len(some) / len(images))
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    nn.utils.clip_grad_norm_(training.detector.parameters(), plan.gradient_clip)
    optimizer.step()
    return total


def _posed(
    training: Training, images: Tensor, neighbours: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Posed]:
    """The images without what is outside the region, and the task of the plan posed with them."""
    model = training.detector
    images, beside = model.masked(images), None if neighbours is None else model.masked(neighbours)
    return images, posed(training.plan.task, images, generator, beside, model.where_to_look)


def _parts(images: Tensor, pose: Posed, count: int) -> Iterator[tuple[Tensor, Posed]]:
    """The batch in `count` parts of nearly equal length, fewer when it has fewer images."""
    count = min(count, len(images))
    places = [None] * count if pose.places is None else pose.places.tensor_split(count)
    for some, seen, place in zip(images.tensor_split(count), pose.seen.tensor_split(count), places, strict=True):
        yield some, Posed(seen, place)


def _gradients_kept_back(learner: nn.Module, is_kept_back: bool) -> AbstractContextManager[Any]:
    """While this lasts gradients are summed up by this worker alone, if they are to be."""
    if is_kept_back and hasattr(learner, "no_sync"):  # of DistributedDataParallel, compiled or not
        kept_back: AbstractContextManager[Any] = learner.no_sync()  # type: ignore[operator]  # a module has any name
        return kept_back
    return nullcontext()


def _loss(training: Training, learner: nn.Module, images: Tensor, pose: Posed) -> tuple[Tensor, Tensor]:
    """What is minimised, and the reconstructions that it is of."""
    plan = training.plan
    with torch.autocast(images.device.type, torch.bfloat16, enabled=training.precision == "bf16"):
        seen = learner(pose.seen)
    region = training.detector.region
    loss = reconstruction_loss(
        images, seen.pictures, plan.loss, divergence=seen.divergence, places=pose.places, region=region
    )
    if seen.logits is not None and pose.places is not None:
        places = pose.places if region is None else pose.places.masked_fill(region.outside, 0)
        loss = loss + plan.head_weight * head_loss(seen.logits, places)
    return loss, seen.pictures


def _error(images: Tensor, reconstructions: Tensor, region: Region | None) -> Tensor:
    """The mean squared error over pictures and pixels, as these weigh in the region."""
    if region is not None:
        images, reconstructions = region.filled(images, reconstructions)
    return average((reconstructions - images).square(), region).mean()


@torch.inference_mode()
def _look(training: Training, pictures: Pictures) -> tuple[float, float]:
    """Mean loss and mean squared error over the pictures of all workers, each with any number of them.

    As many workers pose them alike each time.
    """
    training.detector.eval()
    device, batch, region = training.device, training.batch, training.detector.region
    generator = seeded(training.plan.seed, 0)
    sums = torch.zeros(3, device=device)
    batches = (as_images(torch.from_numpy(pixels).to(device)) for pixels in in_batches(pictures, batch))
    for some, neighbours in with_neighbours(batches):
        images, pose = _posed(training, some, neighbours, generator)
        loss, made = _loss(training, training.detector, images, pose)
        error = _error(images, made, region)
        sums += torch.stack([loss * len(images), error * len(images), torch.full_like(loss, len(images))])
    loss_sum, error_sum, count = collective.reduced(sums)
    return loss_sum / count, error_sum / count


def _loss_of_best(training: Training, best: bytes, validation: Pictures) -> float:
    """The held-out loss of the best weights as these workers pose the pictures, which others do otherwise."""
    model = training.detector
    reached = weights.save(model)
    weights.fill(model, best, "the network that was trained")
    loss, _ = _look(training, validation)
    weights.fill(model, reached, "the network that was trained")
    return loss


def _outcome(training: Training, best: bytes, train: Pictures, validation: Pictures) -> Outcome:
    """The best weights with all that their scores are measured by, in the precision that they are to be scored in."""
    model, batch, precision = training.detector, training.batch, training.precision
    weights.fill(model, best, "the network that was trained")
    tried = try_out(model, train, validation, batch=batch, precision=precision, generator=_for_trials(training))
    if precision == "bf16" and training.plan.precision == "auto":
        off = rounded_off(model, validation, batch=batch, generator=_for_trials(training))
        if max(off.values(), default=0.0) > MOST_OFF:
            precision = "float32"
            tried = try_out(model, train, validation, batch=batch, precision=precision, generator=_for_trials(training))
    return Outcome(weights.save(model), model.spec(), precision, asdict(tried))


def _for_trials(training: Training) -> torch.Generator:
    return seeded(training.plan.seed, -1)


def seeded(seed: int, epoch: int) -> torch.Generator:
    """Random numbers of this worker and epoch, so that a resumed training draws what an undisturbed one does.

    They are drawn on the CPU, which costs a GPU no wait. Seeds the global generator, which networks draw from, as well.
    """
    rank = dist.get_rank() if dist.is_initialized() else 0
    number = int(np.random.SeedSequence([seed, epoch + 1, rank]).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)


def _shuffled(pictures: Pictures, batch: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    order = np.random.default_rng(seed).permutation(len(pictures))[: len(pictures) // batch * batch]
    for pixels in in_batches(pictures, batch, order):
        yield as_images(torch.from_numpy(pixels).to(device))


def _refuse_shares(train: int, validation: int, device: torch.device) -> None:
    """TrainingError, on all workers alike, when their shares of the pictures cannot be trained on."""
    fewest, most = collective.reduced(torch.tensor([train, -train], device=device), dist.ReduceOp.MIN)
    (held_out,) = collective.reduced(torch.tensor([validation], device=device))
    if fewest != -most:
        raise TrainingError(
            f"one worker holds {fewest:.0f} images to train on and another {-most:.0f}; each needs the same number."
        )
    if not fewest:
        raise TrainingError(
            f"there is no image to train on for each of the {collective.count()} worker(s); give more images."
        )
    if not held_out:
        raise TrainingError("there is no image to hold out, and nothing else says when to stop; give more images.")


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss} in epoch {epoch}: training diverged. "
            "Lower `optimizer.learning_rate` or try `precision=float32`, with a new `out=`."
        )
    return loss
