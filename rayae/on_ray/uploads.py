"""Home of the way of checkpoints between a worker and storage: each travels while the next epoch is trained."""

import os
from collections.abc import Callable
from dataclasses import asdict
from threading import Semaphore

import ray.train
from ray.train import Checkpoint, CheckpointUploadMode
from ray.train.v2._internal.constants import VALIDATE_STORAGE_MARKER_FILENAME

from rayae import storage
from rayae.errors import ClusterError
from rayae.history import write_history
from rayae.tensorboard import EVENTS, write_events
from rayae.training import Told

CHECKPOINT = "checkpoint.pt"
END = "end"


def read(checkpoint: Checkpoint) -> bytes:
    """What was kept, from storage."""
    with checkpoint.as_directory() as folder:
        return storage.read_bytes(os.path.join(folder, CHECKPOINT))


def refuse_other_storage(folder: str, name: str) -> None:
    """ClusterError when what the driver has written into the folder of the run is not there for this worker."""
    if not storage.exists(storage.join(folder, name, VALIDATE_STORAGE_MARKER_FILENAME)):
        raise ClusterError(
            f"a worker on {ray.util.get_node_ip_address()} does not see what the driver has written to {folder}; "  # type: ignore[no-untyped-call]  # of Ray
            "give an `out=` that all machines share, on object storage or a mounted disk."
        )


def report(told: Told) -> None:
    """Take part in the report of an epoch, whose figures rank 0 uploads. Waits for no upload."""
    ray.train.report(asdict(told.history[-1]), checkpoint_upload_mode=CheckpointUploadMode.ASYNC)


class Uploads:
    """What rank 0 sends to the folder after an epoch: the checkpoint, then the metrics and events that tell of it.

    The next epoch is trained meanwhile, and its end waits until the upload is over. So a death costs the epoch in hand
    and the one or two whose checkpoints are on their way into Ray Train's books, however slow storage is, and no more
    than two checkpoints are in memory. Ray Train takes a failed upload for the death of the worker, so after one there
    is no room for another; and it waits for the last upload.
    """

    def __init__(self, folder: str, name: str) -> None:
        self.folder, self.name = folder, name
        self.room = Semaphore(1)

    def __call__(self, told: Told) -> None:
        """Begin the upload of what is told of an epoch."""
        place = ray.train.get_context().get_storage()
        kept_as = END if told.is_end() else f"epoch-{len(told.history):06}"
        self.room.acquire()
        ray.train.report(
            asdict(told.history[-1]),
            checkpoint=Checkpoint(place.build_checkpoint_path_from_name(kept_as), place.storage_filesystem),
            checkpoint_dir_name=kept_as,  # and no time: an epoch that is trained again takes the place of its like
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=self._upload_of(told),
            delete_local_checkpoint_after_upload=False,  # there is none beside that in storage
        )

    def _upload_of(self, told: Told) -> Callable[[Checkpoint, str], Checkpoint]:
        """What writes this epoch, as it is at this moment."""
        checkpoint, samples, history = told.make_checkpoint(), told.make_samples(), list(told.history)

        def upload(to: Checkpoint, kept_as: str) -> Checkpoint:
            storage.write_bytes(storage.join(self.folder, self.name, kept_as, CHECKPOINT), checkpoint)
            write_history(self.folder, history)
            write_events(storage.join(self.folder, EVENTS), [asdict(epoch) for epoch in history], samples)
            self.room.release()
            return to

        return upload
