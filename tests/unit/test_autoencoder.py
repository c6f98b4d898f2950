"""The networks: built from a spec, saved without a pickle, loaded only where the weights fit."""

import json
import re

import pytest
import safetensors.torch
import torch

from rayae import autoencoder
from rayae.errors import BundleError
from tests.unit.small_things import NETWORK, small_weights


def spec(**changed):
    return NETWORK | changed


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 32, 32), (3, 32, 48), (1, 64, 16)])
def test_a_network_gives_pictures_of_the_shape_it_takes(channels, height, width):
    network = autoencoder.build(spec(channels=channels, height=height, width=width))
    made = network(torch.rand(2, channels, height, width))
    assert made.shape == (2, channels, height, width)
    assert made.dtype == torch.float32
    assert 0 <= made.min() <= made.max() <= 1


def test_under_bf16_the_last_step_is_float32():
    network = autoencoder.build(NETWORK)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(2, 1, 32, 32)).dtype == torch.float32


def test_saved_weights_come_back_exactly_whatever_their_layout():
    torch.manual_seed(1)
    network = autoencoder.on_device(autoencoder.build(NETWORK), torch.device("cpu"))
    loaded = autoencoder.load(NETWORK, autoencoder.save(network))
    images = torch.rand(3, 1, 32, 32)
    assert network.state_dict().keys() == loaded.state_dict().keys()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in network.state_dict().items())
    torch.testing.assert_close(network(images), loaded(images), atol=1e-6, rtol=0)


def test_the_same_weights_are_the_same_bytes():
    assert small_weights(1) == small_weights(1) != small_weights(2)


def test_weights_are_safetensors_and_no_pickle():
    weights = small_weights()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    assert {entry["dtype"] for entry in header.values()} == {"F32"}


@pytest.mark.parametrize("kind", ["__import__('os').system", "torch.nn.Linear", "rayae.autoencoder:build", None, 3])
def test_a_kind_that_this_version_does_not_know_is_refused_and_nothing_is_run(kind):
    words = f"the network kind {kind!r} is unknown to this rayae; it knows 'convolutional'."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        autoencoder.build(spec(kind=kind))


@pytest.mark.parametrize(
    ("key", "value"),
    [("latent", 0), ("latent", None), ("latent", 4.0), ("channels", "1"), ("base_width", 12), ("height", 40),
     ("width", -32), ("latent", True), ("dropout", 0.5)],
)  # fmt: skip
def test_a_spec_that_cannot_be_built_is_refused(key, value):
    wrong = spec(**{key: value})
    words = f"the network {wrong} cannot be built: this rayae does not take its {key}."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        autoencoder.build(wrong)


def test_a_spec_that_lacks_a_size_is_refused():
    with pytest.raises(BundleError, match=r"this rayae does not take its latent\.$"):
        autoencoder.build({key: value for key, value in NETWORK.items() if key != "latent"})


@pytest.mark.parametrize(
    "weights",
    [b"", b"no weights", small_weights()[:-8], small_weights(network=NETWORK | {"latent": 5}),
     safetensors.torch.save({"other": torch.zeros(1)})],
    ids=["empty", "text", "cut", "another latent", "another network"],
)  # fmt: skip
def test_weights_of_something_else_are_refused_in_one_line(weights):
    with pytest.raises(BundleError) as refused:
        autoencoder.load(NETWORK, weights)
    assert re.fullmatch(r"the weights do not fit the network \{.*\}: [^\n]+\.", str(refused.value))
