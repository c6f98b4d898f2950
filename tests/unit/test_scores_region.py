"""Where to look: what is outside changes nothing, what is inside counts as it weighs."""

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from rayae.errors import ConfigError
from rayae.scores import HEAD_SCORES, PICTURE_SCORES, Region, gradient_errors, measure

NAMES = (*PICTURE_SCORES, *HEAD_SCORES)
SHAPE = (32, 48)


def disc(soft=False):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(y - 14, x - 20)
    weights = np.clip((13 - distance) / 4, 0, 1) if soft else distance < 12
    return torch.from_numpy(weights).float()


MASKS = {"a disc": disc(), "a soft disc": disc(soft=True), "soft everywhere": 0.1 + 0.9 * torch.rand(SHAPE)}
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())


def pair(seed=0, count=3):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(count, 3, *SHAPE, generator=generator)
    return (
        a,
        (a + 0.3 * torch.randn(a.shape, generator=generator)).clamp(0, 1),
        torch.randn(count, 1, 16, 24, generator=generator),
    )


def test_a_region_of_everything_changes_nothing():
    a, b, head = pair()
    whole = measure(a, b, head=head)
    for name, values in measure(a, b, head=head, region=Region.of(torch.ones(SHAPE))).items():
        torch.testing.assert_close(values, whole[name], atol=1e-7, rtol=0)


@masks
@pytest.mark.parametrize("dirt", [0.0, 1.0, torch.nan])
def test_what_is_outside_changes_no_score(mask, dirt):
    a, b, head = pair()
    region = Region.of(mask)
    before = measure(a, b, head=head, region=region)
    outside = (mask == 0).expand_as(a)
    dirty_head = head.masked_fill((region.resized(16, 24).weights == 0).expand_as(head), dirt)
    for dirty in ((a.masked_fill(outside, dirt), b), (a, b.masked_fill(outside, dirt))):
        for name, values in measure(*dirty, head=dirty_head, region=region).items():
            assert values.equal(before[name]), name


@pytest.mark.parametrize("mask", [disc(), disc(soft=True)], ids=["a disc", "a soft disc"])
def test_what_is_inside_is_seen(mask):
    a, b, head = pair()
    before = measure(a, b, head=head, region=Region.of(mask))
    b[:, :, 12:17, 18:23] = 1 - a[:, :, 12:17, 18:23].round()
    head[:, :, 6:9, 9:12] = 9
    after = measure(a, b, head=head, region=Region.of(mask))
    assert all((after[name] > before[name]).all() for name in NAMES)


def filled(picture, image, mask):
    picture, image = picture.double().numpy(), image.double().numpy()
    level = np.stack([np.average(channel, weights=mask) for channel in image])
    return np.where(mask.numpy() == 0, level[:, None, None], picture)


def worst_of(maps, weights):
    count = int(np.ceil(weights.sum() / 100))
    return np.sort((maps * weights).ravel())[-count:].mean()


@masks
def test_means_and_worst_shares_are_weighted(mask):
    a, b, _ = pair(count=1)
    found = {name: values.item() for name, values in measure(a, b, region=Region.of(mask)).items()}
    weights = mask.double().numpy()
    image, made = filled(a[0], a[0], mask), filled(b[0], a[0], mask)
    squared, absolute = ((image - made) ** 2).mean(0), np.abs(image - made).mean(0)
    assert found["mse"] == pytest.approx(np.average(squared, weights=weights), rel=1e-5)
    assert found["mae"] == pytest.approx(np.average(absolute, weights=weights), rel=1e-5)
    smoothed = gaussian_filter(squared, 2.0, mode="mirror", radius=6)
    assert found["mse_worst1"] == pytest.approx(worst_of(smoothed, weights), rel=1e-5)

    exact = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "full": True}
    similar = structural_similarity(image, made, channel_axis=0, **exact)[1].mean(0)[5:-5, 5:-5]
    inner = weights[5:-5, 5:-5]
    assert found["ssim_error"] == pytest.approx(np.average(1 - similar, weights=inner), rel=1e-5)
    smoothed = gaussian_filter(1 - similar, 2.0, mode="mirror", radius=6)
    assert found["ssim_worst1"] == pytest.approx(worst_of(smoothed, inner), rel=1e-5)

    as_tensors = (torch.from_numpy(picture)[None] for picture in (image, made))
    errors = gradient_errors(*as_tensors)[0, 0].numpy()
    assert found["gradient_mean"] == pytest.approx(np.average(errors, weights=weights), rel=1e-4)
    smoothed = gaussian_filter(errors, 2.0, mode="mirror", radius=6)
    assert found["gradient_max"] == pytest.approx((smoothed * weights).max(), rel=1e-4)


def test_at_another_size_a_weight_is_the_mean_of_its_area():
    mask = torch.rand(SHAPE)
    found = Region.of(mask).resized(16, 12).weights
    np.testing.assert_allclose(found, mask.numpy().reshape(16, 2, 12, 4).mean((1, 3)), rtol=1e-6)


def test_a_region_at_a_size_is_made_once():
    region = Region.of(disc())
    assert region.resized(16, 24) is region.resized(16, 24)
    assert region.resized(*SHAPE) is region


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        (torch.ones(1, *SHAPE), "this is torch.float32 of 3 dimensions"),
        (torch.ones(SHAPE, dtype=torch.uint8), "this is torch.uint8 of 2 dimensions"),
        (torch.full(SHAPE, 255.0), "some are not"),
        (torch.full(SHAPE, -0.1), "some are not"),
        (torch.full(SHAPE, torch.nan), "some are not"),
        (torch.zeros(SHAPE), "none is above 0 further than 5 pixels from the border"),
        (
            torch.ones(SHAPE) - torch.nn.functional.pad(torch.ones(22, 38), (5,) * 4),
            "none is above 0 further than 5 pixels from the border",
        ),
    ],
)
def test_a_mask_that_is_no_region_is_refused(weights, problem):
    words = f"A region has one weight a pixel, in [0, 1], but {problem}; draw it again."
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        Region.of(weights)
