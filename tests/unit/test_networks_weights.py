"""The weights: saved without a pickle, loaded only where they fit."""

import json
import re

import pytest
import safetensors.torch
import torch

from rayae.errors import BundleError
from rayae.networks import KINDS, build, weights
from tests.unit.small_things import NETWORK, small_weights

CPU = torch.device("cpu")


def spec_of(kind):
    return {"kind": kind, "channels": 1, "height": 32, "width": 32, "base_width": 8}


@pytest.mark.parametrize("kind", KINDS)
def test_saved_weights_come_back_exactly_whatever_their_layout(kind):
    torch.manual_seed(1)
    network = weights.on_device(build(spec_of(kind)), CPU).eval()
    loaded = weights.load(spec_of(kind), weights.save(network)).eval()
    images = torch.rand(3, 1, 32, 32)
    assert network.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(network(images).pictures, loaded(images).pictures, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_weights_are_the_same_bytes(kind):
    made = [small_weights(seed, spec_of(kind)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_weights_are_safetensors_and_no_pickle():
    saved = small_weights()
    header = json.loads(saved[8 : 8 + int.from_bytes(saved[:8], "little")])
    assert {entry["dtype"] for entry in header.values()} == {"F32"}


def test_saving_leaves_the_network_as_it_is():
    network = build(NETWORK)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights.save(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "other",
    [b"", b"no weights", small_weights()[:-8], small_weights(network=NETWORK | {"latent": 5}),
     small_weights(network=spec_of("unet")), safetensors.torch.save({"other": torch.zeros(1)})],
    ids=["empty", "text", "cut", "another latent", "another kind", "another network"],
)  # fmt: skip
def test_weights_of_something_else_are_refused_in_one_line(other):
    with pytest.raises(BundleError) as refused:
        weights.load(NETWORK, other)
    assert re.fullmatch(r"the weights do not fit the network \{.*\}: [^\n]+\.", str(refused.value))
