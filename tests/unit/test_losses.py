"""What training minimises, on pictures whose loss is known by hand."""

import pytest
import torch

from rayae.losses import reconstruction_loss
from rayae.scores import ssim_error

A, B = torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)


def test_equal_pictures_have_no_loss():
    assert reconstruction_loss(A, A, 0.5).item() == 0


def test_without_ssim_it_is_the_squared_error():
    dark, bright = torch.full((2, 1, 32, 32), 0.2), torch.full((2, 1, 32, 32), 0.5)
    assert reconstruction_loss(dark, bright, 0.0).item() == pytest.approx(0.09)


def test_with_ssim_alone_it_is_the_mean_of_the_ssim_error():
    assert reconstruction_loss(A, B, 1.0).item() == pytest.approx(ssim_error(A, B).mean().item())


def test_the_weight_mixes_the_two():
    squared, structure = (reconstruction_loss(A, B, weight).item() for weight in (0.0, 1.0))
    assert reconstruction_loss(A, B, 0.25).item() == pytest.approx(0.75 * squared + 0.25 * structure)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_going_down_its_gradient_brings_a_picture_nearer(weight):
    made = B.clone().requires_grad_()
    before = reconstruction_loss(A, made, weight)
    before.backward()
    after = reconstruction_loss(A, B - 0.1 * made.grad / made.grad.abs().max(), weight)
    assert after < before
