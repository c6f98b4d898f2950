"""The nearest training picture: held against numpy's signs and scikit-learn's angles, and blind outside a region."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from rayae.nearest import BITS, SIDE, Nearest, thumbnails
from rayae.scores import Region, measure
from tests.unit.small_things import pictures

CPU = torch.device("cpu")


def images_of(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def varied(count, size=(64, 48), channels=1, seed=0):
    """Pictures that differ from one another, `[N, C, H, W]` in [0, 1]."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 8, 8, channels), np.uint8)
    return images_of(coarse.repeat(size[0] // 8, axis=1).repeat(size[1] // 8, axis=2))


def fitted(images):
    blank = Nearest.blank(images.shape[1], CPU)
    return blank.fitted(blank.coded(images))


def small(images):
    """The thumbnails by hand, of pictures of twice their size: means of squares of four, in whole grey levels."""
    values = images.double().numpy()
    count, channels = values.shape[:2]
    return np.rint(255 * values.reshape(count, channels, SIDE, 2, SIDE, 2).mean((3, 5))).reshape(count, -1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_code_says_on_which_side_of_each_hyperplane_the_thumbnail_lies(channels):
    images = varied(9, (64, 64), channels)
    flat = small(images)
    blank = Nearest.blank(channels, CPU)
    sides = (flat - flat.mean(1, keepdims=True)) @ blank.hyperplanes.numpy().astype(float).T
    codes = blank.coded(images)
    assert codes.dtype == torch.int8
    np.testing.assert_array_equal(codes.numpy(), np.where(sides > 0, 1, -1))


def test_the_distance_is_the_least_share_of_bits_that_differ():
    train, test = varied(30), varied(10, seed=1)
    nearest = fitted(train)
    mine, theirs = nearest.coded(test).numpy(), nearest.codes.numpy()
    differing = (mine[:, None] != theirs[None]).mean(2).min(1)
    np.testing.assert_allclose(nearest(test).numpy(), differing, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_angle_between_thumbnails_over_pi_to_the_error_of_512_bits(channels):
    base, other = varied(200, (64, 64), channels), varied(200, (64, 64), channels, seed=1)
    share = torch.linspace(0, 1, 200)[:, None, None, None]
    mixed = ((1 - share) * base + share * other).clamp(0, 1)
    centred = [one - one.mean(1, keepdims=True) for one in (small(base), small(mixed))]
    angles = np.arccos(np.clip(np.diag(cosine_similarity(*centred)), -1, 1)) / np.pi
    found = np.array([fitted(one[None])(two[None]).item() for one, two in zip(base, mixed, strict=True)])
    errors = (found - angles) / np.sqrt(np.maximum(angles * (1 - angles), 1 / BITS) / BITS)
    assert angles.max() > 0.4
    assert np.abs(errors).max() < 5
    assert np.abs(errors.mean()) < 0.5


def test_a_trained_picture_is_at_distance_0_and_a_brighter_copy_is_near():
    train = varied(30)
    nearest = fitted(train)
    assert nearest(train).max() == 0
    assert nearest(train * 0.8 + 0.1).max() < 0.02
    assert nearest(varied(30, seed=1)).min() > 0.2


def test_a_larger_copy_is_at_distance_0():
    train = varied(30, (64, 64))
    assert fitted(train)(train.repeat_interleave(2, 2).repeat_interleave(2, 3)).max() == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_flat_pictures_have_one_code_whatever_their_brightness(channels):
    flat = images_of(np.stack([np.full((48, 40, channels), level, np.uint8) for level in range(0, 256, 5)]))
    assert not thumbnails(flat).any()
    assert fitted(flat[:1])(flat).max() == 0


def test_what_is_outside_a_region_changes_nothing():
    weights = torch.zeros(32, 32)
    weights[8:24, 8:24] = 1
    region, test = Region.of(weights), images_of(pictures(5, seed=1))
    train = images_of(pictures(40))
    nearest = fitted(region.filled(train, train)[0])
    other = torch.where(weights > 0, test, torch.rand_like(test))
    first, second = (measure(some, some, nearest=nearest, region=region)["nearest_distance"] for some in (test, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, measure(other, other, nearest=nearest)["nearest_distance"])


def test_the_hyperplanes_are_the_same_wherever_they_are_drawn():
    torch.manual_seed(5)
    first = Nearest.blank(1, CPU).hyperplanes
    torch.manual_seed(6)
    assert torch.equal(first, Nearest.blank(1, CPU).hyperplanes)
    assert {*first.unique().tolist()} == {-1, 1}
    assert abs(first.float().mean()) < 0.01


def test_it_is_kept_with_the_state_of_a_module():
    nearest, test = fitted(varied(30)), varied(5, seed=1)
    again = Nearest(1, 30)
    again.load_state_dict(nearest.state_dict())
    assert torch.equal(again(test), nearest(test))


def test_autocast_changes_nothing():
    nearest, test = fitted(varied(30, channels=3)), varied(10, channels=3, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        cast = nearest(test)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, nearest(test))
