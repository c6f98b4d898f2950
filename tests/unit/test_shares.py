"""What each worker holds: every image, as many for each, and as many steps."""

import numpy as np
import pytest

from rayae.shares import Share, images_of_each


def shares(train, held_out, workers):
    whole = Share(np.arange(100, 100 + train), np.arange(held_out))
    return [whole.of(rank, workers) for rank in range(workers)]


@pytest.mark.parametrize(("train", "workers"), [(24, 1), (24, 2), (24, 5), (7, 3), (3, 3), (2, 5), (1, 8)])
def test_every_image_is_trained_on_and_all_workers_hold_as_many(train, workers):
    found = [share.train for share in shares(train, 4, workers)]
    assert {len(one) for one in found} == {-(-train // workers)}
    assert all(len(set(one.tolist())) == len(one) for one in found)  # none has an image twice
    held, times = np.unique(np.concatenate(found), return_counts=True)
    assert held.tolist() == list(range(100, 100 + train))
    assert times.max() - times.min() <= 1
    assert times.sum() - train < workers


@pytest.mark.parametrize(("held_out", "workers"), [(6, 1), (6, 2), (7, 3), (3, 3), (2, 3), (1, 8)])
def test_a_held_out_image_is_with_one_worker(held_out, workers):
    found = np.concatenate([share.validation for share in shares(24, held_out, workers)])
    assert sorted(found.tolist()) == list(range(held_out))


def test_of_fewer_held_out_images_than_workers_the_first_workers_hold_one_each():
    assert [share.validation.tolist() for share in shares(24, 2, 3)] == [[0], [1], []]


def test_no_image_makes_no_share_of_any():
    assert [len(share.train) for share in shares(0, 2, 3)] == [0, 0, 0]


def test_a_step_takes_as_near_to_the_batch_as_it_divides():
    for batch_size in range(1, 50):
        for workers in range(1, 20):
            best = min(range(1, batch_size + 2), key=lambda each: (abs(each * workers - batch_size), each))
            assert images_of_each(batch_size, workers) == best, (batch_size, workers)
