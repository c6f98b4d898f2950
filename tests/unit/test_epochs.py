"""What a training has reached: the best epoch so far, and when it is over."""

from dataclasses import replace

import pytest

from rayae.epochs import Epoch, Progress

EPOCH = Epoch(1, 0.5, 0.6, 0.02, 0.03, 1e-3, 100.0, 0.1, 2.0)


def progress_after(*losses):
    """The progress after epochs with these held-out losses, and whether each was the best so far."""
    progress = Progress()
    epochs = [replace(EPOCH, epoch=number, validation_loss=loss) for number, loss in enumerate(losses, 1)]
    return progress, [progress.add(epoch) for epoch in epochs]


def test_the_best_epoch_has_the_least_held_out_loss_and_is_the_first_of_equals():
    progress, is_best = progress_after(0.5, 0.5, 0.4, 0.6)
    assert is_best == [True, False, True, False]
    assert (progress.best_epoch, progress.best_loss, progress.next_epoch) == (3, 0.4, 5)
    assert [epoch.epoch for epoch in progress.history] == [1, 2, 3, 4]


def test_it_is_over_after_the_last_epoch():
    progress, _ = progress_after(0.5, 0.4, 0.3)
    assert [progress.is_over(epochs, patience=9) for epochs in (2, 3, 4)] == [True, True, False]
    assert not Progress().is_over(1, 1)


def test_it_is_over_when_so_many_epochs_were_not_better():
    progress, _ = progress_after(0.5, 0.3, 0.4, 0.3)
    assert [progress.is_over(99, patience) for patience in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("train_error", "validation_error", "ratio"), [(0.02, 0.03, 1.5), (0.02, 0.0, 0.0), (0.0, 0.03, None)]
)
def test_the_held_out_error_is_told_over_that_of_the_pictures_trained_on(train_error, validation_error, ratio):
    told = replace(EPOCH, train_error=train_error, validation_error=validation_error)
    assert told.error_ratio == (ratio if ratio is None else pytest.approx(ratio))
