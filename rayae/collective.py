"""Home of what the workers of a training tell each other; with one worker alone, each answer is its own."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def count() -> int:
    """How many workers there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def reduced(values: Tensor, operation: Any = dist.ReduceOp.SUM) -> list[float]:
    """The values summed (or otherwise reduced) over the workers; waits for the device."""
    if count() > 1:
        dist.all_reduce(values, operation)
    return [float(value) for value in values.reshape(-1).tolist()]


def summed(values: Tensor) -> Tensor:
    """The values summed over the workers, on their device."""
    if count() == 1:
        return values
    sums = values.clone()
    dist.all_reduce(sums)
    return sums


def gathered(rows: Tensor) -> Tensor:
    """The `[N, ...]` rows of all workers, one worker's after the other's; each may have any number of them."""
    if count() == 1:
        return rows
    lengths = torch.zeros(count(), dtype=torch.int64, device=rows.device)
    lengths[dist.get_rank()] = len(rows)
    dist.all_reduce(lengths)
    most = int(lengths.max())
    filled = rows.new_zeros(most, *rows.shape[1:])
    filled[: len(rows)] = rows
    parts = [torch.empty_like(filled) for _ in range(count())]
    dist.all_gather(parts, filled)
    return torch.cat([part[:length] for part, length in zip(parts, lengths.tolist(), strict=True)])
