"""Checkpoints on their way to storage."""

from pathlib import Path

import pytest
import ray.train
from ray.train.torch import TorchTrainer

from rayae.errors import ClusterError
from rayae.history import read_history
from rayae.on_ray.uploads import read, refuse_other_storage
from tests.on_ray import travelling


def test_the_next_epoch_is_trained_while_a_checkpoint_travels_and_the_last_one_is_waited_for(tmp_path: Path) -> None:
    result = TorchTrainer(
        travelling.train,
        train_loop_config={"folder": str(tmp_path)},
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(name="run", storage_path=str(tmp_path)),
    ).fit()
    assert result.checkpoint is not None
    assert read(result.checkpoint) == b"checkpoint 2"
    assert (tmp_path / "run" / "epoch-000001" / "checkpoint.pt").read_bytes() == b"checkpoint 1"
    assert read_history(str(tmp_path)) == travelling.told(2).history


def test_a_folder_that_a_worker_does_not_share_with_the_driver_is_refused(tmp_path: Path) -> None:
    sentence = (
        rf"^a worker on [\d.]+ does not see what the driver has written to {tmp_path}; give an `out=` that all "
        r"machines share, on object storage or a mounted disk\.$"
    )
    with pytest.raises(ClusterError, match=sentence):
        refuse_other_storage(str(tmp_path), "run")
