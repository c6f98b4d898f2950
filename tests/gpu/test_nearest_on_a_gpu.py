"""The distance to the nearest training picture on a CUDA device against that on a CPU."""

import numpy as np
import pytest
import torch

from rayae.nearest import BITS, Nearest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_measures_what_a_cpu_does(channels):
    coarse = np.random.default_rng(0).random((60, channels, 8, 8), np.float32)
    images = torch.from_numpy(coarse.repeat(8, axis=2).repeat(8, axis=3))
    found = []
    for device in (torch.device("cuda"), torch.device("cpu")):
        blank = Nearest.blank(channels, device)
        nearest = blank.fitted(blank.coded(images[:40].to(device)))
        found.append(nearest(images[40:].to(device)).cpu())
    torch.testing.assert_close(*found, rtol=0, atol=3 / BITS)  # a thumbnail on a hyperplane may fall to either side
