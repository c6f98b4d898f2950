"""The discriminative head: what it sees, what it gives, and that it learns to tell a defect."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional

from rayae.errors import BundleError
from rayae.networks import head, weights
from tests.unit.small_things import pictures

SPEC = {"channels": 1, "base_width": 8}


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 32, 32), (3, 80, 48)])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_head_gives_float32_logits_at_half_the_size(channels, height, width, bf16):
    network = head.build({"channels": channels, "base_width": 8})
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits, features = network(torch.rand(2, 3 * channels, height, width))
    assert (logits.shape, logits.dtype) == ((2, 1, height // 2, width // 2), torch.float32)
    sizes = [(16, height // 2**halvings, width // 2**halvings) for halvings in (2, 3, 4)]
    assert [tuple(one.shape[1:]) for one in features] == sizes


def test_it_sees_the_picture_the_reconstruction_and_four_times_how_they_differ():
    images, made = torch.rand(2, 3, 16, 32), torch.rand(2, 3, 16, 32)
    seen = head.compared(images, made).numpy()
    np.testing.assert_array_equal(seen[:, :3], images)
    np.testing.assert_array_equal(seen[:, 3:6], made)
    np.testing.assert_allclose(seen[:, 6:], 4 * np.abs(images.numpy() - made.numpy()), atol=1e-6)


def test_gradients_reach_every_parameter_and_the_reconstruction():
    network, made = head.build(SPEC), torch.rand(2, 1, 32, 32, requires_grad=True)
    logits, _ = network(head.compared(torch.rand(2, 1, 32, 32), made))
    logits.square().mean().backward()
    assert all(value.grad.any() for value in network.parameters())
    assert made.grad.any()


def test_a_picture_has_the_same_logits_beside_others():
    network, views = head.build(SPEC).eval(), torch.rand(5, 3, 32, 32)
    torch.testing.assert_close(network(views)[0][2:3], network(views[2:3])[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("network", "width"), [(8, 8), (16, 8), (24, 8), (32, 16), (40, 16), (64, 32)])
def test_a_head_is_half_as_wide_as_its_network_in_steps_of_eight(network, width):
    spec = head.spec_beside({"kind": "unet", "channels": 3, "height": 32, "width": 32, "base_width": network})
    assert spec == {"channels": 3, "base_width": width}
    head.build(spec)


@pytest.mark.parametrize(("key", "value"), [("channels", 0), ("base_width", 12), ("base_width", None), ("height", 32)])
def test_a_head_that_cannot_be_built_is_refused(key, value):
    wrong = SPEC | {key: value}
    words = f"the head {wrong} cannot be built: this rayae does not take its {key}."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        head.build(wrong)


def test_its_weights_come_back_exactly_and_no_others_do():
    torch.manual_seed(0)
    first, second = head.build(SPEC), head.build(SPEC)
    weights.fill(second, weights.save(first), "the head")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    with pytest.raises(BundleError, match=r"^the weights do not fit the head: .*\.$"):
        weights.fill(second, weights.save(head.build(SPEC | {"channels": 3})), "the head")


def test_it_learns_to_tell_a_defect_that_the_reconstruction_lacks():
    torch.manual_seed(0)
    whole = torch.from_numpy(pictures(32)).permute(0, 3, 1, 2).float() / 255
    places, damaged = torch.zeros_like(whole), whole.clone()
    for number in range(16):
        y, x = 2 * (number % 11), 2 * (number * 7 % 11)
        places[number, :, y : y + 8, x : x + 8] = 1
    damaged = torch.where(places > 0, 1 - whole, whole)
    views, wanted = head.compared(damaged, whole), functional.max_pool2d(places, 2)
    network = head.build(SPEC)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(network(views)[0], wanted).backward()
        optimizer.step()
    found = network(views)[0].amax((1, 2, 3))
    assert found[:16].min() > found[16:].max()
