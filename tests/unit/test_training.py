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

from rayae import detector
from rayae.checkpoints import reached
from rayae.epochs import Epoch
from rayae.errors import ConfigError, TrainingError
from rayae.losses import Weights, reconstruction_loss
from rayae.pixels import as_images
from rayae.scores import HEAD_SCORES, Region
from rayae.training import fit, learning_rate, resolved_precision
from rayae.trial import TO_COMBINE
from tests.unit.small_things import DETECTOR, NETWORK, PLAN, pictures

CPU = torch.device("cpu")
TRAIN, HELD_OUT = pictures(24), pictures(6, seed=1)
END = "end"


def plan(**changed):
    return replace(PLAN, **changed)


def train(a_plan, pixels=TRAIN, held_out=HELD_OUT, **more):
    return fit(a_plan, pixels, held_out, device=CPU, **more)


def train_and_keep(a_plan, **more):
    """The progress, and the checkpoint of each epoch and of the end."""
    kept = {}

    def keep(told):
        checkpoint = told.make_checkpoint()
        kept[len(told.history) if reached(checkpoint).outcome is None else END] = checkpoint

    progress = train(a_plan, after_epoch=keep, **more)
    return progress, kept


def losses(progress):
    return [(epoch.epoch, epoch.train_loss, epoch.validation_loss, epoch.learning_rate) for epoch in progress.history]


def weights_in(checkpoint):
    return torch.load(io.BytesIO(checkpoint), weights_only=True)["model"]


def refusal(*arguments, **more):
    with pytest.raises(TrainingError) as refused:
        train(*arguments, **more)
    return str(refused.value)


@pytest.fixture(scope="module")
def undisturbed():
    return {precision: train_and_keep(plan(precision=precision)) for precision in ("float32", "bf16")}


def test_it_learns_a_few_pictures_by_heart():
    progress = train(plan(epochs=40, learning_rate=1e-2, loss=Weights(l2=1.0)), TRAIN[:4], TRAIN[:4])
    mean_picture = ((TRAIN[:4] - TRAIN[:4].mean(0)) / 255.0).__pow__(2).mean()
    assert progress.history[-1].validation_loss < mean_picture / 4
    assert progress.history[-1].train_loss < progress.history[0].train_loss / 10


def test_each_epoch_is_told(undisturbed):
    progress, _ = undisturbed["float32"]
    assert [epoch.epoch for epoch in progress.history] == [1, 2, 3, 4]
    assert all(epoch.seconds > 0 and epoch.images_per_second > 0 for epoch in progress.history)
    assert all(0 <= epoch.wait_seconds <= epoch.seconds + 0.02 for epoch in progress.history)  # rounded
    assert all(math.isfinite(value) for epoch in progress.history for value in asdict(epoch).values())


def test_it_is_told_once_an_epoch_and_once_more_at_the_end():
    told = []
    train(PLAN, after_epoch=lambda one: told.append((len(one.history), reached(one.make_checkpoint()).outcome is None)))
    assert told == [(1, True), (2, True), (3, True), (4, True), (4, False)]


def test_the_weights_that_come_back_are_those_of_the_best_epoch(undisturbed):
    whole, checkpoints = undisturbed["float32"]
    for number, checkpoint in checkpoints.items():
        progress = reached(checkpoint)
        best = min(progress.history, key=lambda epoch: epoch.validation_loss)
        assert progress.best_epoch == best.epoch
        assert progress.best_loss == best.validation_loss
        found = safetensors.torch.load(progress.best if number != END else whole.outcome.weights)
        assert all(torch.equal(found[name], value) for name, value in weights_in(checkpoints[best.epoch]).items())


def test_the_outcome_is_a_detector_that_measures_what_its_spec_says(undisturbed):
    outcome = undisturbed["float32"][0].outcome
    model = detector.load(NETWORK, outcome.detector, outcome.weights).eval()
    assert model.spec() == outcome.detector
    assert (outcome.detector["latent"], outcome.precision) == (NETWORK["latent"], "float32")
    images = as_images(torch.from_numpy(HELD_OUT))
    with torch.inference_mode():
        found = model.measure(images, model.look(images), model.score_names())
    assert set(found) == set(model.score_names()) == set(outcome.trial["auroc"])
    assert all(values.isfinite().all() for values in found.values())
    assert outcome.trial["images"] == len(HELD_OUT)


def test_the_held_out_loss_is_that_of_the_network_on_these_pictures(undisturbed):
    progress, _ = undisturbed["float32"]
    images, outcome = as_images(torch.from_numpy(HELD_OUT)), progress.outcome
    with torch.inference_mode():
        made = detector.load(NETWORK, outcome.detector, outcome.weights).eval()(images).pictures
    wanted = reconstruction_loss(images, made, Weights(l2=0.5, ssim=0.5)).item()
    epoch = progress.history[progress.best_epoch - 1]
    assert epoch.validation_loss == pytest.approx(wanted, abs=1e-6)
    assert epoch.validation_error == pytest.approx((made - images).square().mean().item(), abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_same_seed_gives_the_same_weights_and_another_others(undisturbed, precision):
    first, _ = undisturbed[precision]
    again = train(plan(precision=precision))
    assert again.outcome == first.outcome
    assert losses(again) == losses(first)
    assert train(plan(precision=precision, seed=1)).best != first.best


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("epochs_done", [1, 3])
def test_resumed_from_any_epoch_it_ends_with_exactly_the_same_weights(undisturbed, precision, epochs_done):
    whole, checkpoints = undisturbed[precision]
    torch.rand(7)  # what else happened to the generator in between must not matter
    resumed, later = train_and_keep(plan(precision=precision), checkpoint=checkpoints[epochs_done])
    assert resumed.outcome == whole.outcome
    assert losses(resumed) == losses(whole)
    assert list(later) == [*range(epochs_done + 1, 5), END]
    ends = [weights_in(kept[4]) for kept in (later, checkpoints)]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_resumed_between_the_last_epoch_and_the_end_it_does_the_end_alone(undisturbed):
    whole, checkpoints = undisturbed["float32"]
    resumed, later = train_and_keep(PLAN, checkpoint=checkpoints[4])
    assert list(later) == [END]
    assert resumed == whole


def test_resumed_after_the_end_it_does_nothing_and_gives_the_outcome(undisturbed):
    whole, checkpoints = undisturbed["float32"]
    resumed, later = train_and_keep(PLAN, checkpoint=checkpoints[END])
    assert later == {}
    assert resumed == whole == reached(checkpoints[END])


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    hostile = io.BytesIO()
    torch.save({"model": Hostile()}, hostile)
    with pytest.raises(TrainingError, match="the checkpoint to go on from is damaged"):
        train(PLAN, checkpoint=hostile.getvalue())
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_another_network_is_refused(undisturbed):
    _, checkpoints = undisturbed["float32"]
    assert refusal(plan(network=NETWORK | {"latent": 5}), checkpoint=checkpoints[1]) == (
        "the checkpoint to go on from is of another network (Error(s) in loading state_dict for "
        "Detector); give the training a new `out=`."
    )


def test_it_stops_when_the_held_out_loss_has_not_fallen_for_so_many_epochs():
    progress = train(plan(epochs=50, patience=3, learning_rate=1e-9, weight_decay=0.0))
    found = [epoch.validation_loss for epoch in progress.history]
    assert len(found) < 50
    assert progress.best_epoch == len(found) - 3
    assert min(found) == found[progress.best_epoch - 1]
    assert all(loss >= min(found) for loss in found[-3:])


def test_an_early_stop_is_the_same_after_a_resume():
    stopping = plan(epochs=50, patience=2, learning_rate=1e-9, weight_decay=0.0)
    whole, checkpoints = train_and_keep(stopping)
    for epochs_done in (1, whole.best_epoch + 1, len(whole.history), END):
        resumed = train(stopping, checkpoint=checkpoints[epochs_done])
        assert losses(resumed) == losses(whole)
        assert resumed.best_epoch == whole.best_epoch


def test_after_an_early_stop_the_outcome_has_the_weights_of_the_best_epoch_and_not_of_the_last():
    dark = TRAIN // 4
    progress, checkpoints = train_and_keep(plan(patience=2), pixels=dark, held_out=255 - dark[:4])
    best, last = (weights_in(checkpoints[epoch]) for epoch in (progress.best_epoch, len(progress.history)))
    assert progress.best_epoch == len(progress.history) - 2
    found = safetensors.torch.load(progress.outcome.weights)
    assert all(torch.equal(found[name], value) for name, value in best.items())
    assert not all(torch.equal(found[name], value) for name, value in last.items())


@pytest.mark.parametrize("rate", [1e30, float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_with_a_sentence(rate):
    told = refusal(plan(learning_rate=rate, gradient_clip=1e30))
    assert re.fullmatch(
        r"the loss is (nan|inf) in epoch [12]: training diverged\. "
        r"Lower `optimizer\.learning_rate` or try `precision=float32`, with a new `out=`\.",
        told,
    )


def test_fewer_images_than_a_batch_are_one_step():
    progress = train(plan(batch_size=64), TRAIN[:5])
    assert [epoch.learning_rate for epoch in progress.history] == [learning_rate(PLAN, done / 4) for done in range(4)]


def test_one_image_is_enough_to_run():
    assert len(train(plan(batch_size=64), TRAIN[:1], HELD_OUT[:1]).history) == 4


def test_images_over_the_last_whole_batch_sit_out_an_epoch_but_not_always_the_same():
    rate = plan(epochs=2, learning_rate=1e-12)
    first, second = (epoch.train_loss for epoch in train(rate, TRAIN[:9]).history)
    assert first != pytest.approx(second, rel=1e-3)


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
    fetched, marks = [], []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda values: fetched.append(values.shape) or tolist(values))
    monkeypatch.setattr(torch.Tensor, "__float__", lambda values: pytest.fail("a step waits for the device"))
    train(plan(epochs=2, batch_size=2), after_epoch=lambda told: marks.append(len(fetched)))
    assert marks[:2] == [2 + 3, 2 + 3 * 2]  # the shares; then an epoch's steps, held-out pictures and those trained on


def test_pixels_are_not_changed_by_training():
    before = TRAIN.copy()
    train(plan(epochs=1))
    np.testing.assert_array_equal(TRAIN, before)


def test_a_colour_picture_that_is_not_square_can_be_learnt():
    network = NETWORK | {"channels": 3, "height": 32, "width": 48}
    pixels = np.random.default_rng(0).integers(0, 255, (6, 32, 48, 3), np.uint8)
    assert len(train(plan(network=network, precision="bf16"), pixels, pixels).history) == 4


@pytest.mark.parametrize("batch_size", [8, 7])
def test_a_batch_in_parts_teaches_what_it_teaches_whole(batch_size):
    whole, parts = (train(plan(accumulation=count, batch_size=batch_size, epochs=2)) for count in (1, 4))
    assert losses(parts) == [pytest.approx(one, rel=1e-4) for one in losses(whole)]
    weights = safetensors.torch.load(whole.best)
    for name, value in safetensors.torch.load(parts.best).items():
        torch.testing.assert_close(value, weights[name], atol=2e-4, rtol=1e-3)


def test_more_parts_than_images_are_parts_of_one_image():
    asked = plan(batch_size=2, epochs=1)
    assert losses(train(replace(asked, accumulation=64))) == losses(train(replace(asked, accumulation=2)))


def test_scoring_goes_back_to_float32_where_bf16_moves_scores(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr("rayae.training.rounded_off", lambda *_, **__: {"mse": 0.01, "place_mean": 0.3})
    assert train(plan(precision="auto", epochs=1)).outcome.precision == "float32"
    assert train(plan(precision="bf16", epochs=1)).outcome.precision == "bf16"
    exact = train(plan(precision="float32", epochs=1)).outcome
    assert train(plan(precision="auto", epochs=1)).outcome.trial.keys() == exact.trial.keys()


def test_automatic_precision_is_bf16_where_the_device_multiplies_in_it(monkeypatch):
    for multiplies, precision in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=multiplies: found)
        assert resolved_precision("auto", CPU) == precision
        assert [resolved_precision(asked, CPU) for asked in ("bf16", "float32")] == ["bf16", "float32"]
        assert train(plan(precision="auto", epochs=1)).outcome.precision == precision


def test_a_region_that_is_no_region_is_refused():
    with pytest.raises(ConfigError, match=r"^A region has one weight a pixel"):
        train(plan(detector=DETECTOR | {"region": True}), region=np.zeros((32, 32), np.uint8))


def test_in_a_region_the_loss_is_that_of_the_region():
    region = np.zeros((32, 32), np.uint8)
    region[4:28, 4:28] = 255
    region[4, 4:28] = 51
    progress = train(plan(detector=DETECTOR | {"region": True}), region=region)
    model = detector.load(NETWORK, progress.outcome.detector, progress.outcome.weights).eval()
    assert torch.equal(model.region_weights, torch.from_numpy(region))
    images, weights = as_images(torch.from_numpy(HELD_OUT)), torch.from_numpy(region) / 255
    with torch.inference_mode():
        made = model(images).pictures
    wanted = reconstruction_loss(images, made, PLAN.loss, region=Region.of(weights)).item()
    assert progress.best_loss == pytest.approx(wanted, abs=1e-6)
    assert wanted != pytest.approx(reconstruction_loss(images, made, PLAN.loss).item(), rel=1e-3)
    error = ((images - made).square() * weights).mean((1, 2, 3)) / weights.mean()
    assert progress.history[progress.best_epoch - 1].validation_error == pytest.approx(error.mean().item(), abs=1e-6)


def test_a_network_that_learns_what_is_inside_a_region_has_not_collapsed_whatever_is_around_it():
    region = np.zeros((32, 32), np.uint8)
    region[8:24, 8:24] = 255
    around = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 1), dtype=np.uint8)
    pixels = np.where(region[..., None] > 0, np.concatenate([TRAIN, HELD_OUT]), around)
    asked = plan(detector=DETECTOR | {"region": True}, epochs=60, learning_rate=1e-2, loss=Weights(l2=1.0))
    trial = train(asked, pixels[:24], pixels[24:], region=region).outcome.trial
    assert trial["variance_explained"] > 0.9
    assert trial["variance_kept"] > 0.8


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
                     after_epoch=lambda told: kept.append(told.make_checkpoint()))
    except RayaeError as error:
        result = str(error)
    found.append((result, kept))
open(f"{place}/{rank}", "wb").write(pickle.dumps(found))
dist.destroy_process_group()
"""
SEVEN = pictures(7, seed=1)
UNET = {"kind": "unet", "channels": 1, "height": 32, "width": 32, "base_width": 8}
REPAIR = {"task": "repair", "head": {"channels": 1, "base_width": 8}}
JOBS = {
    "shared": (plan(batch_size=24, loss=Weights(l2=1.0)), (TRAIN[0::2], TRAIN[1::2]), (SEVEN[0::2], SEVEN[1::2])),
    "stopping": (
        plan(epochs=30, patience=2, learning_rate=1e-9, weight_decay=0.0),
        (TRAIN[:8], TRAIN[8:16]),
        (HELD_OUT[:1], HELD_OUT[:0]),
    ),
    "parts": (
        plan(accumulation=3, epochs=2, network=UNET, detector=DETECTOR | REPAIR),
        (TRAIN[0::2], TRAIN[1::2]),
        (SEVEN[0::2], SEVEN[1::2]),
    ),
    "diverging": (plan(learning_rate=1e9), (TRAIN[0::2], TRAIN[1::2]), (HELD_OUT[:3], HELD_OUT[3:])),
    "diverging for one": (
        plan(learning_rate=1e9, batch_size=4),
        (TRAIN[:2], np.zeros_like(TRAIN[:2])),
        (HELD_OUT[:3], HELD_OUT[:0]),
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
    assert [worker.wait(240) for worker in workers] == [0, 0]
    found = [pickle.loads((folder / str(rank)).read_bytes()) for rank in (0, 1)]
    return dict(zip(JOBS, zip(*found, strict=True), strict=True))


@pytest.mark.parametrize("job", ["shared", "stopping", "parts"])
def test_two_workers_end_at_the_same_epoch_with_the_same_outcome(two_workers, job):
    (first, kept), (second, others) = two_workers[job]
    assert losses(first) == losses(second)
    assert first.best_epoch == second.best_epoch
    assert first.outcome == second.outcome
    assert first.outcome.trial["images"] == sum(len(share) for share in JOBS[job][2])
    for pair in zip(kept[:-1], others[:-1], strict=True):
        one, other = map(weights_in, pair)
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_two_workers_learn_what_one_process_learns_from_all_the_pictures(two_workers):
    """With a step an epoch; of the seven held-out pictures one worker has four and the other three."""
    (first, _), _ = two_workers["shared"]
    alone = train(JOBS["shared"][0], held_out=SEVEN)
    for one, other in zip(losses(first), losses(alone), strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    standards = [progress.outcome.detector["standard"] for progress in (first, alone)]
    assert standards[0]["names"] == standards[1]["names"] == [name for name in TO_COMBINE if name not in HEAD_SCORES]
    for field in ("centre", "spread"):
        assert standards[0][field] == pytest.approx(standards[1][field], rel=0.02)


def test_two_workers_stop_early_together_though_only_one_has_anything_held_out(two_workers):
    (first, _), _ = two_workers["stopping"]
    assert first.best_epoch == len(first.history) - 2 < 28


@pytest.mark.parametrize("job", ["diverging", "diverging for one"])
def test_two_workers_that_diverge_both_end_with_the_sentence(two_workers, job):
    (first, kept), (second, _) = two_workers[job]
    assert first == second
    assert re.fullmatch(
        r"the loss is (nan|inf) in epoch \d+: training diverged\. Lower `optimizer\.learning_rate` or try "
        r"`precision=float32`, with a new `out=`\.",
        first,
    )
    for checkpoint in kept:
        assert all(math.isfinite(epoch.train_loss) for epoch in reached(checkpoint).history)


def test_workers_with_unequal_shares_are_refused_on_both_instead_of_waiting_for_ever(two_workers):
    words = "one worker holds 3 images to train on and another 8; each needs the same number."
    assert [told for told, _ in two_workers["unequal"]] == [words, words]


def test_with_nothing_held_out_anywhere_both_workers_are_told(two_workers):
    words = "there is no image to hold out, and nothing else says when to stop; give more images."
    assert [told for told, _ in two_workers["nothing"]] == [words, words]


def test_what_is_told_of_an_epoch_fits_into_json(undisturbed):
    progress, _ = undisturbed["float32"]
    assert [Epoch(**asdict(epoch)) for epoch in progress.history] == progress.history
    assert all(type(value) in (int, float) for epoch in progress.history for value in asdict(epoch).values())
