"""Floors: held against scikit-learn's PCA, numpy's correlation, scipy's cosine transform."""

import numpy as np
import pytest
import safetensors.numpy
import torch
from scipy.fft import dctn
from sklearn.decomposition import PCA

from rayae import floors
from rayae.components import principal_components
from rayae.floors import COMPONENTS, FLOOR_NAMES, Floors, fit, perceptual_hash, thumbnails

CPU = torch.device("cpu")


def pictures(count, size=(64, 48), channels=1, seed=0):
    """Smooth pictures that differ from one another, `[N, H, W, C]` uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 8, 8, channels))
    fine = coarse.repeat(size[0] // 8, axis=1).repeat(size[1] // 8, axis=2)
    return np.clip(fine + rng.normal(0, 4, fine.shape), 0, 255).astype(np.uint8)


def measured(train, test):
    found = Floors(fit(train, 0), CPU).measure(torch.from_numpy(test))
    return {name: values.numpy() for name, values in found.items()}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_pca_error_is_that_of_scikit_learn(channels):
    train, test = pictures(60, channels=channels), pictures(20, channels=channels, seed=1)
    small, other = (thumbnails(torch.from_numpy(some)).flatten(1).numpy() / 255.0 for some in (train, test))
    reference = PCA(COMPONENTS, svd_solver="full").fit(small)
    expected = ((other - reference.inverse_transform(reference.transform(other))) ** 2).mean(1)
    np.testing.assert_allclose(measured(train, test)["pca_error"], expected, rtol=1e-3)


def test_every_number_of_components_spans_what_scikit_learns_do():
    values = pictures(40, size=(32, 16)).reshape(40, -1).astype(np.float32) / 255
    mean, components = principal_components(torch.from_numpy(values), 32)
    reference = PCA(32, svd_solver="full").fit(values.astype(np.float64))
    np.testing.assert_allclose(mean, reference.mean_, atol=1e-6)
    np.testing.assert_allclose(components @ components.T, np.eye(32), atol=1e-5)
    for count in (1, 8, 32):
        projector = components[:count].T @ components[:count]
        np.testing.assert_allclose(
            projector, reference.components_[:count].T @ reference.components_[:count], atol=2e-4
        )


def test_there_are_no_more_components_than_directions_that_the_pictures_vary_in():
    train = pictures(3)
    assert fit(train, 0)["components"].shape == (2, 1024)
    assert fit(np.repeat(train[:1], 5, axis=0), 0)["components"].shape == (0, 1024)
    assert measured(np.repeat(train[:1], 5, axis=0), train[:1])["pca_error"][0] == pytest.approx(0, abs=1e-9)


def test_the_nearest_distance_is_one_less_the_highest_correlation():
    train, test = pictures(30, channels=3), pictures(10, channels=3, seed=1)
    small, other = (thumbnails(torch.from_numpy(some)).flatten(1).numpy().astype(float) for some in (train, test))
    correlations = np.corrcoef(other, small)[: len(other), len(other) :]
    np.testing.assert_allclose(measured(train, test)["nearest_distance"], 1 - correlations.max(1), atol=1e-5)


def test_a_trained_picture_is_at_distance_0_and_a_brighter_copy_is_near():
    train = pictures(30)
    brighter = np.clip(train * 0.8 + 30, 0, 255).astype(np.uint8)
    assert measured(train, train)["nearest_distance"].max() < 1e-5
    assert measured(train, train)["hash_distance"].max() == 0
    assert measured(train, brighter)["nearest_distance"].max() < 1e-3


def test_a_flat_picture_is_like_none():
    assert measured(pictures(5), np.full((1, 64, 48, 1), 90, np.uint8))["nearest_distance"] == 1


def test_the_hash_is_the_sign_of_the_lowest_cosines_against_their_median():
    small = thumbnails(torch.from_numpy(pictures(20)))
    lowest = dctn(small[..., 0].numpy().astype(float), axes=(1, 2), norm="ortho")[:, 1:9, 1:9].reshape(20, 64)
    low = np.sort(lowest, axis=1)[:, 31:32]
    np.testing.assert_array_equal(perceptual_hash(small).numpy() > 0, lowest > low)


def test_the_hash_distance_counts_the_bits_that_differ():
    train, test = pictures(30), pictures(10, seed=1)
    mine, theirs = (perceptual_hash(thumbnails(torch.from_numpy(some))).numpy() > 0 for some in (test, train))
    differ = (mine[:, None] != theirs[None]).sum(2).min(1)
    np.testing.assert_array_equal(measured(train, test)["hash_distance"], differ)


def test_a_thumbnail_is_the_mean_of_what_it_covers_in_whole_grey_levels():
    found = thumbnails(torch.from_numpy(pictures(4, size=(64, 128))))
    assert found.dtype == torch.uint8
    blocks = pictures(4, size=(64, 128)).reshape(4, 32, 2, 32, 4, 1).mean((2, 4))
    np.testing.assert_array_equal(found.numpy(), blocks.round().astype(np.uint8))


def test_pictures_of_another_size_are_measured_against_the_same_thumbnails():
    train = pictures(30, size=(64, 64))
    larger = train.repeat(2, axis=1).repeat(2, axis=2)
    assert measured(train, larger)["nearest_distance"].max() < 1e-5


def test_the_arrays_come_back_from_safetensors_and_measure_the_same():
    train, test = pictures(30), torch.from_numpy(pictures(10, seed=1))
    arrays = fit(train, 0)
    back = safetensors.numpy.load(safetensors.numpy.save(arrays))
    before, after = Floors(arrays, CPU).measure(test), Floors(back, CPU).measure(test)
    assert tuple(after) == FLOOR_NAMES
    assert all(torch.equal(before[name], after[name]) for name in FLOOR_NAMES)
    assert {values.dtype for values in after.values()} == {torch.float32}


def test_no_more_pictures_are_kept_than_the_limit_and_the_seed_draws_them(monkeypatch):
    monkeypatch.setattr(floors, "MOST_IMAGES", 50)
    train = pictures(60)
    first, again, other = fit(train, 0), fit(train, 0), fit(train, 1)
    assert first["thumbnails"].shape == (50, 32, 32, 1)
    assert np.array_equal(first["thumbnails"], again["thumbnails"])
    assert not np.array_equal(first["thumbnails"], other["thumbnails"])


def test_autocast_changes_nothing():
    measurer, test = Floors(fit(pictures(30, channels=3), 0), CPU), torch.from_numpy(pictures(10, channels=3, seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        cast = measurer.measure(test)
    assert all(torch.equal(values, cast[name]) for name, values in measurer.measure(test).items())
