"""Flat pictures: whatever their brightness, colour and noise; a small detail is enough not to be one."""

import numpy as np
import pytest

from rayae.flatness import is_flat

COLOURS = [(0,), (255,), (17,), (0, 0, 255), (200, 20, 90)]


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_a_picture_of_one_brightness_and_colour_is_flat(colour):
    assert is_flat(np.full((16, 24, len(colour)), colour, np.uint8))


def test_noise_of_eight_grey_levels_leaves_it_flat_and_more_does_not():
    noise = np.random.default_rng(0).integers(0, 9, (32, 32, 1), dtype=np.uint8)
    assert noise.max() == 8
    assert is_flat(100 + noise)
    noise[3, 4] = 9
    assert not is_flat(100 + noise)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_detail_in_one_channel_is_enough(channel):
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[10:12, 10:12, channel] = 255
    assert not is_flat(picture)
