"""The model as a whole: what its specs may be, that its weights come back, and what limits its scores."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from rayae import detector
from rayae.detector import KEYS, Detector
from rayae.errors import BundleError, ConfigError
from rayae.networks import weights
from rayae.networks.custom import CustomNetwork
from rayae.pixels import as_images
from rayae.score_names import SCORE_NAMES
from rayae.scores import (
    COMBINED,
    COMPONENT_SCORES,
    HEAD_SCORES,
    LATENT_SCORES,
    NEAREST_SCORES,
    PICTURE_SCORES,
    PLACE_SCORES,
    TEXTURE_SCORES,
    Gaussian,
    Region,
    Standard,
)
from rayae.tasks import TASKS
from tests.unit.small_things import DETECTOR, NETWORK, SIDE, pictures

CPU = torch.device("cpu")
HEAD = {"channels": 1, "base_width": 8}
STANDARD = {"names": ["mse", "ssim_worst1"], "centre": [-6.0, -3.0], "spread": [0.5, 0.25], "is_log": [True, True]}
PLACES = {"features": 96, "rows": 8, "columns": 8}
"""Of a network of base width 8: 16 and 32 features, and thrice 16 of the head."""
WHOLE = {
    "task": "repair",
    "head": HEAD,
    "latent": 4,
    "places": PLACES,
    "components": 3,
    "textures": 4,
    "nearest": 5,
    "region": True,
    "standard": STANDARD,
}
CORNER = np.zeros((SIDE, SIDE), np.uint8)
CORNER[:16, :16] = 255
CORNER[15, :16] = 51


def images(count=3, seed=0):
    return as_images(torch.from_numpy(pictures(count, seed)))


def whole_detector():
    """A detector with all parts and random weights, the statistics included."""
    torch.manual_seed(0)
    made = detector.build(NETWORK, WHOLE)
    made.gaussian = Gaussian.fit(np.random.default_rng(0).normal(size=(50, 4)))
    made.look_at(torch.from_numpy(CORNER))
    return made.eval()


@torch.inference_mode()
def scores_of(model, given):
    return model.measure(given, model.look(given), model.score_names())


def refusal(network, spec):
    with pytest.raises(BundleError) as refused:
        detector.build(network, spec)
    return str(refused.value)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (DETECTOR, PICTURE_SCORES),
        (DETECTOR | {"task": "repair", "head": HEAD}, (*PICTURE_SCORES, *HEAD_SCORES)),
        (DETECTOR | {"latent": 4}, (*PICTURE_SCORES, *LATENT_SCORES)),
        (DETECTOR | {"places": PLACES | {"features": 48}}, (*PICTURE_SCORES, *PLACE_SCORES)),
        (DETECTOR | {"components": 3}, (*PICTURE_SCORES, *COMPONENT_SCORES)),
        (DETECTOR | {"textures": 3}, (*PICTURE_SCORES, *TEXTURE_SCORES)),
        (DETECTOR | {"nearest": 3}, (*PICTURE_SCORES, *NEAREST_SCORES)),
        (DETECTOR | {"standard": STANDARD}, (*PICTURE_SCORES, COMBINED)),
        (WHOLE, SCORE_NAMES),
    ],
)
def test_it_measures_the_scores_that_its_parts_allow(spec, names):
    model = detector.build(NETWORK, spec).eval()
    if spec["region"]:
        model.look_at(torch.from_numpy(CORNER))
    assert detector.score_names(spec) == model.score_names() == names
    found = scores_of(model, images())
    assert tuple(found) == names
    assert all(value.shape == (3,) and value.dtype == torch.float32 for value in found.values())


def test_weights_come_back_with_region_and_statistics():
    model, given = whole_detector(), images()
    again = detector.load(NETWORK, json.loads(json.dumps(model.spec())), weights.save(model)).eval()
    assert again.spec() == model.spec() == WHOLE
    state = again.state_dict()
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    before, after = scores_of(model, given), scores_of(again, given)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_on_a_device_it_keeps_its_region_and_its_scores():
    model, given = whole_detector(), images()
    before = scores_of(model, given)
    moved = detector.on_device(model, CPU)
    assert torch.equal(moved.region.weights, torch.from_numpy(CORNER).float() / 255)
    for name, value in scores_of(moved, given).items():
        torch.testing.assert_close(value, before[name], atol=1e-5, rtol=1e-4)


def test_a_region_limits_the_scores_of_pictures_and_head():
    model, given = whole_detector(), images()
    seen = model.look(given)
    elsewhere = seen._replace(pictures=seen.pictures.clone(), logits=seen.logits.clone())
    elsewhere.pictures[:, :, 20:, 20:] = 1 - elsewhere.pictures[:, :, 20:, 20:].round()
    elsewhere.logits[:, :, 10:, 10:] = 50
    inside = seen._replace(pictures=seen.pictures.clone())
    inside.pictures[:, :, 8:12, 8:12] = 1 - given[:, :, 8:12, 8:12].round()
    names = (*PICTURE_SCORES, *HEAD_SCORES)
    before = model.measure(given, seen, names)
    assert all(torch.equal(value, before[name]) for name, value in model.measure(given, elsewhere, names).items())
    assert (model.measure(given, inside, ["mse_worst1"])["mse_worst1"] > before["mse_worst1"]).all()


@pytest.mark.parametrize("task", TASKS)
def test_what_is_outside_the_region_is_not_seen_and_changes_no_score(task):
    model, given = whole_detector(), images()
    model.task = task
    elsewhere = given.clone()
    elsewhere[:, :, 16:] = 1 - given[:, :, 16:]
    before = scores_of(model, given)
    assert all(torch.equal(value, before[name]) for name, value in scores_of(model, elsewhere).items())
    elsewhere[:, :, 3, 3] = 1 - given[:, :, 3, 3].round()
    inside = scores_of(model, elsewhere)
    assert not any(torch.equal(inside[name], before[name]) for name in ("mse", "head_max", "latent_distance"))


def test_the_weight_of_a_pixel_of_the_region_is_its_value_over_255():
    model = whole_detector()
    assert torch.equal(model.region.weights, Region.of(torch.from_numpy(CORNER) / 255).weights)
    assert model.region.weights[15, 0] == pytest.approx(0.2)
    assert torch.equal(model.where_to_look, model.region.weights)


class Sharpened(nn.Module):
    """A network whose every pixel depends on its neighbours and most of all on itself."""

    def forward(self, given):
        return (2 * given - nn.functional.avg_pool2d(given, 3, 1, 1)).sin()


@pytest.mark.parametrize(("task", "sees_itself"), [("inpaint", False), ("copy", True)])
def test_what_inpaints_predicts_a_pixel_without_seeing_it(task, sees_itself):
    model = Detector(CustomNetwork(Sharpened(), "tests:Sharpened"), DETECTOR | {"task": task}, 1, SIDE, SIDE).eval()
    given = images(1)
    before = model.look(given).pictures
    for row, column in ((0, 0), (13, 20), (31, 31)):
        changed = given.clone()
        changed[0, 0, row, column] = 1 - changed[0, 0, row, column].round()
        after = model.look(changed).pictures
        assert (after[0, 0, row, column] != before[0, 0, row, column]) == sees_itself
        assert not torch.equal(after, before)


@pytest.mark.parametrize("task", TASKS)
def test_a_pass_gives_float32_pictures_latents_and_logits(task):
    model = detector.build(NETWORK, DETECTOR | {"task": task, "head": HEAD}).eval()
    seen = model.look(images())
    assert (seen.pictures.shape, seen.latent.shape, seen.divergence) == ((3, 1, SIDE, SIDE), (3, 4), None)
    assert seen.logits.shape == (3, 1, SIDE // 2, SIDE // 2)
    assert {seen.pictures.dtype, seen.latent.dtype, seen.logits.dtype} == {torch.float32}


def test_the_head_teaches_the_network_nothing():
    model = detector.build(NETWORK, DETECTOR | {"task": "repair", "head": HEAD})
    model(images()).logits.sum().backward()
    assert all(value.grad is None for value in model.network.parameters())
    assert all(value.grad is not None for value in model.head.parameters())


@pytest.mark.parametrize("task", ["paint", None, ["copy"], {}], ids=str)
def test_a_spec_with_another_task_is_refused(task):
    assert refusal(NETWORK, DETECTOR | {"task": task}) == (
        f"the detector cannot be built: its task is {task!r}, and not one of copy, denoise, inpaint, repair."
    )


def test_a_spec_with_another_part_is_refused_by_the_name_of_the_part():
    words = "the detector cannot be built: this rayae knows no 'author' of a detector."
    assert refusal(NETWORK, DETECTOR | {"author": "me"}) == words


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_spec_that_lacks_a_part_is_refused_by_the_name_of_the_part(key):
    spec = {name: value for name, value in DETECTOR.items() if name != key}
    assert refusal(NETWORK, spec) == f"the detector cannot be built: its {key} is missing."


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"latent": -1}, "latent"),
        ({"nearest": 0, "textures": "3"}, "textures, nearest"),
        ({"places": {"features": 8, "rows": 0, "columns": 4}}, "places.rows"),
    ],
    ids=str,
)
def test_a_part_that_is_wrong_is_named_and_no_other(changed, named):
    words = f"the detector cannot be built: this rayae does not take its {named}."
    assert refusal(NETWORK, DETECTOR | changed) == words


@pytest.mark.parametrize(
    "changed",
    [
        {"latent": 0}, {"latent": -1}, {"latent": 1.5}, {"latent": "4"}, {"latent": [4]}, {"latent": True},
        {"latent": 10**12}, {"components": 0}, {"components": "3"}, {"textures": 0}, {"nearest": 0}, {"nearest": True},
        {"standard": 3}, {"standard": []}, {"standard": {}},
        {"standard": STANDARD | {"spread": [0.0, 0.0]}}, {"standard": STANDARD | {"names": ["mse", "lpips"]}},
        {"standard": STANDARD | {"names": ["mse", "head_max"], "is_log": [True, False]}},
        {"standard": STANDARD | {"names": ["mse", "latent_distance"], "is_log": [True, False]}},
        {"head": 5}, {"head": []}, {"head": {}}, {"head": HEAD | {"base_width": 7}}, {"head": HEAD | {"run": "code"}},
        {"head": HEAD | {"channels": 3}}, {"region": "yes"}, {"region": None}, {"region": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_hostile_spec_is_refused_in_a_sentence(changed):
    told = refusal(NETWORK, DETECTOR | changed)
    assert re.fullmatch(r"the (detector|head \{.*\}) cannot be built: .*\.", told)


@pytest.mark.parametrize("network", [{}, {"kind": "os.system"}, NETWORK | {"height": 33}, NETWORK | {"width": "32"}])
def test_a_network_that_cannot_be_built_is_refused(network):
    assert refusal(network, DETECTOR).startswith("the network ")


@pytest.mark.parametrize(
    "changed",
    [
        {"latent": None},
        {"latent": 5},
        {"components": 2},
        {"components": None},
        {"textures": 3},
        {"textures": None},
        {"nearest": 4},
        {"nearest": None},
        {"head": None},
        {"region": False},
    ],
    ids=str,
)
def test_weights_of_another_spec_are_refused(changed):
    with pytest.raises(BundleError, match=r"^the weights do not fit the network \{.*\}: .*\.$"):
        detector.load(NETWORK, WHOLE | changed, weights.save(whole_detector()))


def test_weights_that_are_none_are_refused():
    with pytest.raises(BundleError, match=r"^the weights do not fit the network "):
        detector.load(NETWORK, DETECTOR, b"\x80\x04no weights")


def test_weights_whose_region_is_empty_are_refused():
    model = whole_detector()
    model.region_weights = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    words = (
        "the region of the detector cannot be used: A region has one weight a pixel, in [0, 1], but none is above 0 "
        "further than 5 pixels from the border; draw it again."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        detector.load(NETWORK, WHOLE, weights.save(model))


def test_a_region_that_leaves_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"^A region has one weight a pixel"):
        whole_detector().look_at(torch.zeros(SIDE, SIDE, dtype=torch.uint8))


def test_a_standard_comes_back_as_it_was():
    model = detector.build(NETWORK, WHOLE)
    assert model.standard == Standard.from_dict(STANDARD)
    assert model.spec()["standard"] == STANDARD


def test_the_error_map_of_a_region_shows_nothing_of_what_is_outside():
    model = detector.build(NETWORK, DETECTOR | {"region": True})
    mask = torch.zeros(32, 32, dtype=torch.uint8)
    mask[:16] = 255
    model.look_at(mask)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    again = images.clone()
    again[:, :, 16:] = 1 - again[:, :, 16:]
    assert model.error_map(images, again).max() == 0
    again[:, :, 5, 7] = 1 - images[:, :, 5, 7]
    assert model.error_map(images, again)[:, 5, 7].min() > 0
