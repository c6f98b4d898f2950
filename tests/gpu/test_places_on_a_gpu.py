"""Distances of features at each place on a CUDA device against those on a CPU."""

import pytest
import torch

from rayae.scores.places import PlaceSums

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_gpu_measures_what_a_cpu_does():
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(80, channels, 16, 16, generator=generator) for channels in (40, 60)]
    found = []
    for device in (torch.device("cuda"), torch.device("cpu")):
        train, new = ([maps[part].to(device) for maps in features] for part in (slice(60), slice(60, 80)))
        sums = PlaceSums(train, 8, 8)
        sums.add(train)
        found.append(sums.fitted()(new).cpu())
    torch.testing.assert_close(*found, rtol=2e-3, atol=2e-3)
