"""Textures as a score: the statistics by hand, the rest by scikit-learn, and blind outside a region."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from rayae.errors import DataError
from rayae.scores import Region, Textures, measure
from rayae.scores.textures import MOST_COMPONENTS, texture_maps, texture_scores


def images_of(count, seed=0, channels=1, size=(32, 64)):
    """Noise whose amount differs from place to place, over a level that differs from picture to picture."""
    random = np.random.default_rng(seed)
    amount = np.random.default_rng(7).uniform(0.02, 0.2, size=(1, 1, size[0] // 8, size[1] // 8))
    noise = random.normal(size=(count, channels, *size)) * amount.repeat(8, 2).repeat(8, 3)
    return torch.from_numpy(np.clip(random.uniform(0.3, 0.6, (count, 1, 1, 1)) + noise, 0, 1)).float()


def fitted(images):
    return Textures.fit(texture_maps(images), *images.shape[1:])


def measured(textures, images, region=None):
    return measure(images, images, textures=textures, region=region, names=["texture_worst1"])["texture_worst1"]


def statistics_by_hand(images, side):
    """In float64, `[N, D, P]`: means over the places of what is said of them."""
    values = images.double().numpy()
    level = values.mean(1, keepdims=True)
    found = [values, level**2]
    for scale in (1, 2, 4):
        small = means(level, scale)
        across, along = np.zeros_like(small), np.zeros_like(small)
        across[..., :-1] = np.diff(small, axis=3)
        along[..., :-1, :] = np.diff(small, axis=2)
        found += [across, along] if scale == 1 else []
        found += [abs(across), abs(along), np.sqrt(across**2 + along**2)]
    return np.concatenate([means(one, side * one.shape[3] // values.shape[3]) for one in found], 1).reshape(
        len(values), -1, values.shape[2] * values.shape[3] // side**2
    )


def means(values, side):
    count, channels, height, width = values.shape
    return values.reshape(count, channels, height // side, side, width // side, side).mean((3, 5))


def distances_by_hand(train, test, side):
    """By scikit-learn, in float64: whitened at each place, less what the principal components can say."""
    train, test = statistics_by_hand(train, side), statistics_by_hand(test, side)
    scale = train.std((0, 2), keepdims=True)
    train, test = train / scale, test / scale
    count, numbers, places = train.shape
    covariances = np.stack([np.cov(train[:, :, place].T, bias=True) for place in range(places)])
    share, pooled = numbers / (numbers + count), covariances.mean(0)
    shrunk = (1 - share) * covariances + share * pooled + 0.01 * np.trace(pooled) / numbers * np.eye(numbers)
    roots = np.linalg.inv(np.linalg.cholesky(shrunk))
    train, test = (np.einsum("pde,nep->npd", roots, some - train.mean(0)) for some in (train, test))
    found = PCA(min(MOST_COMPONENTS, count - 1), svd_solver="full").fit(train.reshape(count, -1))
    flat = test.reshape(len(test), -1)
    said = found.inverse_transform(found.transform(flat))
    return np.linalg.norm((flat - said).reshape(test.shape), axis=2)


@pytest.mark.parametrize(("channels", "count"), [(1, 200), (3, 200), (1, 40)])
def test_distances_are_what_the_components_of_whitened_statistics_cannot_say(channels, count):
    train, test = images_of(count, channels=channels), images_of(9, seed=1, channels=channels)
    textures, wanted = fitted(train), distances_by_hand(train, test, side=4)
    distances = textures(test)
    assert (distances.shape, distances.dtype) == ((9, 1, 8, 16), torch.float32)
    np.testing.assert_allclose(distances.flatten(1), wanted, rtol=2e-2)
    assert measured(textures, test).tolist() == texture_scores(distances, None)["texture_worst1"].tolist()
    np.testing.assert_allclose(measured(textures, test), np.sort(wanted)[:, -2:].mean(1), rtol=1e-2)


def test_a_spot_that_is_too_rough_for_its_place_is_found_there():
    train, test = images_of(200), images_of(30, seed=1)
    spoilt = test.clone()
    spoilt[:, :, 8:16:2, 40:48:2] += 0.6
    textures = fitted(train)
    place = textures(spoilt).flatten(1).argmax(1)
    assert {(int(one) // 16 // 2, int(one) % 16 // 2) for one in place} == {(1, 5)}
    assert (measured(textures, spoilt) > measured(textures, test)).all()


@pytest.mark.parametrize("size", [(16, 16), (33, 47), (28, 28), (40, 200), (300, 260)])
def test_pictures_of_any_size_have_a_finite_score(size):
    random = torch.Generator().manual_seed(0)
    train, test = torch.rand(12, 3, *size, generator=random), torch.rand(5, 3, *size, generator=random)
    found = measured(fitted(train), test)
    assert found.shape == (5,)
    assert found.isfinite().all()


def test_what_lies_outside_a_region_changes_no_score():
    weights = torch.zeros(32, 64)
    weights[6:20, 10:41] = 1
    region, train, test = Region.of(weights), images_of(60), images_of(9, seed=1)
    textures = fitted(region.masked(train))
    other = torch.where(weights > 0, test, torch.rand(test.shape, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(measured(textures, test, region), measured(textures, other, region))
    assert not torch.equal(measured(textures, test), measured(textures, other))


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_pictures_that_are_all_the_same_are_refused(level):
    with pytest.raises(DataError, match=r"^The features are the same in all pictures"):
        fitted(torch.full((9, 1, 32, 32), level))
