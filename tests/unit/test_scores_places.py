"""Distances of features at each place from those of the training pictures, against numpy in float64."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.nn import functional

from rayae.errors import DataError
from rayae.scores.places import MOST_NUMBERS, MOST_PLACES, Places, PlaceSums, grid_of, place_scores
from rayae.scores.region import Region

ROWS, COLUMNS = 3, 5


def features(count, seed=0, channels=(4, 3)):
    """Two maps, one finer than the places and one as coarse, whose level and scatter differ from place to place."""
    random = np.random.default_rng(seed)
    fine = random.normal(size=(count, channels[0], 2 * ROWS, 2 * COLUMNS))
    fine *= np.random.default_rng(7).uniform(0.2, 3, size=(1, 1, 2 * ROWS, 2 * COLUMNS))
    coarse = random.normal(size=(count, channels[1], ROWS, COLUMNS)) + np.arange(COLUMNS)
    return torch.from_numpy(fine).float(), torch.from_numpy(coarse).float()


def some(maps, first, last):
    return tuple(one[first:last] for one in maps)


def fitted(maps, batch=16):
    sums = PlaceSums(some(maps, 0, batch), ROWS, COLUMNS)
    for first in range(0, len(maps[0]), batch):
        sums.add(some(maps, first, first + batch))
    return sums.fitted()


def reference_distances(train, new):
    """Each place by itself, in float64, from the definition: the covariance as if D more pictures had the mean one."""
    train, new = (
        torch.cat([functional.avg_pool2d(fine, 2), coarse], 1).flatten(2).double().numpy()
        for fine, coarse in (train, new)
    )
    scale = train[:16].transpose(1, 0, 2).reshape(train.shape[1], -1).std(1)
    train, new = train / scale[:, None], new / scale[:, None]
    count, numbers, places = train.shape
    covariances = [np.cov(train[:, :, place].T, bias=True) for place in range(places)]
    pooled, share = np.mean(covariances, axis=0), numbers / (numbers + count)
    found = np.empty((len(new), places))
    for place, own in enumerate(covariances):
        shrunk = (1 - share) * own + share * pooled + 0.01 * np.trace(pooled) / numbers * np.eye(numbers)
        centred = new[:, :, place] - train[:, :, place].mean(0)
        found[:, place] = np.sqrt(np.einsum("nd,de,ne->n", centred, np.linalg.inv(shrunk), centred))
    return found.reshape(len(new), 1, ROWS, COLUMNS)


@pytest.mark.parametrize("count", [200, 5])
def test_distances_are_those_of_mahalanobis_at_each_place(count):
    train, new = features(count), features(9, seed=1)
    found = fitted(train)(new)
    assert (found.shape, found.dtype) == ((9, 1, ROWS, COLUMNS), torch.float32)
    np.testing.assert_allclose(found, reference_distances(train, new), rtol=1e-4)


def test_the_batches_in_which_pictures_come_change_nothing():
    train, new = features(64), features(9, seed=1)
    first = some(train, 0, 16)
    whole, parts = PlaceSums(first, ROWS, COLUMNS), PlaceSums(first, ROWS, COLUMNS)
    whole.add(train)
    for start in (0, 7, 40):
        parts.add(some(train, start, {0: 7, 7: 40, 40: 64}[start]))
    torch.testing.assert_close(whole.fitted()(new), parts.fitted()(new), rtol=1e-5, atol=1e-5)


def test_a_level_far_from_zero_costs_no_precision():
    train, new = features(100), features(9, seed=1)
    far = [tuple(one + 3000 for one in maps) for maps in (train, new)]
    torch.testing.assert_close(fitted(far[0])(far[1]), fitted(train)(new), rtol=5e-3, atol=5e-3)


def test_many_features_become_few_numbers_that_still_see_each_of_them():
    train, new = features(150, channels=(150, 50)), features(9, seed=1, channels=(150, 50))
    places = fitted(train)
    assert places.projection.shape == (200, MOST_NUMBERS)
    odd = (new[0].clone(), new[1])
    odd[0][:, 17, :2, :2] += 30
    ratio = places(odd) / places(new)
    assert (ratio[:, 0, 0, 0] > 1.5).all()
    torch.testing.assert_close(ratio[:, 0, 1:], torch.ones_like(ratio[:, 0, 1:]))


def test_the_same_projection_is_drawn_each_time():
    train = features(20, channels=(150, 50))
    before = fitted(train).projection
    torch.manual_seed(99)
    torch.testing.assert_close(fitted(train).projection, before, rtol=0, atol=0)


def test_a_feature_that_never_varies_does_no_harm():
    train, new = features(80), features(9, seed=1)
    dead = [(maps[0], torch.cat([maps[1], torch.full_like(maps[1][:, :1], 0.1)], 1)) for maps in (train, new)]
    found = fitted(dead[0])(dead[1])
    assert found.isfinite().all()
    assert np.corrcoef(found.flatten(), fitted(train)(new).flatten())[0, 1] > 0.999


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_features_without_a_spread_are_refused(value):
    with pytest.raises(DataError, match="The features are the same in all pictures, or are no numbers"):
        fitted(tuple(torch.full_like(one, value) for one in features(20)))


def test_it_comes_out_of_safetensors_as_it_went_in():
    places, new = fitted(features(50)), features(4, seed=1)
    again = Places(**places.spec())
    again.load_state_dict(safetensors.torch.load(safetensors.torch.save(places.state_dict())))
    torch.testing.assert_close(again(new), places(new), rtol=0, atol=0)


def test_the_scores_are_the_root_mean_square_and_the_worst_of_a_hundred_places():
    distances = torch.rand(4, 1, 12, 20)
    found = place_scores(distances, None)
    np.testing.assert_allclose(found["place_mean"], np.sqrt((distances.numpy() ** 2).mean((1, 2, 3))), rtol=1e-6)
    worst = np.sort(distances.numpy().reshape(4, -1), axis=1)[:, -3:].mean(1)
    np.testing.assert_allclose(found["place_worst1"], worst, rtol=1e-6)


def test_places_outside_a_region_change_no_score():
    weights = torch.zeros(48, 80)
    weights[:24] = 1
    region, distances = Region.of(weights), torch.rand(4, 1, 12, 20)
    other = distances.clone()
    other[:, :, 6:] += 9
    for name, values in place_scores(distances, region).items():
        torch.testing.assert_close(place_scores(other, region)[name], values, rtol=0, atol=0)
        assert (place_scores(other, None)[name] > values).all()


@pytest.mark.parametrize(
    ("size", "grid"), [((32, 32), (8, 8)), ((128, 128), (16, 16)), ((256, 256), (16, 16)), ((48, 320), (6, 40))]
)
def test_places_are_squares_and_few(size, grid):
    assert grid_of(*size) == grid
    assert grid[0] * grid[1] <= MOST_PLACES
