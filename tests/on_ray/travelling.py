"""A training whose first checkpoint travels for as long as it likes, in a file that Ray's workers can import."""

import time
from dataclasses import replace
from pathlib import Path

import ray.train

from rayae import storage
from rayae.epochs import Epoch
from rayae.on_ray.uploads import CHECKPOINT, Uploads
from rayae.training import Told

PATIENCE_S = 120.0
EPOCH = Epoch(1, 0.5, 0.6, 0.02, 0.03, 1e-3, 100.0, 0.1, 2.0)


def told(epochs: int) -> Told:
    history = [replace(EPOCH, epoch=number) for number in range(1, epochs + 1)]
    return Told(history, f"checkpoint {epochs}".encode, list, lambda: False)


def train(config):
    """Two epochs; the checkpoint of the first arrives when the second has been trained, and not before."""
    folder, write = config["folder"], storage.write_bytes
    second_is_trained = Path(folder) / "second_is_trained"

    def arrive(uri, data):
        given_up = time.monotonic() + PATIENCE_S
        while uri.endswith(f"epoch-000001/{CHECKPOINT}") and not second_is_trained.exists():
            if time.monotonic() > given_up:
                raise TimeoutError("training waits for its checkpoint")
            time.sleep(0.02)
        write(uri, data)

    storage.write_bytes = arrive
    uploads = Uploads(folder, ray.train.get_context().get_experiment_name())
    uploads(told(1))
    second_is_trained.touch()
    uploads(told(2))
