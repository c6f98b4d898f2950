"""A training on a CUDA device with all that it does there by itself: compiled, in bf16, with a head and statistics."""

import numpy as np
import pytest
import torch

from rayae import detector
from rayae.results import PIXEL_STATISTICS
from rayae.scorer import Scorer
from rayae.scores import SCORE_NAMES
from rayae.training import Outcome, fit
from tests.unit.test_training_tasks import HELD_OUT, REGION, TRAIN, plan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")


def scored(trained: Outcome, network: dict[str, object], device: torch.device) -> dict[str, np.ndarray]:
    model = detector.load(network, trained.detector, trained.weights)
    names = (*model.score_names(), *PIXEL_STATISTICS)
    return Scorer(detector.on_device(model, device).eval(), names, device, "float32", 8).score(HELD_OUT)[0]


@pytest.mark.parametrize("region", [None, REGION], ids=["whole", "region"])
def test_a_training_on_a_gpu_ends_with_a_detector_that_a_cpu_scores_with_alike(region: np.ndarray | None) -> None:
    asked = plan("repair", "unet", precision="auto")
    progress = fit(asked, TRAIN, HELD_OUT, device=GPU, region=region)
    trained = progress.outcome
    assert trained is not None
    assert trained.precision == "bf16"
    on_gpu, on_cpu = (scored(trained, asked.network, device) for device in (GPU, torch.device("cpu")))
    assert {*SCORE_NAMES} <= {*on_gpu}
    for name in SCORE_NAMES:
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], rtol=2e-2, atol=2e-2, err_msg=name)
