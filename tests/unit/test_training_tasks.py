"""Every task with every kind of network: it trains, it ends with a detector, and a resumed one ends with the same."""

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from rayae import detector, training
from rayae.augmentation import Augmentation
from rayae.checkpoints import reached
from rayae.losses import Weights, head_loss, reconstruction_loss
from rayae.networks import KINDS
from rayae.pixels import as_images
from rayae.scores import COMBINED, HEAD_SCORES
from rayae.tasks import TASKS, posed
from rayae.training import fit, seeded
from tests.unit.small_things import DETECTOR, PLAN, SIDE, pictures

TRAIN, HELD_OUT = pictures(16), pictures(6, seed=1)
REGION = np.zeros((SIDE, SIDE), np.uint8)
REGION[6:26, 4:20] = 255
REGION[6:26, 20:22] = 100
SPEC = {"channels": 1, "height": SIDE, "width": SIDE, "base_width": 8}
MANY_SIDED = {
    "epochs": 2,
    "loss": Weights(l1=1.0, l2=2.0, ssim=0.5, gradient=0.1, kl=0.005),
    "augmentation": Augmentation(flip_horizontal=True, shift=2, brightness=0.05, contrast=0.1, noise=0.02),
}
"""All losses and all augmentation, for two epochs."""


def plan(task, kind, **changed):
    head = {"channels": 1, "base_width": 8} if task == "repair" else None
    detector_spec = DETECTOR | {"task": task, "head": head}
    return replace(PLAN, network=SPEC | {"kind": kind}, detector=detector_spec, **MANY_SIDED | changed)


def train(a_plan, **more):
    return fit(a_plan, TRAIN, HELD_OUT, device=torch.device("cpu"), **more)


def losses(progress):
    return [(epoch.epoch, epoch.train_loss, epoch.validation_loss, epoch.train_error, epoch.validation_error)
            for epoch in progress.history]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_trained_with_every_kind(task, kind):
    progress = train(plan(task, kind))
    assert all(math.isfinite(value) for epoch in progress.history for value in asdict(epoch).values())
    outcome = progress.outcome
    model = detector.load(SPEC | {"kind": kind}, outcome.detector, outcome.weights).eval()
    images = as_images(torch.from_numpy(HELD_OUT))
    with torch.inference_mode():
        found = model.measure(images, model.look(images), model.score_names())
    assert set(found) == set(outcome.trial["auroc"]) == set(detector.score_names(outcome.detector))
    assert all(values.isfinite().all() for values in found.values())
    assert (set(HEAD_SCORES) <= set(found)) == (task == "repair")
    assert {"latent_distance", COMBINED} <= set(found)


@pytest.mark.parametrize("region", [None, REGION], ids=["whole", "a region"])
@pytest.mark.parametrize(("task", "kind"), [("repair", "unet"), ("inpaint", "unet"), ("copy", "variational")])
def test_the_loss_is_that_of_pictures_places_and_divergence_and_of_the_head_all_in_the_region(task, kind, region):
    asked = plan(task, kind, epochs=1, head_weight=0.5)
    asked = replace(asked, detector=asked.detector | {"region": region is not None})
    progress = train(asked, region=region)
    model = detector.load(asked.network, progress.outcome.detector, progress.outcome.weights).eval()
    images = model.masked(as_images(torch.from_numpy(HELD_OUT)))
    pose = posed(task, images, seeded(asked.seed, 0), where=model.where_to_look)
    with torch.inference_mode():
        seen = model(pose.seen)
        wanted = reconstruction_loss(
            images, seen.pictures, asked.loss, divergence=seen.divergence, places=pose.places, region=model.region
        )
        if task == "repair":
            inside = torch.ones(SIDE, SIDE) if region is None else torch.from_numpy(region) > 0
            wanted = wanted + 0.5 * head_loss(seen.logits, pose.places * inside)
    assert progress.best_loss == pytest.approx(wanted.item(), rel=1e-4)


def surrounded(pixels, seed):
    """The pictures with noise outside the region, of another level in each picture."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, pixels.shape) * random.random((len(pixels), 1, 1, 1))
    return np.where(REGION[..., None] > 0, pixels, noise).astype(np.uint8)


@pytest.mark.parametrize("batch_size", [8, 1])
@pytest.mark.parametrize(("task", "kind"), [*((task, "unet") for task in TASKS), ("copy", "variational")])
def test_what_is_outside_the_region_changes_nothing_of_a_training(task, kind, batch_size):
    asked = plan(task, kind, epochs=1, batch_size=batch_size, augmentation=Augmentation(noise=0.02))
    asked = replace(asked, detector=asked.detector | {"region": True})
    first, other = (
        fit(asked, surrounded(TRAIN, seed), surrounded(HELD_OUT, seed), device=torch.device("cpu"), region=REGION)
        for seed in (1, 2)
    )
    assert losses(first) == losses(other)
    assert first.outcome == other.outcome


@pytest.mark.parametrize(
    ("task", "kind", "precision"),
    [
        ("repair", "unet", "float32"),
        ("repair", "unet", "bf16"),
        ("inpaint", "unet", "float32"),
        ("denoise", "convolutional", "float32"),
        ("repair", "variational", "float32"),
        ("copy", "variational", "bf16"),
    ],
)
def test_resumed_it_ends_with_exactly_the_same_weights_and_losses(task, kind, precision):
    asked, kept = plan(task, kind, epochs=3, precision=precision), []
    whole = train(asked, after_epoch=lambda told: kept.append(told.make_checkpoint()))
    for checkpoint in kept[:2]:
        torch.rand(7)  # what else happened to the generator in between must not matter
        resumed = train(asked, checkpoint=checkpoint)
        assert losses(resumed) == losses(whole)
        assert resumed.best == whole.best
        assert resumed.outcome == whole.outcome == reached(kept[-1]).outcome


@pytest.mark.parametrize("task", ["denoise", "inpaint", "repair"])
def test_each_epoch_poses_its_own_task_and_held_out_pictures_have_the_same_in_all(task):
    still = plan(task, "unet", batch_size=16, learning_rate=1e-12, augmentation=Augmentation())
    alike = np.repeat(TRAIN[:1], 16, axis=0)  # so that their order is none
    first, second = fit(still, alike, HELD_OUT, device=torch.device("cpu")).history
    assert first.train_loss != pytest.approx(second.train_loss, rel=1e-3)
    assert first.validation_loss == pytest.approx(second.validation_loss, rel=1e-5)


def test_telling_of_an_epoch_changes_nothing_of_the_training():
    asked = plan("repair", "variational")
    told = train(asked, after_epoch=lambda told: (told.make_samples(), told.make_checkpoint()))
    assert told.outcome == train(asked).outcome


def test_the_samples_are_the_first_held_out_pictures():
    samples = []
    train(plan("inpaint", "unet", epochs=1), after_epoch=lambda told: samples.append(told.make_samples()))
    for some in samples:
        assert len(some) == 4
        for sample, pixels in zip(some, HELD_OUT, strict=False):
            np.testing.assert_array_equal(sample.pixels, pixels)
            assert sample.reconstruction.shape == pixels.shape


def test_a_network_that_repairs_learns_normal_pictures_and_finds_defects():
    asked = plan("repair", "unet", epochs=15, learning_rate=1e-2, augmentation=Augmentation())
    progress = fit(asked, pictures(48), pictures(12, seed=1), device=torch.device("cpu"))
    assert progress.history[-1].validation_error < progress.history[0].validation_error / 8
    assert progress.outcome.trial["auroc"]["ssim_worst1"] > 0.75


def test_the_weight_of_the_head_and_the_augmentation_have_a_part_in_the_loss():
    first = losses(train(plan("repair", "unet", epochs=1)))
    assert losses(train(plan("repair", "unet", epochs=1, head_weight=2.0))) != first
    assert losses(train(plan("repair", "unet", epochs=1, augmentation=Augmentation()))) != first
    assert losses(train(plan("repair", "unet", epochs=1))) == first


def test_a_worker_with_one_picture_a_step_has_another_to_paste_from(monkeypatch):
    given = []

    def note_and_pose(task, pictures, generator, neighbours, where):
        given.append((pictures, neighbours))
        return posed(task, pictures, generator, neighbours, where)

    monkeypatch.setattr(training, "posed", note_and_pose)
    train(plan("repair", "unet", epochs=1, batch_size=1))
    assert len(given) == len(TRAIN) + 2 * len(HELD_OUT)
    assert not any(torch.allclose(images, neighbours, atol=0.01) for images, neighbours in given)
