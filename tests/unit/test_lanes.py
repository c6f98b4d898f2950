"""The way of micro-batches to a device and back, on a CPU, whose streams do nothing: only the order is shown."""

import numpy as np
import pytest
import torch

from rayae.lanes import LANES, Lanes

CPU = torch.device("cpu")
PICTURES = np.random.default_rng(0).integers(1, 256, (23, 8, 6, 1), dtype=np.uint8)


def means(pixels: torch.Tensor) -> torch.Tensor:
    values = pixels.float().flatten(1)
    return torch.stack([values.mean(1), values.amax(1), torch.full((len(values),), float(values[-1].sum() > 0))])


def expected(pictures: np.ndarray) -> np.ndarray:
    return np.stack([pictures.mean((1, 2, 3)), pictures.max((1, 2, 3))])


def test_what_comes_back_is_what_was_sent_in_its_order_with_two_under_way() -> None:
    lanes = Lanes(means, (5, 8, 6, 1), CPU)
    parts = [PICTURES[first : first + 5] for first in range(0, len(PICTURES), 5)]
    taken, under_way = [], []
    for part in parts:
        under_way.append(lanes.begin(list(part)))
        if len(under_way) == LANES:
            taken.append(under_way.pop(0)())
    taken += [take() for take in under_way]
    np.testing.assert_allclose(np.concatenate(taken, axis=1)[:2], expected(PICTURES), rtol=1e-6)


def test_a_short_micro_batch_has_black_pictures_after_it() -> None:
    lanes = Lanes(means, (5, 8, 6, 1), CPU)
    for _ in range(LANES):  # each lane has held a full one
        assert lanes.begin(list(PICTURES[:5]))()[2].all()
    short = lanes.begin(list(PICTURES[:3]))()
    assert short.shape == (3, 3)
    assert not short[2].any()


def test_what_was_taken_stays_when_the_lane_is_used_again() -> None:
    lanes = Lanes(means, (5, 8, 6, 1), CPU)
    first = lanes.begin(list(PICTURES[:5]))()
    before = first.copy()
    for _ in range(LANES):
        lanes.begin(list(PICTURES[5:10]))()
    np.testing.assert_array_equal(first, before)


def test_a_micro_batch_that_is_given_up_blocks_no_other_and_is_never_taken_for_another() -> None:
    """As when a chunk fails while two are under way, and the worker goes on with the next chunk."""
    lanes = Lanes(means, (5, 8, 6, 1), CPU)
    given_up = [lanes.begin(list(PICTURES[:5])) for _ in range(LANES)]
    later = [lanes.begin(list(PICTURES[first : first + 5])) for first in (5, 10)]
    for take in given_up:
        with pytest.raises(RuntimeError, match="was not taken before its lane was filled again"):
            take()
    taken = np.concatenate([take() for take in later], axis=1)
    np.testing.assert_allclose(taken[:2], expected(PICTURES[5:15]), rtol=1e-6)


def test_the_bytes_are_those_of_both_ends_of_all_lanes() -> None:
    assert Lanes(means, (5, 8, 6, 1), CPU).nbytes == LANES * 2 * (5 * 8 * 6 + 4 * 3 * 5)
