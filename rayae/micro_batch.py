"""Home of the size of a micro-batch: how many pictures go through a network at once."""

import time
from collections.abc import Callable

import torch

MICRO_BATCH = {"cpu": 32, "cuda": 256}
MICRO_BATCH_PIXELS = 256 * 256
"""Side by side of the pictures that the sizes above are for; of larger ones fewer go through the network at once, since
a CPU that runs out of memory kills the process instead of raising."""
PROBED = (0.25, 0.5, 1, 2, 4)
"""Shares of the usual micro-batch that are tried on a GPU."""
TIMES = 3
"""That each is timed, after one pass that warms up."""
ENOUGH = 0.95
"""Of the highest rate: a larger micro-batch that brings less is not worth its memory and its latency."""


def default_micro_batch(device: torch.device, picture_pixels: int) -> int:
    """Images of `picture_pixels` (height times width) that go through the network at once when nobody says."""
    most = MICRO_BATCH[device.type]
    return max(1, min(most, most * MICRO_BATCH_PIXELS // picture_pixels))


def fastest_micro_batch(usual: int, seconds_of: Callable[[int], float]) -> int:
    """The smallest micro-batch that is almost as fast as the fastest, of those that there is memory for."""
    rates = dict[int, float]()
    for share in PROBED:
        size = max(1, round(usual * share))
        try:
            rates[size] = size / seconds_of(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
    return min((size for size, rate in rates.items() if rate >= ENOUGH * max(rates.values())), default=usual)


def timed(work: Callable[[int], object], device: torch.device) -> Callable[[int], float]:
    """The seconds that some work takes on a CUDA device, by the size of its batch."""

    def seconds_of(size: int) -> float:
        work(size)
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(TIMES):
            work(size)
        torch.cuda.synchronize(device)
        return (time.perf_counter() - started) / TIMES

    return seconds_of


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    words = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)
