"""Micro-batches on their way to a CUDA device: the graph gives what kernels do, and nothing waits but for scores."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rayae.bundle import Bundle
from rayae.lanes import Lanes
from rayae.scorer import Scorer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
SHAPE = (16, 32, 32, 1)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, *SHAPE[1:]), dtype=np.uint8)


@pytest.fixture
def waiting_is_told() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    yield
    torch.cuda.set_sync_debug_mode(before)


def batches(pixels: np.ndarray) -> list[list[np.ndarray]]:
    return [list(pixels[first : first + SHAPE[0]]) for first in range(0, len(pixels), SHAPE[0])]


def test_scores_by_lanes_are_those_of_score(bundle: Path, pixels: np.ndarray) -> None:
    scorer = Scorer.open(Bundle.open(str(bundle)), micro_batch=SHAPE[0])
    expected, _ = scorer.score(pixels)
    begun, found = [], []
    for batch in batches(pixels):
        begun.append(scorer.begin(batch))
        if len(begun) > scorer.ahead:
            found.append(begun.pop(0)())
    found += [scored() for scored in begun]
    assert scorer.lanes is not None
    assert not any(blamed for _, blamed in found)
    for name in scorer.score_names:
        values = np.concatenate([scores[name] for scores, _ in found])
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=1e-5)


def test_nothing_waits_for_the_device_while_a_micro_batch_is_begun(
    bundle: Path, pixels: np.ndarray, waiting_is_told: None
) -> None:
    scorer = Scorer.open(Bundle.open(str(bundle)), micro_batch=SHAPE[0])
    scorer.begin(batches(pixels)[0])()  # lays the lanes
    torch.cuda.set_sync_debug_mode("error")
    begun = [scorer.begin(batch) for batch in batches(pixels)[:2]]
    torch.cuda.set_sync_debug_mode("default")
    assert all(not scored()[1] for scored in begun)


def test_what_cannot_be_recorded_runs_kernel_by_kernel(pixels: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    def looks_at_its_numbers(some: torch.Tensor) -> torch.Tensor:
        means = some.float().mean((1, 2, 3))
        return means[None] * (2.0 if float(means.max()) >= 0 else 1.0)

    lanes = Lanes(looks_at_its_numbers, SHAPE, torch.device("cuda"))
    found = lanes.begin(list(pixels[:16]))()
    np.testing.assert_allclose(found[0], 2 * pixels[:16].mean((1, 2, 3)), rtol=1e-5)
    assert "no CUDA graph of it can be recorded" in capsys.readouterr().err


def test_the_probe_finds_a_micro_batch(bundle: Path) -> None:
    scorer = Scorer.open(Bundle.open(str(bundle)))
    assert scorer.micro_batch >= 64
    assert np.isfinite(scorer.begin([np.zeros(SHAPE[1:], np.uint8)])()[0]["mse"]).all()
