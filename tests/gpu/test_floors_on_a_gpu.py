"""The floors on a CUDA device against those on a CPU."""

import numpy as np
import pytest
import torch

from rayae.floors import Floors, fit

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_measures_what_a_cpu_does(channels):
    pixels = (
        np.random.default_rng(0).integers(0, 256, (60, 8, 8, channels), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    )
    arrays, test = fit(pixels[:40], 0), torch.from_numpy(pixels[40:])
    there = Floors(arrays, torch.device("cuda")).measure(test.cuda())
    for name, values in Floors(arrays, torch.device("cpu")).measure(test).items():
        torch.testing.assert_close(there[name].cpu(), values, rtol=1e-4, atol=1e-5)
