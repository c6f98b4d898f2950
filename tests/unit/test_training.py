"""The epoch loop without Ray: it learns, repeats itself, resumes exactly, and ends where all workers end."""

import io
import math
import pickle
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from rayae import autoencoder
from rayae.errors import TrainingError
from rayae.training import Epoch, TrainingPlan, fit, learning_rate, result_of
from tests.unit.small_things import NETWORK, pictures

CPU = torch.device("cpu")
TRAIN, HELD_OUT = pictures(24), pictures(6, seed=1)
PLAN = TrainingPlan(
    network=NETWORK,
    epochs=4,
    batch_size=8,
    patience=10,
    seed=0,
    precision="float32",
    learning_rate=3e-3,
    weight_decay=1e-4,
    gradient_clip=1.0,
    ssim_weight=0.5,
)


def plan(**changed):
    return replace(PLAN, **changed)


def train(a_plan, pixels=TRAIN, held_out=HELD_OUT, **more):
    return fit(a_plan, pixels, held_out, device=CPU, **more)


def train_and_keep(a_plan, **more):
    """The result, and the checkpoint of each epoch."""
    kept = []
    result = train(a_plan, after_epoch=lambda history, make: kept.append((len(history), make())), **more)
    return result, dict(kept)


def losses(result):
    return [(epoch.epoch, epoch.train_loss, epoch.validation_loss, epoch.learning_rate) for epoch in result.history]


def refusal(*arguments, **more):
    with pytest.raises(TrainingError) as refused:
        train(*arguments, **more)
    return str(refused.value)


@pytest.fixture(scope="module")
def undisturbed():
    return {precision: train_and_keep(plan(precision=precision)) for precision in ("float32", "bf16")}


def test_it_learns_a_few_pictures_by_heart():
    result = train(plan(epochs=40, learning_rate=1e-2, ssim_weight=0.0), TRAIN[:4], TRAIN[:4])
    mean_picture = ((TRAIN[:4] - TRAIN[:4].mean(0)) / 255.0).__pow__(2).mean()
    assert result.history[-1].validation_loss < mean_picture / 4
    assert result.history[-1].train_loss < result.history[0].train_loss / 10


def test_each_epoch_is_told(undisturbed):
    result, _ = undisturbed["float32"]
    assert [epoch.epoch for epoch in result.history] == [1, 2, 3, 4]
    assert all(epoch.seconds > 0 and epoch.images_per_second > 0 for epoch in result.history)
    assert all(math.isfinite(epoch.train_loss + epoch.validation_loss) for epoch in result.history)


def test_the_weights_that_come_back_are_those_of_the_best_epoch(undisturbed):
    _, checkpoints = undisturbed["float32"]
    for result in map(result_of, checkpoints.values()):
        best = min(result.history, key=lambda epoch: epoch.validation_loss)
        state = torch.load(io.BytesIO(checkpoints[best.epoch]), weights_only=True)["network"]
        weights = safetensors.torch.load(result.weights)
        assert result.best_epoch == best.epoch
        assert all(torch.equal(weights[name], value) for name, value in state.items())


def test_the_held_out_loss_is_that_of_the_network_on_these_pictures(undisturbed):
    from rayae.losses import reconstruction_loss
    from rayae.scorer import as_images

    result, _ = undisturbed["float32"]
    images = as_images(torch.from_numpy(HELD_OUT))
    with torch.inference_mode():
        made = autoencoder.load(NETWORK, result.weights)(images)
    wanted = reconstruction_loss(images, made, 0.5).item()
    assert result.history[result.best_epoch - 1].validation_loss == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_same_seed_gives_the_same_weights_and_another_others(undisturbed, precision):
    first, _ = undisturbed[precision]
    again = train(plan(precision=precision))
    assert again.weights == first.weights
    assert losses(again) == losses(first)
    assert train(plan(precision=precision, seed=1)).weights != first.weights


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("epochs_done", [1, 3])
def test_resumed_from_any_epoch_it_ends_with_exactly_the_same_weights(undisturbed, precision, epochs_done):
    whole, checkpoints = undisturbed[precision]
    torch.rand(7)  # what else happened to the generator in between must not matter
    resumed, later = train_and_keep(plan(precision=precision), checkpoint=checkpoints[epochs_done])
    assert resumed.weights == whole.weights
    assert losses(resumed) == losses(whole)
    assert list(later) == list(range(epochs_done + 1, 5))
    ends = [torch.load(io.BytesIO(kept[4]), weights_only=True)["network"] for kept in (later, checkpoints)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_resumed_after_the_last_epoch_it_does_nothing_and_gives_the_result(undisturbed):
    whole, checkpoints = undisturbed["float32"]
    resumed, later = train_and_keep(PLAN, checkpoint=checkpoints[4])
    assert later == {}
    assert resumed == whole == result_of(checkpoints[4])


def test_a_checkpoint_loads_without_running_code(undisturbed):
    for checkpoint in undisturbed["bf16"][1].values():
        state = torch.load(io.BytesIO(checkpoint), weights_only=True)
        assert set(state) == {"network", "optimizer", "progress"}


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    hostile = io.BytesIO()
    torch.save({"network": Hostile()}, hostile)
    with pytest.raises(TrainingError, match="the checkpoint to go on from is damaged"):
        train(PLAN, checkpoint=hostile.getvalue())
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_network_is_refused(undisturbed):
    _, checkpoints = undisturbed["float32"]
    assert refusal(plan(network=NETWORK | {"latent": 5}), checkpoint=checkpoints[1]) == (
        "the checkpoint to go on from is of another network (Error(s) in loading state_dict for "
        "ConvolutionalAutoencoder); give the training a new `out=`."
    )


def test_it_stops_when_the_held_out_loss_has_not_fallen_for_so_many_epochs():
    result = train(plan(epochs=50, patience=3, learning_rate=1e-9, weight_decay=0.0))
    found = [epoch.validation_loss for epoch in result.history]
    assert len(found) < 50
    assert result.best_epoch == len(found) - 3
    assert min(found) == found[result.best_epoch - 1]
    assert all(loss >= min(found) for loss in found[-3:])


def test_an_early_stop_is_the_same_after_a_resume():
    stopping = plan(epochs=50, patience=2, learning_rate=1e-9, weight_decay=0.0)
    whole, checkpoints = train_and_keep(stopping)
    for epochs_done in (1, whole.best_epoch + 1, len(checkpoints)):
        resumed = train(stopping, checkpoint=checkpoints[epochs_done])
        assert losses(resumed) == losses(whole)
        assert resumed.best_epoch == whole.best_epoch


@pytest.mark.parametrize("rate", [1e30, float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_with_a_sentence(rate):
    told = refusal(plan(learning_rate=rate, gradient_clip=1e30))
    assert re.fullmatch(
        r"the loss is (nan|inf) in epoch [12]: training diverged\. "
        r"Lower `optimizer\.learning_rate` or try `precision=float32`, with a new `out=`\.",
        told,
    )


def test_fewer_images_than_a_batch_are_one_step():
    result = train(plan(batch_size=64), TRAIN[:5])
    assert [epoch.learning_rate for epoch in result.history] == [learning_rate(PLAN, done / 4) for done in range(4)]


def test_one_image_is_enough_to_run():
    assert len(train(plan(batch_size=64), TRAIN[:1], HELD_OUT[:1]).history) == 4


def test_images_over_the_last_whole_batch_sit_out_an_epoch_but_not_always_the_same():
    few = [train(plan(epochs=epochs, seed=0), TRAIN[:9]).history[-1].train_loss for epochs in (1, 2)]
    assert few[0] != few[1]


@pytest.mark.parametrize("batch_size", [1, 5, 6, 100])
def test_the_held_out_loss_counts_each_image_once_whatever_the_batch(batch_size):
    found = train(plan(epochs=1, learning_rate=1e-12, batch_size=batch_size)).history[0].validation_loss
    alone = [
        train(plan(epochs=1, learning_rate=1e-12), held_out=HELD_OUT[n : n + 1]).history[0].validation_loss
        for n in range(6)
    ]
    assert found == pytest.approx(np.mean(alone), rel=1e-5)


def test_nothing_to_train_on_is_told():
    words = "there is no image to train on for each of the 1 worker(s); give more images."
    assert refusal(PLAN, TRAIN[:0]) == words


def test_nothing_to_hold_out_is_told():
    words = "there is no image to hold out, and nothing else says when to stop; give more images."
    assert refusal(PLAN, TRAIN, HELD_OUT[:0]) == words


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    rates = [learning_rate(PLAN, done) for done in np.linspace(0, 1, 1001)]
    peak = int(np.argmax(rates))
    assert peak == 50
    assert rates[peak] == pytest.approx(3e-3)
    assert 0 < rates[0] < 3e-3 / 20
    assert np.all(np.diff(rates[1 : peak + 1]) > 0)
    assert np.all(np.diff(rates[peak:]) < 0)
    np.testing.assert_allclose(np.diff(rates[1 : peak + 1]), 3e-3 / 50, rtol=1e-9)
    assert rates[525] == pytest.approx(1.5e-3)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_the_learning_rate_that_is_told_is_that_of_the_last_step():
    told = [epoch.learning_rate for epoch in train(PLAN).history]
    assert told == [learning_rate(PLAN, (3 * epoch - 1) / 12) for epoch in (1, 2, 3, 4)]


def test_the_loss_is_fetched_from_the_device_once_an_epoch_and_not_each_step(monkeypatch):
    fetched = []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda values: fetched.append(values.shape) or tolist(values))
    monkeypatch.setattr(torch.Tensor, "__float__", lambda values: pytest.fail("a step waits for the device"))
    train(plan(epochs=2, batch_size=2))
    assert len(fetched) == 2 + 2 * 2


def test_pixels_are_not_changed_by_training():
    before = TRAIN.copy()
    train(plan(epochs=1))
    np.testing.assert_array_equal(TRAIN, before)


def test_a_colour_picture_that_is_not_square_can_be_learnt():
    network = NETWORK | {"channels": 3, "height": 32, "width": 48}
    pixels = np.random.default_rng(0).integers(0, 255, (6, 32, 48, 3), np.uint8)
    assert len(train(plan(network=network, precision="bf16"), pixels, pixels).history) == 4


WORKER = """
import pickle, sys
import torch, torch.distributed as dist
from rayae.training import fit
from rayae.errors import RayaeError
place, rank, jobs = sys.argv[1], int(sys.argv[2]), pickle.loads(sys.stdin.buffer.read())
dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
found = []
for plan, train, held_out in jobs:
    kept = []
    try:
        result = fit(plan, train[rank], held_out[rank], device=torch.device("cpu"),
                     after_epoch=lambda history, make: kept.append(make()))
    except RayaeError as error:
        result = str(error)
    found.append((result, kept))
open(f"{place}/{rank}", "wb").write(pickle.dumps(found))
dist.destroy_process_group()
"""
SEVEN = pictures(7, seed=1)
JOBS = {
    "shared": (plan(batch_size=24, ssim_weight=0.0), (TRAIN[0::2], TRAIN[1::2]), (SEVEN[0::2], SEVEN[1::2])),
    "stopping": (
        plan(epochs=30, patience=2, learning_rate=1e-9, weight_decay=0.0),
        (TRAIN[:8], TRAIN[8:16]),
        (HELD_OUT[:1], HELD_OUT[:0]),
    ),
    "unequal": (PLAN, (TRAIN[:8], TRAIN[8:11]), (HELD_OUT, HELD_OUT)),
    "nothing": (PLAN, (TRAIN[:8], TRAIN[:8]), (HELD_OUT[:0], HELD_OUT[:0])),
}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """For each job what `fit` gives, and its checkpoints, in each of two processes that train together."""
    folder = tmp_path_factory.mktemp("workers")
    jobs = pickle.dumps(list(JOBS.values()))
    command = [sys.executable, "-c", WORKER, str(folder)]
    workers = [subprocess.Popen([*command, str(rank)], stdin=subprocess.PIPE) for rank in (0, 1)]
    for worker in workers:
        worker.stdin.write(jobs)
        worker.stdin.close()
    assert [worker.wait(60) for worker in workers] == [0, 0]
    found = [pickle.loads((folder / str(rank)).read_bytes()) for rank in (0, 1)]
    return dict(zip(JOBS, zip(*found, strict=True), strict=True))


def test_two_workers_end_at_the_same_epoch_with_the_same_weights(two_workers):
    (first, kept), (second, others) = two_workers["shared"]
    assert first.weights == second.weights
    assert losses(first) == losses(second)
    assert first.best_epoch == second.best_epoch
    for pair in zip(kept, others, strict=True):
        one, other = (torch.load(io.BytesIO(checkpoint), weights_only=True)["network"] for checkpoint in pair)
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_two_workers_learn_what_one_process_learns_from_all_the_pictures(two_workers):
    """With a step an epoch; of the seven held-out pictures one worker has four and the other three."""
    (first, _), _ = two_workers["shared"]
    alone = train(JOBS["shared"][0], held_out=SEVEN)
    for one, other in zip(losses(first), losses(alone), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_two_workers_stop_early_together_though_only_one_has_anything_held_out(two_workers):
    (first, _), (second, _) = two_workers["stopping"]
    assert losses(first) == losses(second)
    assert first.best_epoch == second.best_epoch == len(first.history) - 2 < 28


def test_workers_with_unequal_shares_are_refused_on_both_instead_of_waiting_for_ever(two_workers):
    words = "one worker holds 3 images to train on and another 8; each needs the same number."
    assert [result for result, _ in two_workers["unequal"]] == [words, words]


def test_with_nothing_held_out_anywhere_both_workers_are_told(two_workers):
    words = "there is no image to hold out, and nothing else says when to stop; give more images."
    assert [result for result, _ in two_workers["nothing"]] == [words, words]


def test_what_is_told_of_an_epoch_fits_into_json(undisturbed):
    result, _ = undisturbed["float32"]
    assert [Epoch(**asdict(epoch)) for epoch in result.history] == result.history
    assert all(type(value) in (int, float) for epoch in result.history for value in asdict(epoch).values())
