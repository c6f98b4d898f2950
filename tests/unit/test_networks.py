"""The networks: built from a spec, one contract for all kinds, and each kind what its paper says."""

import re

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.distributions import Normal, kl_divergence

from rayae.errors import BundleError
from rayae.networks import KINDS, Reconstructed, build
from rayae.networks.variational import divergence_from_standard_normal
from tests.unit.small_things import NETWORK, pictures

SIZES = {"channels": 1, "height": 32, "width": 32, "base_width": 8}
LATENTS = {"convolutional": 8, "variational": 8, "unet": 24 * 8, "linear": 8}
"""Numbers of the latent at a `base_width` of 8, where nobody says how many."""
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
CAN_FORGET = [kind for kind in KINDS if kind != "unet"]


def spec(**changed):
    return NETWORK | changed


def seeded(kind, **changed):
    torch.manual_seed(0)
    return build({"kind": kind, **SIZES, **changed})


@EVERY_KIND
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("channels", "height", "width"), [(1, 32, 32), (3, 32, 48), (1, 80, 32), (3, 48, 112), (1, 16, 64)]
)
def test_a_network_gives_pictures_of_the_shape_it_takes(kind, training, channels, height, width):
    network = seeded(kind, channels=channels, height=height, width=width).train(training)
    made = network(torch.rand(2, channels, height, width))
    assert isinstance(made, Reconstructed)
    assert made.pictures.shape == (2, channels, height, width)
    assert made.latent.shape == (2, LATENTS[kind])
    assert (None if made.divergence is None else made.divergence.shape) == ((2,) if kind == "variational" else None)
    assert {value.dtype for value in made[:3] if value is not None} == {torch.float32}


@EVERY_KIND
def test_features_are_maps_at_a_quarter_and_an_eighth_of_the_size(kind):
    features = seeded(kind, height=48, width=32)(torch.rand(2, 1, 48, 32)).features
    sizes = [] if kind == "linear" else [(2, 12, 8), (2, 6, 4)]
    assert [(len(one), *one.shape[2:]) for one in features] == sizes


@EVERY_KIND
@pytest.mark.parametrize("training", [True, False])
def test_under_bf16_all_that_is_given_is_float32_and_near_to_what_float32_gives(kind, training):
    network = seeded(kind).train(training)
    images = torch.rand(2, 1, 32, 32)
    torch.manual_seed(1)
    exact = network(images)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        made = network(images)
    assert {value.dtype for value in made[:3] if value is not None} == {torch.float32}
    torch.testing.assert_close(made.pictures, exact.pictures, atol=0.05, rtol=0)


def test_the_linear_network_is_in_float32_under_bf16_too():
    network, images = seeded("linear"), torch.rand(2, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        made = network(images)
    assert torch.equal(made.pictures, network(images).pictures)


def test_the_last_step_of_the_unet_is_finer_than_bf16():
    with torch.autocast("cpu", torch.bfloat16):
        made = seeded("unet")(torch.rand(2, 1, 32, 32)).pictures
    assert not torch.equal(made, made.bfloat16().float())


@EVERY_KIND
def test_in_eval_mode_pictures_lie_between_zero_and_one_whatever_the_weights(kind):
    network = seeded(kind).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(30)
        made = network(torch.rand(4, 1, 32, 32)).pictures
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize("kind", ["unet", "linear"])
def test_in_training_mode_a_pixel_beyond_one_still_has_a_gradient(kind):
    network = seeded(kind)
    weight = network.level if kind == "linear" else network.out[0].bias
    with torch.no_grad():
        weight.fill_(3)
    made = network(torch.rand(2, 1, 32, 32)).pictures
    made.mean().backward()
    assert made.min() > 1
    assert weight.grad.abs().min() > 0


@EVERY_KIND
def test_gradients_of_the_pictures_reach_every_parameter(kind):
    network = seeded(kind, channels=3)
    made = network(torch.rand(2, 3, 32, 32))
    (made.pictures - torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()] == []


@EVERY_KIND
def test_in_eval_mode_a_picture_is_the_same_again_and_beside_others(kind):
    network, images = seeded(kind).eval(), torch.rand(7, 1, 32, 32)
    with torch.no_grad():
        first, again, alone = network(images), network(images), network(images[3:4])
    for one, two, three in zip(*([*made[:3], *made.features] for made in (first, again, alone)), strict=True):
        if one is not None:
            assert torch.equal(one, two)
            torch.testing.assert_close(one[3:4], three, atol=1e-5, rtol=1e-5)


@EVERY_KIND
def test_the_layout_of_pictures_in_memory_changes_nothing(kind):
    network, images = seeded(kind, channels=3).eval(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        made, other = network(images), network(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(made.pictures, other.pictures, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", CAN_FORGET)
def test_a_bottleneck_has_the_numbers_that_are_asked_for(kind):
    assert seeded(kind, latent=5)(torch.rand(2, 1, 32, 32)).latent.shape == (2, 5)


@pytest.mark.parametrize("kind", CAN_FORGET)
def test_nothing_but_the_latent_goes_past_the_bottleneck(kind):
    assert ways_through(seeded(kind, height=16, width=16, latent=3).eval()) == 3


def test_past_the_latent_of_the_unet_the_skips_let_more_through_than_it_holds():
    assert ways_through(seeded("unet")) > LATENTS["unet"]


def ways_through(network):
    """The rank of the derivative of the pixels that come out by those that go in, of 16 x 16."""
    derivative = torch.autograd.functional.jacobian(lambda image: network(image).pictures, torch.rand(1, 1, 16, 16))
    return torch.linalg.matrix_rank(derivative.reshape(256, 256).double(), rtol=1e-5)


def test_the_latent_of_the_unet_is_the_mean_and_the_maximum_of_the_features_below_the_first_level():
    network, images = seeded("unet").eval(), torch.rand(2, 1, 32, 48)
    _, features = network.levels(network.stem(images))
    assert [tuple(feature.shape[1:]) for feature in features] == [(8, 16, 24), (16, 8, 12), (32, 4, 6), (48, 2, 3)]
    second, third, fourth = (feature.detach().numpy() for feature in features[1:])
    wanted = [reduced(part, (2, 3)) for part in (second, third, fourth) for reduced in (np.mean, np.max)]
    np.testing.assert_allclose(network(images).latent.detach().numpy(), np.concatenate(wanted, 1), atol=1e-6)


def test_the_unet_learns_to_give_back_what_was_left_out():
    torch.manual_seed(0)
    network = build({"kind": "unet", **SIZES})
    whole = torch.from_numpy(pictures(16)).permute(0, 3, 1, 2).float() / 255
    damaged = whole.clone()
    damaged[:, :, 12:20, 12:20] = 0
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = (network(damaged).pictures - whole).square().mean()
        loss.backward()
        optimizer.step()
    made = network.eval()(damaged).pictures[:, :, 12:20, 12:20]
    hole = whole[:, :, 12:20, 12:20]
    assert (made - hole).square().mean() < (hole.mean() - hole).square().mean() / 10


def test_the_divergence_is_that_of_normal_distributions_in_nats():
    mean, log_variance = torch.randn(6, 4) * 2, torch.randn(6, 4)
    exact = kl_divergence(Normal(mean.double(), (log_variance.double() / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence_from_standard_normal(mean, log_variance).double(), exact, rtol=1e-5, atol=0)
    assert divergence_from_standard_normal(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [0, 0]


def test_a_code_is_drawn_with_its_mean_and_variance_in_training_mode_only():
    network = seeded("variational", latent=2)
    codes, images = [], torch.rand(1, 1, 32, 32).expand(4000, -1, -1, -1)
    network.decoder.register_forward_pre_hook(lambda _, given: codes.append(given[0]))
    with torch.no_grad():
        mean, log_variance = network.encoder(images[:1] - 0.5).chunk(2, 1)
        assert torch.equal(network(images).latent[0], network(images).latent[1])
        network.eval()(images[:1])
    drawn, again, taken = codes
    assert not torch.equal(drawn, again)
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.07, rtol=0)
    torch.testing.assert_close(drawn.std(0), (log_variance[0] / 2).exp(), atol=0.05, rtol=0)
    torch.testing.assert_close(taken, mean, atol=1e-6, rtol=0)


def test_a_variance_beyond_float32_gives_no_infinite_divergence():
    network = seeded("variational", latent=2)
    with torch.no_grad():
        network.encoder[-1].bias[2:] = 1000.0
    made = network(torch.rand(2, 1, 32, 32))
    assert all(value.isfinite().all() for value in made[:3])


@pytest.mark.parametrize(("height", "width", "latent"), [(32, 32, 2), (32, 32, 4), (64, 48, 3)])
def test_the_linear_network_learns_the_principal_components(height, width, latent):
    pixels = pictures(40, side=64)[:, :height, :width]
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    flat = images.flatten(1).double().numpy()
    fitted = PCA(latent, svd_solver="full").fit(flat)
    wanted = ((fitted.inverse_transform(fitted.transform(flat)) - flat) ** 2).mean()
    network = seeded("linear", height=height, width=width, latent=latent)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=300, tolerance_change=0, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        found = (network(images).pictures - images).square().mean()
        found.backward()
        return found

    optimizer.step(loss)
    reached = (network(images).pictures.double() - images).square().mean().item()
    assert wanted * (1 - 1e-4) <= reached < wanted * 1.01


@pytest.mark.parametrize("kind", ["__import__('os').system", "torch.nn.Linear", "os:", ":system", "a:b:c", "U-Net",
                                  "a,b:c", "", None, 3, ["unet"]])  # fmt: skip
def test_a_kind_that_this_version_does_not_know_is_refused_and_nothing_is_run(kind):
    words = (
        f"the network kind {kind!r} is unknown to this rayae; it knows 'convolutional', 'variational', 'unet', "
        "'linear' and networks of your own, 'module:Class'."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        build(spec(kind=kind))


@pytest.mark.parametrize("kind", CAN_FORGET)
@pytest.mark.parametrize(
    ("key", "value"),
    [("latent", 0), ("latent", None), ("latent", 4.0), ("channels", "1"), ("base_width", 12), ("height", 40),
     ("width", -32), ("latent", True), ("dropout", 0.5)],
)  # fmt: skip
def test_a_spec_that_cannot_be_built_is_refused(kind, key, value):
    wrong = spec(kind=kind, **{key: value})
    words = f"the network {wrong} cannot be built: this rayae does not take its {key}."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        build(wrong)


def test_the_unet_takes_no_latent():
    with pytest.raises(BundleError, match=r"this rayae does not take its latent\.$"):
        build(spec(kind="unet"))


@EVERY_KIND
@pytest.mark.parametrize("key", SIZES)
def test_a_spec_that_lacks_a_size_is_refused(kind, key):
    with pytest.raises(BundleError, match=rf"this rayae does not take its {key}\.$"):
        build({"kind": kind, **{other: value for other, value in SIZES.items() if other != key}})
