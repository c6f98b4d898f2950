"""What damage does to a batch, on textures that are made by code."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from scipy.stats import binom

from rayae.defects import CONTENTS, SHAPES, contact_sheet, damage, visible
from rayae.errors import ConfigError
from tests.unit.textures import textures

GREY = textures(24, 1, 64, 64)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_makes_the_same_defects():
    first, second, other = (damage(GREY, dice(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.pictures, second.pictures)
    assert torch.equal(first.places, second.places)
    assert not torch.equal(first.pictures, other.pictures)


@pytest.mark.parametrize("size", [(1, 1, 32, 32), (2, 3, 32, 50), (5, 1, 77, 40), (3, 3, 64, 64), (1, 3, 33, 130)])
def test_any_size_from_32_on_and_any_batch_gets_defects_in_its_shape(size):
    pictures = textures(*size)
    for seed in range(12):
        damaged = damage(pictures, dice(seed), share=1.0)
        assert damaged.pictures.shape == pictures.shape
        assert damaged.places.shape == (size[0], 1, *size[2:])
        assert damaged.pictures.dtype == damaged.places.dtype == torch.float32


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("content", CONTENTS)
def test_every_shape_with_every_content_is_seen_in_some_pictures(shape, content):
    damaged = damage(GREY, dice(), [shape], [content], share=1.0, most=1)
    assert damaged.places.amax((1, 2, 3)).mean() > 0.2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_picture_of_its_own_gets_every_shape_with_every_content(shape, content):
    alone = GREY[:1]
    found = [damage(alone, dice(seed), [shape], [content], share=1.0).places.any() for seed in range(20)]
    assert any(found)


def test_a_picture_of_its_own_gets_what_is_pasted_from_its_neighbours():
    black, white = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64)
    for seed in range(20):
        of_itself, of_another = (
            damage(black, dice(seed), ["rectangle"], ["paste"], 1.0, 1, neighbours).pictures.max()
            for neighbours in (None, white)
        )
        assert of_itself <= 0.1  # the most that a paste is brightened by
        assert of_another >= 0.3 * (0.7 - 0.1) * 0.5  # of a mask that is soft


def test_the_neighbours_of_a_picture_are_no_pictures_to_damage():
    damaged = damage(GREY[:1], dice(), share=1.0, neighbours=GREY[1:])
    assert damaged.pictures.shape == GREY[:1].shape
    assert damaged.places.shape == GREY[:1].shape


def test_values_stay_between_0_and_1():
    extreme = (textures(32, 3, 64, 64) > 0.5).float()
    damaged = damage(extreme, dice(), share=1.0).pictures
    assert damaged.min() >= 0
    assert damaged.max() <= 1
    assert damaged.isfinite().all()


def test_the_pictures_that_are_given_are_left_alone():
    before = GREY.clone()
    damage(GREY, dice(), share=1.0)
    assert torch.equal(GREY, before)


def test_a_share_of_the_pictures_is_damaged_and_the_others_stay_bit_by_bit():
    batch = textures(400, 1, 32, 32)
    damaged = damage(batch, dice(), ["rectangle"], ["level"], share=0.3)
    touched = (damaged.pictures != batch).any(dim=3).any(dim=2)[:, 0]
    low, high = binom.interval(0.9999, 400, 0.3)
    assert low * 0.9 <= touched.sum() <= high
    assert torch.equal(damaged.pictures[~touched], batch[~touched])
    assert not damaged.places[~touched].any()


def test_without_a_share_nothing_changes_and_with_all_of_it_everything_does():
    none, every = (damage(GREY, dice(), ["rectangle"], ["noise"], share=share) for share in (0.0, 1.0))
    assert torch.equal(none.pictures, GREY)
    assert not none.places.any()
    assert (every.pictures != GREY).flatten(1).any(1).float().mean() > 0.9


def test_more_defects_a_picture_change_more_of_it():
    one, many = (damage(GREY.repeat(8, 1, 1, 1), dice(), share=1.0, most=most).places.mean() for most in (1, 3))
    assert one < many


def test_outside_the_defects_a_damaged_picture_stays_bit_by_bit():
    contents = [name for name in CONTENTS if name != "blend"]
    damaged = damage(GREY, dice(), ["rectangle"], contents, share=1.0, most=1)
    same = (damaged.pictures == GREY).flatten(1).float().mean(1)
    assert same.min() > 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_places_are_where_the_mean_difference_of_3_by_3_pixels_is_above_3_percent(channels):
    pictures = textures(16, channels, 40, 64)
    damaged = damage(pictures, dice(3), share=1.0)
    difference = np.abs(damaged.pictures.double().numpy() - pictures.double().numpy()).max(1)
    mean = np.stack([uniform_filter(one, 3, mode="nearest") for one in difference])
    sure = np.abs(mean - 0.03) > 1e-6
    assert ((mean > 0.03) == damaged.places[:, 0].bool().numpy())[sure].all()
    assert set(damaged.places.unique().tolist()) == {0.0, 1.0}


def test_a_change_in_one_channel_of_three_is_seen():
    before = torch.full((1, 3, 32, 32), 0.5)
    after = before.clone()
    after[:, 1, 8:16, 8:16] += 0.1
    assert visible(before, after)[0, 0, 8:16, 8:16].all()
    assert visible(before, before).sum() == 0


def test_subtle_defects_are_as_many_as_strong_ones():
    flat = torch.zeros(600, 1, 32, 32)
    flat[::2] = 1.0
    damaged = damage(flat, dice(), ["ellipse"], ["level"], share=1.0, most=1).pictures
    strength = (damaged - flat).abs().amax((1, 2, 3))
    assert (strength < 0.35).float().mean() > 0.4
    assert (strength > 0.5).float().mean() > 0.05


def test_no_gradient_is_kept():
    pictures = GREY.clone().requires_grad_()
    assert not damage(pictures, dice()).pictures.requires_grad


def test_an_unknown_shape_is_refused():
    sentence = r"^defects were asked with the shapes star; take some of rectangle, ellipse, blob, stroke\.$"
    with pytest.raises(ConfigError, match=sentence):
        damage(GREY, dice(), shapes=["star", "blob"])


def test_no_contents_are_refused():
    with pytest.raises(ConfigError, match=r"^defects were asked with the contents none; take some of paste, .*\.$"):
        damage(GREY, dice(), contents=[])


def test_a_picture_that_is_too_small_is_refused():
    sentence = r"^defects were asked in pictures of 31 x 64 pixels; both sides must be at least 32\.$"
    with pytest.raises(ConfigError, match=sentence):
        damage(torch.rand(2, 1, 31, 64), dice())


WHERE = torch.zeros(64, 64)
WHERE[40:60, 6:26] = 1.0  # a tenth


@pytest.mark.parametrize("content", CONTENTS)
def test_where_pixels_have_weights_defects_are_seen_as_often_as_anywhere_in_whole_pictures(content):
    pictures = GREY.repeat(12, 1, 1, 1)
    whole = damage(pictures, dice(), contents=[content], share=1.0).places
    within = damage(pictures, dice(), contents=[content], share=1.0, where=WHERE).places * WHERE
    assert within.amax((1, 2, 3)).mean() > 0.8 * whole.amax((1, 2, 3)).mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_has_its_middle_where_pixels_have_weights(shape):
    places = damage(GREY.repeat(4, 1, 1, 1), dice(), [shape], ["level"], share=1.0, most=1, where=WHERE).places[:, 0]
    seen = places[places.sum((1, 2)) > 0]
    middles = (seen.sum(2) @ torch.arange(64.0), seen.sum(1) @ torch.arange(64.0))
    row, column = ((middle / seen.sum((1, 2))).mean() for middle in middles)
    assert (float(row), float(column)) == pytest.approx((49.5, 15.5), abs=3)


@pytest.mark.parametrize("content", ["paste", "blend"])
def test_where_pixels_have_weights_what_is_pasted_comes_from_there(content):
    """Into a black picture, out of others that are black, too, but for a chequered square around the weights."""
    rows, columns = torch.arange(64)[:, None], torch.arange(64)
    is_chequered = (WHERE > 0) & ((rows // 3 + columns // 3) % 2 == 0)
    others, black = is_chequered.float().expand(16, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    inside, anywhere = (
        sum(
            bool(damage(black, dice(seed), ["ellipse"], [content], 1.0, 1, others, where).pictures.max() > 0.12)
            for seed in range(100)
        )
        for where in (WHERE, None)
    )
    assert inside > 90
    assert anywhere < 50


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_shows_each_shape_with_each_content_beside_its_places(channels):
    sheet, again = (contact_sheet(textures(2, channels, 40, 48), seed=0) for _ in range(2))
    pixels = np.asarray(sheet)
    assert sheet.size == (64 + 2 * 6 * 52, 18 + 4 * 44)
    assert np.array_equal(pixels, np.asarray(again))
    fields = [(18 + 44 * row, 64 + 52 * (2 * column + 1)) for row in range(4) for column in range(6)]
    values = [set(np.unique(pixels[top : top + 40, left : left + 48]).tolist()) for top, left in fields]
    assert all(found <= {0, 255} for found in values)
    assert values.count({0, 255}) > 18


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_generator_on_the_cpu_makes_the_same_defects_on_a_gpu():
    here, there = (damage(GREY.to(device), dice(), share=1.0) for device in ("cpu", "cuda"))
    assert (here.pictures - there.pictures.cpu()).abs().max() < 0.02
    assert (here.places != there.places.cpu()).float().mean() < 0.001


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_generator_on_the_gpu_makes_the_same_defects_twice():
    first, second = (damage(GREY.cuda(), torch.Generator("cuda").manual_seed(1)).pictures for _ in range(2))
    assert torch.equal(first, second)
