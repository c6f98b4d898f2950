"""The checkpoint: what goes in comes out, nothing of it runs, and another model's is refused."""

import io
import re

import pytest
import torch

from rayae import checkpoints, detector
from rayae.epochs import Epoch, Outcome, Progress
from rayae.errors import TrainingError
from tests.unit.small_things import DETECTOR, NETWORK

EPOCHS = [Epoch(number, 0.5, 0.6 / number, 0.02, 0.03, 1e-3, 100.0, 0.1, 2.0) for number in (1, 2, 3)]
OUTCOME = Outcome(b"weights", DETECTOR | {"latent": 4}, "bf16", {"auroc": {"mse": 0.75}, "images": 6})
DAMAGED = "the checkpoint to go on from is damaged; remove the folder `training` in `out=` to train anew."


def a_model(seed=0, latent=4):
    """A model and its optimizer after one step."""
    torch.manual_seed(seed)
    model = detector.build(NETWORK | {"latent": latent}, DETECTOR)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01 * (seed + 1))
    model(torch.rand(2, 1, 32, 32)).pictures.sum().backward()
    optimizer.step()
    return model, optimizer


def progress_after(epochs, outcome=None):
    progress = Progress(outcome=outcome)
    for epoch in EPOCHS[:epochs]:
        if progress.add(epoch):
            progress.best = b"best of %d" % epoch.epoch
    return progress


def same(one, other):
    """Whether two states are alike in all tensors and values."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("epochs", [1, 3])
def test_model_optimizer_and_progress_come_back(epochs):
    (model, optimizer), (other, others) = a_model(), a_model(1)
    checkpoint = checkpoints.make(model, optimizer, progress_after(epochs))
    assert not same(other.state_dict(), model.state_dict())
    assert checkpoints.restore(checkpoint, other, others) == progress_after(epochs) == checkpoints.reached(checkpoint)
    assert same(other.state_dict(), model.state_dict())
    assert same(others.state_dict(), optimizer.state_dict())


def test_before_the_end_there_is_all_to_go_on_from_and_at_the_end_only_what_was_reached():
    for progress, keys in (
        (progress_after(2), {"model", "optimizer", "progress"}),
        (progress_after(3, OUTCOME), {"progress"}),
    ):
        state = torch.load(io.BytesIO(checkpoints.make(*a_model(), progress)), weights_only=True)
        assert set(state) == keys


def test_at_the_end_the_outcome_comes_back_and_the_model_stays():
    (model, optimizer), (other, others) = a_model(), a_model(1)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    checkpoint = checkpoints.make(model, optimizer, progress_after(3, OUTCOME))
    assert checkpoints.restore(checkpoint, other, others) == progress_after(3, OUTCOME)
    assert same(other.state_dict(), before)


def test_another_model_s_checkpoint_is_refused():
    checkpoint = checkpoints.make(*a_model(), progress_after(1))
    words = (
        "the checkpoint to go on from is of another network (Error(s) in loading state_dict for Detector); "
        "give the training a new `out=`."
    )
    with pytest.raises(TrainingError, match=f"^{re.escape(words)}$"):
        checkpoints.restore(checkpoint, *a_model(latent=5))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_is_told(share):
    checkpoint = checkpoints.make(*a_model(), progress_after(1))
    with pytest.raises(TrainingError, match=f"^{re.escape(DAMAGED)}$"):
        checkpoints.reached(checkpoint[: int(share * len(checkpoint))])


@pytest.mark.parametrize("state", [{}, [], 3, {"progress": {}}, {"progress": None}, {"progress": {"outcome": None}}])
def test_something_else_in_its_place_is_told(state):
    other = io.BytesIO()
    torch.save(state, other)
    with pytest.raises(TrainingError, match=f"^{re.escape(DAMAGED)}$"):
        checkpoints.reached(other.getvalue())
