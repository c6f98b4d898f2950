"""Gradient magnitude similarity, against scipy's Prewitt filters and the formula as it is printed, in float64."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, prewitt

from rayae.scores import gradient_errors, measure
from tests.unit.test_scores import as_batch, pairs, random


def halved(grey):
    """Means of 2 x 2 pixels, or of those that are there."""
    height, width = (side + side % 2 for side in grey.shape)
    wide = np.full((height, width), np.nan)
    wide[: grey.shape[0], : grey.shape[1]] = grey
    return np.nanmean(wide.reshape(height // 2, 2, width // 2, 2), axis=(1, 3))


def similarity(a, b):
    of_a, of_b = (np.hypot(prewitt(x, 0, mode="nearest") / 3, prewitt(x, 1, mode="nearest") / 3) for x in (a, b))
    c = 170 / 255**2
    return (2 * of_a * of_b + c) / (of_a**2 + of_b**2 + c)


def reference(a, b):
    a, b = (np.float32(x).astype(np.float64).mean(0) for x in (a, b))
    height, width = a.shape
    maps = []
    for size in (1, 2, 4):
        maps.append(np.kron(1 - similarity(a, b), np.ones((size, size)))[:height, :width])
        a, b = halved(a), halved(b)
    return np.mean(maps, axis=0)


@pairs
def test_the_errors_of_gradients_are_those_of_scipy(a, b):
    found = gradient_errors(as_batch(a), as_batch(b))
    assert found.shape == (1, 1, *a.shape[1:])
    np.testing.assert_allclose(found[0, 0], reference(a, b), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(33, 47), (34, 45), (32, 35)])
def test_sides_need_be_no_multiples_of_four(shape):
    a, b = (np.random.default_rng(seed).uniform(size=(1, *shape)) for seed in (0, 1))
    np.testing.assert_allclose(gradient_errors(as_batch(a), as_batch(b))[0, 0], reference(a, b), atol=1e-6)


@pairs
def test_the_scores_are_the_mean_and_the_highest_after_smoothing(a, b):
    found = measure(as_batch(a), as_batch(b))
    wanted = reference(a, b)
    assert found["gradient_mean"].item() == pytest.approx(wanted.mean(), rel=1e-4, abs=1e-7)
    smoothed = gaussian_filter(wanted, 2.0, mode="mirror", radius=6)
    assert found["gradient_max"].item() == pytest.approx(smoothed.max(), rel=1e-4, abs=1e-7)


@pairs
def test_errors_are_between_0_and_1_and_the_same_both_ways(a, b):
    there, back = gradient_errors(as_batch(a), as_batch(b)), gradient_errors(as_batch(b), as_batch(a))
    assert there.min() >= 0
    assert there.max() <= 1
    torch.testing.assert_close(there, back, atol=1e-7, rtol=0)


def test_another_brightness_is_no_error_and_a_scratch_is():
    a = random(0, 0.2, 0.4)
    scratched = a.copy()
    scratched[0, 20, 10:50] = 1
    np.testing.assert_allclose(gradient_errors(as_batch(a), as_batch(a + 0.5)), 0, atol=1e-8)
    found = gradient_errors(as_batch(a), as_batch(scratched))[0, 0]
    assert found[18:23, 12:48].mean() > 0.3
    assert found[:16].max() == found[28:].max() == 0


def test_it_can_be_trained_on_where_pictures_are_equal_or_flat():
    for a, other in ((torch.rand(2, 3, 32, 32), 0.0), (torch.ones(2, 3, 32, 32), 0.0), (torch.ones(2, 3, 32, 32), 0.5)):
        b = (a - other).requires_grad_()
        gradient_errors(a, b).mean().backward()
        assert b.grad.isfinite().all()
        assert b.grad.abs().max() < 1e-4


def test_its_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 9, 10).double(), torch.rand(2, 2, 9, 10).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda made: gradient_errors(a, made), b)
