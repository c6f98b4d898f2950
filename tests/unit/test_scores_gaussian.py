"""Distances to the training latents, against scikit-learn."""

import io

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.covariance import LedoitWolf

from rayae.errors import DataError
from rayae.scores import Gaussian
from rayae.scores.gaussian import shrinkage


def latents(count, size, seed=0, offset=0.0):
    """Correlated, with variances over four orders of magnitude."""
    random = np.random.default_rng(seed)
    mixing = np.linalg.qr(np.random.default_rng(9).normal(size=(size, size)))[0]
    return (random.normal(size=(count, size)) * np.logspace(0, -2, size)) @ mixing + offset


SIZES = [(400, 8), (60, 64), (3000, 96), (20, 128), (50, 1), (2, 5)]


@pytest.mark.parametrize(("count", "size"), SIZES)
def test_the_shrinkage_is_that_of_scikit_learn(count, size):
    values = latents(count, size)
    wanted = LedoitWolf().fit(values).shrinkage_
    if size > 1:  # one variance is its own mean: shrinking changes nothing, so that any share will do
        assert shrinkage(values - values.mean(0)) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("count", "size"), SIZES)
def test_distances_are_the_roots_of_those_of_scikit_learn(count, size):
    train, new = latents(count, size, offset=3.0), latents(50, size, seed=1, offset=3.2)
    found = Gaussian.fit(train)(torch.from_numpy(new).float())
    assert (found.shape, found.dtype) == ((50,), torch.float32)
    wanted = np.sqrt(LedoitWolf().fit(train).mahalanobis(np.float32(new)))
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-4)


def test_a_number_that_never_varies_does_no_harm():
    train = latents(300, 6)
    train[:, 2] = 0
    found = Gaussian.fit(train)(torch.from_numpy(train[:9]).float())
    np.testing.assert_allclose(found, np.sqrt(LedoitWolf().fit(train).mahalanobis(train[:9])), rtol=1e-4)


def test_the_mean_of_the_training_latents_has_no_distance():
    gaussian = Gaussian.fit(latents(99, 7))
    assert gaussian(gaussian.mean[None]).item() == 0


def test_it_comes_out_of_safetensors_as_it_went_in():
    gaussian, new = Gaussian.fit(latents(99, 7)), torch.randn(5, 7)
    again = Gaussian(7)
    kept = io.BytesIO(safetensors.torch.save(gaussian.state_dict()))
    again.load_state_dict(safetensors.torch.load(kept.getvalue()))
    assert {name: (tuple(value.shape), value.dtype) for name, value in gaussian.state_dict().items()} == {
        "mean": ((7,), torch.float32),
        "whitening": ((7, 7), torch.float32),
    }
    assert again(new).equal(gaussian(new))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((1, 3)), "there are 1 of them"),
        (np.full((9, 3), np.inf), "some are not finite"),
        (np.full((9, 3), 0.7), "all are the same"),
    ],
)
def test_latents_that_say_nothing_are_refused(values, problem):
    words = f"The distances to the training latents cannot be measured: {problem}; train another network."
    with pytest.raises(DataError, match=f"^{words}$"):
        Gaussian.fit(values)
