from pathlib import Path

import numpy as np
import pytest
import torch

from rayae.bundle import Bundle
from rayae.scorer import Scorer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 32, 32, 1), dtype=np.uint8)


def test_a_gpu_gives_the_scores_of_the_cpu(bundle: Path, pixels: np.ndarray) -> None:
    on_gpu = Scorer.open(Bundle.open(str(bundle)))
    assert on_gpu.device.type == "cuda"
    on_cpu = Scorer(on_gpu.network, on_gpu.score_names, torch.device("cpu"), "float32", 32)
    found = Scorer(on_gpu.network, on_gpu.score_names, on_gpu.device, "float32", 32).score(pixels)[0]
    on_cpu.network.to("cpu")
    for name, expected in on_cpu.score(pixels)[0].items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6)


def test_running_out_of_gpu_memory_halves_the_micro_batch_and_loses_no_image(bundle: Path) -> None:
    scorer = Scorer.open(Bundle.open(str(bundle)), micro_batch=2**20)
    pixels = np.zeros((2**20, 32, 32, 1), dtype=np.uint8)
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        scores, blamed = scorer.score(pixels)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert scorer.micro_batch < 2**20
    assert not blamed
    assert np.isfinite(scores["mse"]).all()
