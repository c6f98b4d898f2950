"""Pixels on their way into a network."""

import numpy as np
import pytest
import torch

from rayae.pixels import as_images


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_become_float32_pictures_between_0_and_1_channels_last(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 24, channels), np.uint8)
    pixels[0, 0, :2] = [[0], [255]]
    images = as_images(torch.from_numpy(pixels))
    assert (images.shape, images.dtype) == ((5, channels, 16, 24), torch.float32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(images.numpy(), np.float32(pixels.transpose(0, 3, 1, 2)) / np.float32(255))
