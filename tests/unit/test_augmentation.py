"""Small changes of the training pictures: each alone, within its bounds, by its seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rayae.augmentation import Augmentation, augment

PICTURES = torch.rand(64, 3, 24, 40, generator=torch.Generator().manual_seed(7)) * 0.4 + 0.3
ALL = Augmentation(flip_horizontal=True, flip_vertical=True, shift=4, brightness=0.2, contrast=0.3, noise=0.1)


def changed(changes, pictures=PICTURES, seed=0):
    return augment(pictures, changes, torch.Generator().manual_seed(seed))


def test_zeros_change_nothing():
    assert torch.equal(changed(Augmentation()), PICTURES)


@pytest.mark.parametrize(("name", "axis"), [("flip_horizontal", 2), ("flip_vertical", 1)])
def test_about_half_of_the_pictures_are_flipped_and_the_others_stay(name, axis):
    flipped = 0
    for picture, before in zip(changed(Augmentation(**{name: True})), PICTURES, strict=True):
        is_flipped = torch.equal(picture, before.flip(axis))
        assert is_flipped or torch.equal(picture, before)
        flipped += is_flipped
    assert 16 < flipped < 48


def move_of(picture, before, most):
    """The only shift, in rows and columns, that makes one picture of the other, its border repeated."""
    padded = np.pad(before.numpy(), ((0, 0), (most, most), (most, most)), mode="edge")
    height, width = picture.shape[1:]
    found = [
        (down - most, right - most)
        for down in range(2 * most + 1)
        for right in range(2 * most + 1)
        if np.array_equal(padded[:, down : down + height, right : right + width], picture.numpy())
    ]
    assert len(found) == 1
    return found[0]


def test_each_picture_is_shifted_by_its_own_whole_pixels_with_the_border_repeated():
    moves = [move_of(*pair, 3) for pair in zip(changed(Augmentation(shift=3)), PICTURES, strict=True)]
    for axis in (0, 1):
        assert {move[axis] for move in moves} == set(range(-3, 4))
    assert len(set(moves)) > 24


def test_brightness_adds_one_level_to_a_picture_up_to_its_bound():
    added = (changed(Augmentation(brightness=0.2)) - PICTURES).flatten(1)
    assert (added - added[:, :1]).abs().max() < 1e-6
    assert -0.2 <= added.min() < -0.15
    assert 0.15 < added.max() <= 0.2


def test_contrast_stretches_around_the_mean_of_the_picture_up_to_its_bound():
    stretched = changed(Augmentation(contrast=0.3))
    mean = PICTURES.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(stretched.mean((1, 2, 3), keepdim=True), mean, atol=1e-5, rtol=0)
    factor = (stretched - mean).flatten(1).std(1) / PICTURES.flatten(1).std(1)
    torch.testing.assert_close(stretched, mean + (PICTURES - mean) * factor[:, None, None, None], atol=1e-5, rtol=0)
    assert 0.7 <= factor.min() < 0.78
    assert 1.22 < factor.max() <= 1.3


def test_noise_is_gaussian_of_a_strength_of_its_own_in_each_picture():
    flat = torch.full((64, 1, 64, 64), 0.5)
    noise = changed(Augmentation(noise=0.05), flat) - flat
    sigma = noise.flatten(1).std(1)
    assert noise.mean().abs() < 1e-3
    assert sigma.min() < 0.01
    assert 0.04 < sigma.max() < 0.052
    assert (noise.abs() < 2 * sigma[:, None, None, None]).float().mean() == pytest.approx(0.9545, abs=0.01)


@pytest.mark.parametrize("name", ["brightness", "contrast", "noise"])
def test_what_would_leave_black_and_white_is_cut_there(name):
    pictures = torch.rand(32, 1, 16, 16, generator=torch.Generator().manual_seed(0)).round()
    found = changed(replace(Augmentation(), **{name: 0.5}), pictures)
    assert 0 <= found.min() <= found.max() <= 1
    assert not torch.equal(found, pictures)


def test_all_at_once_keep_shape_type_and_range_and_leave_the_pictures_as_they_were():
    before = PICTURES.clone()
    found = changed(ALL)
    assert (found.shape, found.dtype) == (PICTURES.shape, torch.float32)
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(PICTURES, before)


def test_the_seed_decides():
    assert torch.equal(changed(ALL, seed=3), changed(ALL, seed=3))
    assert not torch.equal(changed(ALL, seed=3), changed(ALL, seed=4))
