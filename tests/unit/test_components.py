"""The principal components as a score: those of scikit-learn, of pictures of any size, and blind outside a region."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.decomposition import PCA

from rayae.components import MOST_COMPONENTS, MOST_VALUES, Components
from rayae.score_names import COMPONENT_SCORES
from rayae.scores import Region, measure
from tests.unit.small_things import pictures


def images_of(pixels):
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def fitted(images):
    blank = Components(*images.shape[1:], 0)
    return blank.fitted(blank.reduced(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_they_say_of_a_picture_is_what_those_of_scikit_learn_do(channels):
    random = np.random.default_rng(0)
    noisy = [np.clip(pictures(count, seed, channels=channels) + random.normal(0, 9, (count, 32, 32, channels)), 0, 255)
             for count, seed in ((90, 0), (8, 1))]  # fmt: skip
    train, test = (images_of(some.astype(np.uint8)) for some in noisy)
    reference = PCA(MOST_COMPONENTS, svd_solver="full").fit(train.flatten(1).double().numpy())
    flat = test.flatten(1).double().numpy()
    wanted = reference.inverse_transform(reference.transform(flat)).clip(0, 1).reshape(test.shape)
    small, said = fitted(train)(test)
    assert torch.equal(small, test)
    np.testing.assert_allclose(said.numpy(), wanted, atol=1e-3)
    smoothed = gaussian_filter(
        np.square(test.double().numpy() - wanted).mean(1), (0, 2, 2), mode="mirror", radius=(0, 6, 6)
    )
    worst = np.sort(smoothed.reshape(len(test), -1), axis=1)[:, -11:].mean(1)
    found = measure(test, test, components=fitted(train), names=["component_worst1"])["component_worst1"]
    np.testing.assert_allclose(found.numpy(), worst, rtol=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_their_scores_are_those_of_the_network_against_what_they_say(channels):
    train, test = (images_of(pictures(count, seed, channels=channels)) for count, seed in ((40, 0), (8, 1)))
    test = (test + 0.2 * torch.rand(test.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    reference = PCA(32, svd_solver="full").fit(train.flatten(1).double().numpy())
    flat = test.flatten(1).double().numpy()
    said = reference.inverse_transform(reference.transform(flat)).clip(0, 1).reshape(test.shape)
    components = fitted(train)
    components.basis = components.basis[:32]
    found = measure(test, test, components=components, names=COMPONENT_SCORES)
    assert tuple(found) == COMPONENT_SCORES
    np.testing.assert_allclose(
        found["component_mse"], np.square(test.double().numpy() - said).mean((1, 2, 3)), rtol=1e-3
    )
    wanted = measure(test, torch.from_numpy(said).float(), names=("gradient_mean", "mse_worst1"))
    np.testing.assert_allclose(found["component_gradient"], wanted["gradient_mean"], rtol=5e-3)
    np.testing.assert_allclose(found["component_worst1"], wanted["mse_worst1"], rtol=1e-2)


def test_a_region_within_the_border_of_a_picture_that_is_made_smaller_has_all_scores():
    weights = torch.zeros(512, 512)
    weights[100:400, 6:12] = 1
    region, images = Region.of(weights), torch.rand(4, 1, 512, 512, generator=torch.Generator().manual_seed(0))
    components = fitted(region.filled(images, images)[0])
    other = torch.where(weights > 0, images, torch.rand_like(images))
    found, again = (
        measure(some, some, components=components, region=region, names=COMPONENT_SCORES) for some in (images, other)
    )
    for name, values in found.items():
        assert values.isfinite().all()
        assert torch.equal(values, again[name])


@pytest.mark.parametrize("size", [(1, 128, 128), (1, 512, 256), (3, 256, 256), (3, 1024, 32)])
def test_large_pictures_are_made_smaller_by_whole_squares(size):
    channels, height, width = size
    components = Components(channels, height, width, 2)
    small, said = components(torch.rand(2, *size))
    assert small.shape == said.shape == (2, channels, height // components.factor, width // components.factor)
    assert small[0].numel() == len(components.mean) <= MOST_VALUES
    assert components.factor == 1 or channels * height * width > MOST_VALUES


def test_there_are_fewer_than_pictures_and_none_of_one_or_of_equal_ones():
    assert [len(fitted(images_of(pictures(count))).basis) for count in (1, 2, 5)] == [0, 1, 4]
    assert len(fitted(images_of(np.repeat(pictures(1), 6, axis=0))).basis) == 0


def test_a_defect_scores_higher_than_any_normal_picture():
    test = images_of(pictures(20, seed=1))
    damaged = test.clone()
    damaged[:, :, 10:14, 6:12] = 0
    components = fitted(images_of(pictures(60)))
    normal, strange = (measure(some, some, components=components)["component_worst1"] for some in (test, damaged))
    assert strange.min() > normal.max()


def test_what_is_outside_a_region_changes_nothing():
    weights = torch.zeros(32, 32)
    weights[8:24, 8:24] = 1
    region, test = Region.of(weights), images_of(pictures(5, seed=1))
    components = fitted(region.filled(*[images_of(pictures(40))] * 2)[0])
    other = torch.where(weights > 0, test, torch.rand_like(test))
    first, second = (
        measure(some, some, components=components, region=region)["component_worst1"] for some in (test, other)
    )
    assert torch.equal(first, second)


def test_they_are_kept_with_the_state_of_a_module():
    components, test = fitted(images_of(pictures(40))), images_of(pictures(5, seed=1))
    again = Components(1, 32, 32, len(components.basis))
    again.load_state_dict(components.state_dict())
    assert torch.equal(again(test)[1], components(test)[1])
