"""What training minimises, on pictures whose loss is known by hand, and against numpy and scipy in float64."""

import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.special import expit

from rayae.errors import ConfigError
from rayae.losses import Weights, head_loss, reconstruction_loss
from rayae.scores import Region, measure

A, B = torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)
ALL = Weights(l1=0.3, l2=0.7, ssim=0.5, gradient=0.2)
TERMS = {name: Weights(**{name: 1.0}) for name in ("l1", "l2", "ssim", "gradient")}
terms = pytest.mark.parametrize("weights", TERMS.values(), ids=TERMS.keys())


def loss(a, b, weights, **more):
    return reconstruction_loss(a, b, weights, **more).item()


@terms
def test_equal_pictures_have_no_loss(weights):
    assert loss(A, A, weights) == 0


def test_flat_pictures_have_the_errors_of_their_difference():
    dark, bright = torch.full((2, 3, 32, 32), 0.2), torch.full((2, 3, 32, 32), 0.5)
    assert loss(dark, bright, TERMS["l1"]) == pytest.approx(0.3)
    assert loss(dark, bright, TERMS["l2"]) == pytest.approx(0.09)
    assert loss(dark, bright, TERMS["gradient"]) == 0


def test_each_term_is_the_mean_of_its_score():
    scores = measure(A, B)
    of_terms = {"l1": "mae", "l2": "mse", "ssim": "ssim_error", "gradient": "gradient_mean"}
    for name, score in of_terms.items():
        assert loss(A, B, TERMS[name]) == pytest.approx(scores[score].mean().item(), rel=1e-6)


def test_the_loss_is_the_weighted_sum_of_its_terms():
    parts = {name: loss(A, B, weights) for name, weights in TERMS.items()}
    wanted = 0.3 * parts["l1"] + 0.7 * parts["l2"] + 0.5 * parts["ssim"] + 0.2 * parts["gradient"]
    assert loss(A, B, ALL) == pytest.approx(wanted, rel=1e-6)


def test_the_divergence_counts_in_nats_a_pixel_and_channel():
    divergence = torch.tensor([0.0, 32.0, 64.0, 32.0])
    without = loss(A, B, TERMS["l2"])
    assert loss(A, B, Weights(l2=1, kl=0.5), divergence=divergence) == pytest.approx(without + 0.5 * 32 / 1024)
    colour = A.expand(-1, 3, -1, -1)
    assert loss(colour, colour, Weights(l2=1, kl=1), divergence=divergence) == pytest.approx(32 / 3072)


def test_a_network_without_a_divergence_has_no_such_term():
    assert loss(A, B, Weights(l2=1, kl=1)) == loss(A, B, TERMS["l2"])


@pytest.mark.parametrize(("name", "power"), [("l1", 1), ("l2", 2)])
def test_errors_in_a_place_count_more(name, power):
    places = (torch.rand(4, 1, 32, 32) > 0.8).float()
    a, b = torch.rand(2, 4, 3, 32, 32)
    errors = np.abs(a.double().numpy() - b.double().numpy()) ** power
    for more in (4.0, 0.0, 9.0):
        wanted = (errors * (1 + more * places.double().numpy())).mean()
        assert loss(a, b, TERMS[name], places=places, place_weight=more) == pytest.approx(wanted, rel=1e-5)
    assert loss(a, b, TERMS[name], places=places) == loss(a, b, TERMS[name], places=places, place_weight=4.0)


@terms
def test_in_a_region_what_is_outside_has_no_part_and_gets_no_gradient(weights):
    mask = torch.zeros(32, 32)
    mask[8:24, 6:20] = torch.rand(16, 14) + 0.01
    mask.clamp_(max=1)
    region, outside = Region.of(mask), (mask == 0).expand_as(A)
    made = B.clone().requires_grad_()
    before = reconstruction_loss(A, made, weights, region=region)
    before.backward()
    assert loss(A.masked_fill(outside, 1), B.masked_fill(outside, 0), weights, region=region) == before.item()
    assert (made.grad[outside] == 0).all()
    assert (made.grad[~outside] != 0).float().mean() > 0.9


@terms
def test_a_region_of_everything_changes_nothing(weights):
    assert loss(A, B, weights, region=Region.of(torch.ones(32, 32))) == pytest.approx(loss(A, B, weights), abs=1e-7)


def test_in_a_region_a_pixel_counts_as_it_weighs():
    mask = torch.rand(32, 32).clamp(min=0.1)
    wanted = np.average((A - B).abs().double().mean((0, 1)).numpy(), weights=mask.double().numpy())
    assert loss(A, B, TERMS["l1"], region=Region.of(mask)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("weights", [*TERMS.values(), ALL])
def test_going_down_its_gradient_brings_a_picture_nearer(weights):
    made = B.clone().requires_grad_()
    before = reconstruction_loss(A, made, weights)
    before.backward()
    after = reconstruction_loss(A, B - 0.1 * made.grad / made.grad.abs().max(), weights)
    assert after < before


@pytest.mark.parametrize("a", [A, torch.ones(2, 1, 32, 32), torch.zeros(2, 3, 32, 32)], ids=["equal", "white", "black"])
def test_where_pictures_are_equal_the_gradient_is_finite(a):
    made = a.clone().requires_grad_()
    reconstruction_loss(a, made, ALL).backward()
    assert made.grad.isfinite().all()


def test_its_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 1, 14, 15).double()
    places, region = (torch.rand(2, 1, 14, 15) > 0.5).double(), Region.of(torch.rand(14, 15).double())
    divergence = torch.rand(2).double().requires_grad_()

    def whole(made, nats):
        weights = Weights(0.3, 0.7, 0.5, 0.2, 0.1)
        return reconstruction_loss(a, made, weights, divergence=nats, places=places, region=region)

    assert torch.autograd.gradcheck(whole, (b.requires_grad_(), divergence))


@pytest.mark.parametrize("name", [field.name for field in fields(Weights)])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_weight_below_zero_or_not_finite_is_refused(name, value):
    words = f"The weight {name} of the loss is {value}; set it to 0 or more."
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        Weights(**{"l2": 1.0, name: value})


@pytest.mark.parametrize("given", [{}, {"kl": 1.0}])
def test_a_loss_that_looks_at_no_picture_is_refused(given):
    words = "All weights of the loss but kl are 0; set one of l1, l2, ssim and gradient above 0."
    with pytest.raises(ConfigError, match=f"^{words}$"):
        Weights(**given)


def reference_head_loss(logits, truth):
    p = expit(logits)
    true = np.where(truth == 1, p, 1 - p)
    focal = ((1 - true) ** 2 * -np.log(true)).mean()
    dice = 1 - (2 * (p * truth).sum() + 1) / ((p**2).sum() + (truth**2).sum() + 1)
    return 5 * focal + 0.3 * dice


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_the_loss_of_the_head_is_that_of_the_papers(share):
    random = np.random.default_rng(0)
    logits, places = random.normal(0, 3, (3, 1, 16, 24)), np.float32(random.uniform(size=(3, 1, 32, 48)) < share)
    truth = places.reshape(3, 1, 16, 2, 24, 2).max((3, 5))
    found = head_loss(torch.from_numpy(logits).float(), torch.from_numpy(places)).item()
    assert found == pytest.approx(reference_head_loss(logits, truth), rel=1e-5)


def test_a_head_that_is_sure_and_right_has_no_loss_and_one_that_is_wrong_a_finite_one():
    places = torch.zeros(2, 1, 32, 32)
    places[0, :, 4:12, 8:20] = 1
    right = 200 * (2 * torch.nn.functional.max_pool2d(places, 2) - 1)
    assert head_loss(right, places).item() == pytest.approx(0, abs=1e-6)
    wrong = (-right).requires_grad_()
    found = head_loss(wrong, places)
    found.backward()
    assert found.item() == pytest.approx(5 * 200 + 0.3, rel=1e-2)
    assert wrong.grad.isfinite().all()
    assert (wrong.grad * right < 0).all()


def test_a_batch_without_a_place_teaches_to_be_silent():
    logits = torch.zeros(2, 1, 16, 16, requires_grad=True)
    head_loss(logits, torch.zeros(2, 1, 32, 32)).backward()
    assert (logits.grad > 0).all()


def test_the_gradient_of_the_loss_of_the_head_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits, places = torch.randn(2, 1, 4, 6).double().requires_grad_(), (torch.rand(2, 1, 8, 12) > 0.7).double()
    assert torch.autograd.gradcheck(lambda made: head_loss(made, places), logits)
