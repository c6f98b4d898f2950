from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rayae.bundle import Bundle
from rayae.detector import on_device
from rayae.results import PIXEL_STATISTICS
from rayae.scorer import Scorer
from rayae.scores import PICTURE_SCORES

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
    found = replace(on_gpu, precision="float32").score(pixels)[0]
    cpu = torch.device("cpu")
    on_cpu = replace(on_gpu, detector=on_device(on_gpu.detector, cpu), device=cpu, precision="float32", micro_batch=32)
    for name, expected in on_cpu.score(pixels)[0].items():
        loose = name not in (*PICTURE_SCORES, *PIXEL_STATISTICS)  # logits, and what is divided by a small spread
        rtol, atol = (1e-2, 1e-2) if loose else (1e-4, 1e-6)
        np.testing.assert_allclose(found[name], expected, rtol=rtol, atol=atol)


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
