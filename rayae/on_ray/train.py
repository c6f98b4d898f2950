"""Home of training on Ray Train: the epoch loop on every worker, begun again from the last checkpoint when one dies,
and with other shares when there are more workers or fewer."""

import os
from concurrent.futures import Future
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import ray.train
from numpy.typing import NDArray
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.data import DataIterator, Dataset
from ray.exceptions import RayError
from ray.train import CheckpointConfig, DataConfig, RunConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.config import FailureConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError

from rayae import storage
from rayae.batches import Pictures
from rayae.checkpoints import reached
from rayae.epochs import Progress
from rayae.errors import ClusterError, PictureLost, RayaeError, TrainingError
from rayae.on_ray.capacity import Workers
from rayae.on_ray.cluster import last_line, refusal
from rayae.on_ray.images import OnStorage
from rayae.on_ray.uploads import Uploads, read, refuse_other_storage, report
from rayae.shares import Share
from rayae.training import TrainingPlan, fit

CHECKPOINTS_KEPT = 2
WITHOUT_END = -1
REFUSAL = "refusal.json"
"""Where rank 0 says why training cannot go on. An exception Ray Train would take for a death, and try all again."""
SECONDS_BETWEEN_POLLS = "0.2"
"""Ray Train takes what was uploaded at its next poll, and the next upload waits for that: 2 s by default."""
SECONDS_BETWEEN_RESIZES = 60.0
"""An elastic training looks so often for more room, as each resize costs the epoch in hand and the start of workers."""


def train_on_ray(
    plan: TrainingPlan,
    images: Dataset | OnStorage,
    share: Share,
    workers: Workers,
    *,
    region: NDArray[np.uint8] | None,
    compiled: bool | None,
    folder: str,
    name: str,
    max_failures: int,
) -> Progress:
    """Train on the cluster. A run of this name in the folder, which must be of the same plan, is gone on with.

    Raises the RayaeErrors of the workers, and ClusterError when they fail more often than `max_failures`. What Ray
    knows to be taken away, the workers on a drained node, is replaced without being counted.
    """
    storage.remove(storage.join(folder, REFUSAL))
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", SECONDS_BETWEEN_POLLS)
    work = {
        "plan": plan,
        "share": share,
        "folder": folder,
        "region": region,
        "compiled": compiled,
        "on_storage": images if isinstance(images, OnStorage) else None,
    }
    trainer = TorchTrainer(
        _work,
        train_loop_config=work,
        scaling_config=_scaling(workers),
        run_config=_run(folder, name, max_failures),
        datasets={} if isinstance(images, OnStorage) else {"images": images},
        dataset_config=DataConfig(datasets_to_split=[]),
    )
    return _reached(trainer, folder, max_failures)


def _run(folder: str, name: str, max_failures: int) -> RunConfig:
    return RunConfig(
        name=name,
        **_storage(folder),
        failure_config=FailureConfig(max_failures=max_failures, max_preemption_failures=WITHOUT_END),
        checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
    )


def _scaling(workers: Workers) -> ScalingConfig:
    return ScalingConfig(
        num_workers=workers.count if workers.most is None else (workers.count, workers.most),
        elastic_resize_monitor_interval_s=SECONDS_BETWEEN_RESIZES,
        use_gpu=workers.gpus > 0,
        resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
    )


def _reached(trainer: TorchTrainer, folder: str, max_failures: int) -> Progress:
    """What the workers reach, or the error that ended them."""
    try:
        checkpoint = _fit_interruptibly(trainer).checkpoint
    except (TrainingFailedError, RayError) as error:
        raise _explained(error, max_failures) from error
    _raise_refusal(folder)
    if checkpoint is None:
        raise ClusterError("training ended without a checkpoint; look at the logs of the workers.")
    return reached(read(checkpoint))


def _storage(folder: str) -> dict[str, Any]:
    """Where Ray Train keeps its checkpoints, reached by the same client as all else."""
    if storage.is_local(folder):
        return {"storage_path": folder}
    filesystem, path = storage.filesystem_of(folder)
    return {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(filesystem))}


def _fit_interruptibly(trainer: TorchTrainer) -> ray.train.Result:
    """`trainer.fit()` in a thread beside this one.

    In the main thread Ray Train replaces the handler of Ctrl-C for good, by one that ends the process with exit code 1
    and without a word, and that goes on swallowing Ctrl-C after training.
    """
    ended: Future[ray.train.Result] = Future()

    def fit_and_tell() -> None:
        try:
            ended.set_result(trainer.fit())
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that waits)
            ended.set_exception(error)

    Thread(target=fit_and_tell, daemon=True).start()
    return ended.result()


def _work(config: dict[str, Any]) -> None:
    """What every worker does: take its share of the pictures, then the epochs."""
    plan, share, folder = config["plan"], config["share"], config["folder"]
    if storage.exists(storage.join(folder, REFUSAL)):  # of one worker, which has ended the others
        return
    context = ray.train.get_context()
    rank, name = context.get_world_rank(), context.get_experiment_name()
    refuse_other_storage(folder, name)
    mine = share.of(rank, context.get_world_size())
    checkpoint = ray.train.get_checkpoint()
    try:
        fit(
            plan,
            *_pictures(config["on_storage"], mine),
            device=get_device(),
            region=config["region"],
            compiled=config["compiled"],
            checkpoint=None if checkpoint is None else read(checkpoint),
            after_epoch=report if rank else Uploads(folder, name),
        )
    except PictureLost as error:  # the others wait for this worker until it fails
        _refuse(folder, error)
        raise
    except TrainingError as error:  # of what all workers have in common, so all of them end here
        if rank == 0:
            _refuse(folder, error)


def _refuse(folder: str, error: TrainingError) -> None:
    storage.write_json(storage.join(folder, REFUSAL), {"class": type(error).__name__, "sentence": str(error)})


def _raise_refusal(folder: str) -> None:
    uri = storage.join(folder, REFUSAL)
    if storage.exists(uri):
        said = storage.read_json(uri)
        raise refusal(said["class"], said["sentence"])


def _pictures(on_storage: OnStorage | None, mine: Share) -> tuple[Pictures, Pictures]:
    """The pictures of the share of this worker: streamed, or taken into its memory."""
    if on_storage is not None:
        return on_storage.pictures(mine.train), on_storage.pictures(mine.validation)
    pixels = _collect(ray.train.get_dataset_shard("images"), np.concatenate([mine.train, mine.validation]))
    return pixels[: len(mine.train)], pixels[len(mine.train) :]


def _collect(images: DataIterator, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pixels of these images, in this order, `[N, H, W, C]` uint8; ClusterError when one of them does not come."""
    order = pd.Index(wanted)  # where each of them goes
    placed = np.zeros(len(wanted), dtype=bool)
    pixels: NDArray[np.uint8] | None = None
    for batch in images.iter_batches(batch_size=256, batch_format="numpy"):
        rows = order.get_indexer(pd.Index(batch["image_id"]))
        if pixels is None:
            pixels = np.empty((len(wanted), *batch["pixels"].shape[1:]), dtype=np.uint8)
        pixels[rows[rows >= 0]] = batch["pixels"][rows >= 0]
        placed[rows[rows >= 0]] = True
    if pixels is None or not placed.all():
        raise ClusterError(
            f"{np.count_nonzero(~placed)} of the {len(wanted)} images of a training worker did not reach it; "
            "run the same command again."
        )
    return pixels


def _explained(error: Exception, max_failures: int) -> RayaeError:
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "cause", None) or failure
        if isinstance(cause, RayaeError):
            return cause
    return ClusterError(
        f"training failed more often than max_worker_failures={max_failures} allows: {last_line(error)}. "
        "The checkpoint of the last epoch is kept; run the same command again to go on from it."
    )
