"""What holds of a training whose number of workers changes.

With all pictures in each step, and nothing that a worker draws for itself, the curve is that of one process, beyond
rounding. With several steps an epoch each of them has other pictures, but as many, near enough.
"""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from rayae import checkpoints
from rayae.checkpoints import reached
from rayae.losses import Weights
from rayae.shares import Share
from rayae.training import Training, fit
from tests.unit.small_things import pictures
from tests.unit.test_training import CPU, PLAN

WORKER = """
import pickle, sys
import torch, torch.distributed as dist
from rayae.training import fit
place, rank, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
plan, train, held_out, checkpoint, last = pickle.loads(sys.stdin.buffer.read())
if workers > 1:
    dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=workers)

class Enough(Exception):
    pass

kept = []
def keep(told):
    kept.append(told.make_checkpoint())
    if len(told.history) == last:
        raise Enough

try:
    fit(plan, train, held_out, device=torch.device("cpu"), checkpoint=checkpoint, after_epoch=keep)
except Enough:
    pass
open(f"{place}/{rank}", "wb").write(pickle.dumps(kept[-1]))
"""
TRAIN, HELD_OUT = pictures(24), pictures(7, seed=1)
WHOLE = replace(PLAN, batch_size=24, epochs=6, loss=Weights(l2=1.0))


def train(folder, plan, workers, checkpoint=None, last=None, held_out=7):
    """The last checkpoint of so many processes that train together, until epoch `last` when there is one."""
    folder.mkdir()
    whole = Share(np.arange(len(TRAIN)), np.arange(held_out))
    started = []
    for rank in range(workers):
        mine = whole.of(rank, workers)
        command = [sys.executable, "-c", WORKER, str(folder), str(rank), str(workers)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        started[-1].stdin.write(pickle.dumps((plan, TRAIN[mine.train], HELD_OUT[mine.validation], checkpoint, last)))
        started[-1].stdin.close()
    assert [process.wait(240) for process in started] == [0] * workers
    return pickle.loads((folder / "0").read_bytes())


def curve(checkpoint):
    """Of each epoch, what is told of learning."""
    names = ("train_loss", "validation_loss", "train_error", "validation_error", "learning_rate")
    return [[getattr(epoch, name) for name in names] for epoch in reached(checkpoint).history]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The curve of one process."""
    return curve(train(tmp_path_factory.mktemp("alone") / "1", WHOLE, 1))


def test_with_all_pictures_in_each_step_the_curve_is_that_of_one_process(alone, tmp_path):
    found = curve(train(tmp_path / "three", WHOLE, 3))
    np.testing.assert_allclose(np.array(found)[:, [0, 1, 3, 4]], np.array(alone)[:, [0, 1, 3, 4]], rtol=1e-4)


def test_a_training_that_goes_on_with_more_and_then_fewer_workers_keeps_the_curve(alone, tmp_path):
    first = train(tmp_path / "one", WHOLE, 1, last=2)
    second = train(tmp_path / "three", WHOLE, 3, first, last=4)
    third = train(tmp_path / "two", WHOLE, 2, second)
    assert [epoch.workers for epoch in reached(third).history] == [1, 1, 3, 3, 2, 2]
    np.testing.assert_allclose(np.array(curve(third))[:, [0, 1, 3, 4]], np.array(alone)[:, [0, 1, 3, 4]], rtol=1e-4)


def test_with_several_steps_an_epoch_the_pictures_of_a_step_differ_and_the_curve_stays_near(tmp_path):
    steps = replace(WHOLE, batch_size=8)
    one, two = (np.array(curve(train(tmp_path / str(workers), steps, workers))) for workers in (1, 2))
    np.testing.assert_allclose(two[:, 4], one[:, 4])
    np.testing.assert_allclose(two[:, 1], one[:, 1], rtol=0.08)  # apart by 1 to 4 % with the seeds 0 to 3
    assert not np.allclose(two[:, 0], one[:, 0], rtol=1e-4)


def test_fewer_held_out_pictures_than_workers_are_looked_at_and_counted_once_each(tmp_path):
    short = replace(WHOLE, epochs=2)
    one, three = (reached(train(tmp_path / str(workers), short, workers, held_out=2)) for workers in (1, 3))
    errors = [[epoch.validation_error for epoch in progress.history] for progress in (one, three)]
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-4)
    assert one.outcome.trial["images"] == three.outcome.trial["images"] == 2


def test_the_best_loss_is_measured_anew_by_another_number_of_workers():
    """Others pose the held-out pictures otherwise: a loss that they reached would be compared with none of its like."""
    kept = []

    def keep(told):
        kept.append(told.make_checkpoint())

    plan = replace(WHOLE, epochs=3)
    fit(plan, TRAIN, HELD_OUT, device=CPU, after_epoch=keep)
    begun = Training.begin(plan, CPU, len(TRAIN), None, False)
    progress = checkpoints.restore(kept[1], begun.detector, begun.optimizer)
    progress.history[-1] = replace(progress.history[-1], workers=3)
    progress.best_loss = 0.0
    others = checkpoints.make(begun.detector, begun.optimizer, progress)
    ended = fit(plan, TRAIN, HELD_OUT, device=CPU, checkpoint=others)
    undisturbed = reached(kept[-1])
    assert ended.best_loss == pytest.approx(undisturbed.best_loss, rel=1e-6)
    assert ended.best_epoch == undisturbed.best_epoch
    assert [e.train_loss for e in ended.history] == pytest.approx([e.train_loss for e in undisturbed.history], rel=1e-6)
