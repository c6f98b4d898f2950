"""What workers tell each other: with any number of rows each, and with nobody else there."""

import pickle
import subprocess
import sys

import pytest
import torch

from rayae import collective

WORKER = """
import pickle, sys
import torch, torch.distributed as dist
from rayae import collective
place, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
rows = torch.arange(24.0).reshape(8, 3)
shares = [(3, 5), (5, 3), (0, 8), (8, 0), (0, 0), (4, 4)]
whole = lambda values, counts: values[: counts[0]] if rank == 0 else values[counts[0] : sum(counts)]
found = {
    "count": collective.count(),
    "gathered": [collective.gathered(whole(rows, counts)) for counts in shares],
    "whole numbers": collective.gathered(torch.arange(rank + 1)),
    "pictures": collective.gathered(torch.full((2 - rank, 2, 4, 4), float(rank))),
    "summed": collective.reduced(torch.tensor([1.5, rank])),
    "one value": collective.reduced(torch.tensor(2.0 + rank)),
    "least": collective.reduced(torch.tensor([rank, 5 - rank]), dist.ReduceOp.MIN),
}
open(f"{place}/{rank}", "wb").write(pickle.dumps((shares, found)))
dist.destroy_process_group()
"""
ROWS = torch.arange(24.0).reshape(8, 3)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes is told."""
    folder = tmp_path_factory.mktemp("workers")
    command = [sys.executable, "-c", WORKER, str(folder)]
    workers = [subprocess.Popen([*command, str(rank)]) for rank in (0, 1)]
    assert [worker.wait(240) for worker in workers] == [0, 0]
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in (0, 1)]


def test_rows_of_two_workers_come_together_in_order_whatever_each_has(both):
    for shares, found in both:
        for (first, second), rows in zip(shares, found["gathered"], strict=True):
            assert torch.equal(rows, ROWS[: first + second])


def test_rows_of_any_shape_and_kind_come_together(both):
    for _, found in both:
        assert found["whole numbers"].tolist() == [0, 0, 1]
        assert found["whole numbers"].dtype == torch.int64
        assert found["pictures"].shape == (3, 2, 4, 4)
        assert found["pictures"][:, 0, 0, 0].tolist() == [0, 0, 1]


def test_both_workers_get_the_same_sums_and_minima(both):
    for _, found in both:
        assert found["count"] == 2
        assert (found["summed"], found["one value"], found["least"]) == ([3.0, 1.0], [5.0], [0.0, 4.0])


def test_one_worker_alone_is_told_what_it_said():
    assert collective.count() == 1
    assert collective.gathered(ROWS) is ROWS
    assert collective.reduced(torch.tensor([1.5, 2.0])) == [1.5, 2.0]
    assert collective.reduced(torch.tensor(3)) == [3.0]
