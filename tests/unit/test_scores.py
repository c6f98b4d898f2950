"""Errors of an image: each against an independent reference, on pictures that are hard for float32."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from rayae.components import Components
from rayae.errors import ConfigError
from rayae.nearest import Nearest
from rayae.results import PIXEL_STATISTICS
from rayae.scores import (
    COMPONENT_SCORES,
    HEAD_SCORES,
    LATENT_SCORES,
    NEAREST_SCORES,
    PICTURE_SCORES,
    PLACE_SCORES,
    SCORE_NAMES,
    TEXTURE_SCORES,
    Gaussian,
    Region,
    Standard,
    Textures,
    describe,
    error_map,
    measure,
    pixels,
    smooth,
    ssim_error,
    structure_errors,
    worst_share,
)
from rayae.scores.pixels import at_once, by_picture
from rayae.scores.places import PlaceSums
from rayae.scores.textures import texture_maps

SHAPE = (48, 64)


def flat(value):
    return np.full((1, *SHAPE), value)


def random(seed, low=0.0, high=1.0, channels=1):
    return np.random.default_rng(seed).uniform(low, high, (channels, *SHAPE))


def ramp(channels=1):
    return np.repeat(np.linspace(0, 1, SHAPE[1])[None, None].repeat(SHAPE[0], 1), channels, axis=0)


def step(at, high):
    return (ramp() > at) * high


PAIRS = {
    "random": (random(0), random(1)),
    "random RGB": (random(0, channels=3), random(1, channels=3)),
    "a good reconstruction": (random(0), 0.99 * random(0) + 0.005),
    "structured": (ramp(), 0.99 * ramp() + 0.005),
    "structured RGB": (ramp(3), np.sqrt(ramp(3))),
    "steps": (step(0.5, 1.0), step(0.45, 0.98)),
    "inverted": (random(0), 1 - random(0)),
    "equal": (random(0), random(0)),
    "equal and constant": (flat(1.0), flat(1.0)),
    "constant, nearly": (flat(0.9), flat(0.9 + 1 / 255)),
    "constant, bright": (flat(1.0), flat(0.7)),
    "constant, far": (flat(1.0), flat(0.4)),
    "dark": (random(0, 0, 0.004), random(1, 0, 0.004)),
    "bright and flat": (random(0, 0.98, 0.981), random(1, 0.98, 0.981)),
    "bright noise": (random(0, 0.95, 0.97), random(1, 0.95, 0.97)),
    "black and white": (flat(0.0), flat(1.0)),
}
pairs = pytest.mark.parametrize(("a", "b"), PAIRS.values(), ids=PAIRS.keys())


def as_batch(picture):
    return torch.from_numpy(np.ascontiguousarray(picture)).float()[None]


def measured(a, b):
    return {name: values.item() for name, values in measure(as_batch(a), as_batch(b)).items()}


def skimage_ssim(a, b):
    a, b = np.float32(a).astype(np.float64), np.float32(b).astype(np.float64)
    exact = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return structural_similarity(a, b, channel_axis=0, **exact)


@pairs
def test_ssim_is_that_of_scikit_image(a, b):
    assert 1 - measured(a, b)["ssim_error"] == pytest.approx(skimage_ssim(a, b), abs=1e-6)


@pairs
def test_a_small_ssim_error_has_four_good_digits(a, b):
    """Printed as in the paper, float32 gives a flat bright picture 4e-4 too much, more than a good one has."""
    assert measured(a, b)["ssim_error"] == pytest.approx(1 - skimage_ssim(a, b), rel=1e-4, abs=1e-9)


@pairs
def test_the_worst_hundredth_of_ssim_is_that_of_scikit_image_smoothed_by_scipy(a, b):
    a, b = np.float32(a).astype(np.float64), np.float32(b).astype(np.float64)
    exact = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    _, similar = structural_similarity(a, b, channel_axis=0, **exact)
    smoothed = gaussian_filter(1 - similar.mean(0)[5:-5, 5:-5], 2.0, mode="mirror", radius=6)
    worst = np.sort(smoothed.ravel())[-21:].mean()  # 21 is 1 % of 38 x 54, rounded up
    assert measured(a, b)["ssim_worst1"] == pytest.approx(worst, rel=1e-4, abs=1e-6)


@pairs
def test_mse_and_mae_are_those_of_numpy(a, b):
    difference = np.float32(a).astype(np.float64) - np.float32(b).astype(np.float64)
    found = measured(a, b)
    assert found["mse"] == pytest.approx((difference**2).mean(), rel=1e-5, abs=1e-12)
    assert found["mae"] == pytest.approx(np.abs(difference).mean(), rel=1e-5, abs=1e-12)


@pairs
def test_the_worst_hundredth_is_that_of_scipy(a, b):
    squared = ((np.float32(a).astype(np.float64) - np.float32(b)) ** 2).mean(0)
    smoothed = np.sort(gaussian_filter(squared, 2.0, mode="mirror", radius=6).ravel())
    worst = smoothed[-31:].mean()  # 31 is 1 % of 48 x 64, rounded up
    assert measured(a, b)["mse_worst1"] == pytest.approx(worst, rel=1e-5, abs=1e-12)


def test_the_error_map_is_that_of_scipy_and_shows_the_place():
    a, b = random(0, channels=3), random(0, channels=3)
    b[:, 20, 30] = 0
    a[:, 20, 30] = 1
    found = error_map(as_batch(a), as_batch(b)).numpy()
    assert found.shape == (1, *SHAPE)
    assert np.unravel_index(found[0].argmax(), SHAPE) == (20, 30)
    wanted = gaussian_filter(((a - b) ** 2).mean(0), 2.0, mode="mirror", radius=6)
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_smoothing_keeps_the_mean_level_to_the_border():
    assert smooth(torch.full((1, 1, 32, 40), 0.25)).allclose(torch.tensor(0.25), atol=1e-6)


@pytest.mark.parametrize(("values", "worst"), [(99, 1), (100, 1), (101, 2), (700, 7), (10000, 100)])
def test_the_worst_hundredth_is_rounded_up(values, worst):
    maps = torch.arange(values, dtype=torch.float64).reshape(1, 1, 1, -1)
    assert worst_share(maps).item() == pytest.approx(values - (worst + 1) / 2)


SEEN = {
    "random": np.random.default_rng(0).integers(0, 256, (48, 64, 1)),
    "random RGB": np.random.default_rng(1).integers(0, 256, (48, 64, 3)),
    "dark with a bright corner": np.pad(np.full((4, 4, 1), 255), ((0, 44), (0, 60), (0, 0))),
    "black": np.zeros((32, 32, 1), int),
    "white": np.full((48, 32, 3), 255),
    "grey": np.full((32, 32, 1), 77),
    "ninety-nine pixels": np.arange(99)[None, :, None],
    "a hundred and one pixels": np.arange(101)[None, :, None],
    "just less than a hundredth is black": np.array([0] * 30 + [9] * 3042).reshape(48, 64, 1),
    "just more than a hundredth is black": np.array([0] * 31 + [9] * 3041).reshape(48, 64, 1),
}


@pytest.mark.parametrize("way", [by_picture, at_once])
@pytest.mark.parametrize("seen", SEEN.values(), ids=SEEN.keys())
def test_the_statistics_of_pixels_are_those_of_numpy_on_the_way_of_each_device(seen, way, monkeypatch):
    monkeypatch.setattr(pixels, "by_picture", way)
    found = {name: values.item() for name, values in describe(torch.from_numpy(np.uint8(seen))[None]).items()}
    assert found["pixel_mean"] == pytest.approx(seen.mean() / 255, rel=1e-6)
    assert found["pixel_std"] == pytest.approx(seen.std() / 255, rel=1e-5, abs=1e-7)
    first_percentile = np.percentile(seen, 1, method="inverted_cdf")
    right, below = np.diff(seen.astype(float), axis=1), np.diff(seen.astype(float), axis=0)
    differences = np.concatenate([right.ravel(), below.ravel()])
    assert found["pixel_sharpness"] == pytest.approx(np.sqrt(np.mean(differences**2)) / 255, rel=1e-5, abs=1e-7)
    assert found["pixel_p01"] == np.float32(first_percentile) / np.float32(255)


def test_a_picture_is_described_alike_alone_and_among_others():
    seen = torch.randint(0, 256, (7, 32, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = seen.clone()
    together = describe(seen)
    assert tuple(together) == PIXEL_STATISTICS
    for name, values in together.items():
        assert (values.shape, values.dtype) == ((7,), torch.float32)
        alone = torch.cat([describe(seen[row : row + 1])[name] for row in range(7)])
        torch.testing.assert_close(values, alone, atol=1e-7, rtol=0)
    assert seen.equal(before)


def test_no_pictures_are_described_by_nothing():
    assert all(values.shape == (0,) for values in describe(torch.empty(0, 32, 32, 1, dtype=torch.uint8)).values())


def everything(count=5, seed=0):
    """All that scores are measured of, and what all of them need."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(count, 3, 32, 48, generator=generator), torch.rand(count, 3, 32, 48, generator=generator)
    latents = np.random.default_rng(seed).normal(size=(99, 4))
    given = {
        "head": torch.randn(count, 1, 16, 24, generator=generator),
        "latent": torch.randn(count, 4, generator=generator),
        "gaussian": Gaussian.fit(latents),
        "features": (torch.randn(count, 6, 8, 12, generator=generator),),
        "places": places_of(torch.randn(30, 6, 8, 12, generator=generator)),
        "components": components_of(torch.rand(9, 3, 32, 48, generator=generator)),
        "textures": textures_of(torch.rand(9, 3, 32, 48, generator=generator)),
        "nearest": nearest_of(torch.rand(7, 3, 32, 48, generator=generator)),
        "standard": Standard(
            ("mse", "head_max", "latent_distance"), (-2.0, 1.0, 0.5), (0.5, 2.0, 1.5), (True, False, False)
        ),
    }
    return a, b, given


def places_of(features):
    sums = PlaceSums((features,), 4, 6)
    sums.add((features,))
    return sums.fitted()


def nearest_of(images):
    blank = Nearest.blank(3, torch.device("cpu"))
    return blank.fitted(blank.coded(images))


def textures_of(images):
    return Textures.fit(texture_maps(images), *images.shape[1:])


def components_of(images):
    blank = Components(*images.shape[1:], 0)
    return blank.fitted(blank.reduced(images))


def test_there_is_one_float32_a_score_and_picture():
    a, b, given = everything()
    found = measure(a, b, **given)
    assert tuple(found) == SCORE_NAMES
    assert all(values.shape == (5,) and values.dtype == torch.float32 for values in found.values())


def test_what_would_need_something_that_is_not_given_is_left_out():
    a, b, given = everything()
    head, latent, gaussian, features, places, components, textures, nearest, standard = given.values()
    assert tuple(measure(a, b)) == PICTURE_SCORES
    assert tuple(measure(a, b, head=head)) == (*PICTURE_SCORES, *HEAD_SCORES)
    assert tuple(measure(a, b, latent=latent)) == tuple(measure(a, b, gaussian=gaussian)) == PICTURE_SCORES
    assert tuple(measure(a, b, latent=latent, gaussian=gaussian)) == (*PICTURE_SCORES, *LATENT_SCORES)
    assert tuple(measure(a, b, features=features)) == tuple(measure(a, b, places=places)) == PICTURE_SCORES
    assert tuple(measure(a, b, features=features, places=places)) == (*PICTURE_SCORES, *PLACE_SCORES)
    assert tuple(measure(a, b, components=components)) == (*PICTURE_SCORES, *COMPONENT_SCORES)
    assert tuple(measure(a, b, textures=textures)) == (*PICTURE_SCORES, *TEXTURE_SCORES)
    assert tuple(measure(a, b, nearest=nearest)) == (*PICTURE_SCORES, *NEAREST_SCORES)
    assert tuple(measure(a, b, head=head, standard=standard)) == (*PICTURE_SCORES, *HEAD_SCORES)


@pytest.mark.parametrize("name", SCORE_NAMES)
def test_a_score_is_the_same_when_it_alone_is_asked_for(name):
    a, b, given = everything()
    alone = measure(a, b, **given, names=(name,))
    assert list(alone) == [name]
    assert alone[name].equal(measure(a, b, **given)[name])


def test_a_name_that_is_no_scores_is_refused():
    with pytest.raises(ConfigError, match=r"^There is no score 'lpips'; choose from mse, mae, .*, combined\.$"):
        measure(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32), names=("mse", "lpips"))


@pytest.mark.parametrize("in_region", [False, True])
def test_all_scores_of_a_picture_are_its_own(in_region):
    a, b, given = everything(9)
    given["region"] = Region.of(torch.rand(32, 48)) if in_region else None
    together = measure(a, b, **given)
    for row in range(9):
        one = given | {name: given[name][row : row + 1] for name in ("head", "latent")}
        one["features"] = tuple(maps[row : row + 1] for maps in given["features"])
        for name, value in measure(a[row : row + 1], b[row : row + 1], **one).items():
            assert value.item() == pytest.approx(together[name][row].item(), abs=2e-6), name


def test_bf16_around_them_reaches_none_of_the_scores():
    a, b, given = everything()
    with torch.autocast("cpu", torch.bfloat16):
        inside = measure(a, b, **given)
    for name, values in measure(a, b, **given).items():
        torch.testing.assert_close(inside[name], values, atol=1e-7, rtol=0)


def test_scores_are_not_clamped():
    a = random(0)
    assert measured(a, 1 - a)["ssim_error"] > 1
    assert measured(flat(0.0), flat(3.0))["mse"] == pytest.approx(9)


def test_equal_pictures_have_no_error_at_all():
    assert set(measured(random(7), random(7)).values()) == {0.0}


def test_scores_do_not_depend_on_the_other_pictures_of_the_batch_or_on_the_layout():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(9, 3, 32, 48, generator=generator), torch.rand(9, 3, 32, 48, generator=generator)
    together = measure(a.contiguous(memory_format=torch.channels_last), b)
    for name, values in together.items():
        alone = torch.cat([measure(a[row : row + 1], b[row : row + 1])[name] for row in range(9)])
        torch.testing.assert_close(values, alone, atol=1e-6, rtol=0)


def test_a_nan_in_one_picture_stays_in_its_row():
    a, b = torch.rand(3, 1, 32, 32), torch.rand(3, 1, 32, 32)
    b[1, 0, 5, 5] = torch.nan
    for values in measure(a, b).values():
        assert values.isnan().tolist() == [False, True, False]


def test_the_ssim_error_can_be_trained_on_where_pictures_are_equal_or_flat():
    for a in (torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32)):
        b = a.clone().requires_grad_()
        ssim_error(a, b).mean().backward()
        assert b.grad.isfinite().all()
        assert b.grad.abs().max() < 1e-4


def test_the_gradient_of_the_ssim_error_is_that_of_finite_differences():
    torch.manual_seed(0)
    a, b = torch.rand(2, 2, 13, 14).double(), torch.rand(2, 2, 13, 14).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda made: structure_errors(a, made), b)
