"""Where does the time of a GPU go while it scores: kernels, copies, or gaps in which it has nothing to do?

    python -m benchmarks.gpu [side=256] [batches=40] [base_width=32]

Micro-batches of random pictures, that lie in memory already, go through a network in bfloat16: as `Scorer.score` does
it, which waits for each of them; by lanes, as a run does it; and by lanes through a network that costs nothing, which
shows how many pictures one Python process can hand over at most. Shares are of the time between the first and the last
thing that the device does, by `torch.profiler`; kernels and copies may overlap. Without a CUDA device it says so.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks import untrained
from rayae.bundle import Bundle
from rayae.lanes import LANES, Lanes
from rayae.preprocess import Preprocess
from rayae.scorer import Scorer
from rayae.scores import PICTURE_SCORES
from rayae.terminal import say, show_table

DEFAULTS = {"side": "256", "batches": "40", "base_width": "32"}
COLUMNS = ("way", "images/s", "kernels", "copies", "gaps")
Batch = list[NDArray[np.uint8]]
Span = tuple[float, float]


@dataclass(frozen=True)
class Shares:
    """Parts of the time from the first to the last thing that a device does."""

    kernels: float
    copies: float
    gaps: float


def shares_of(kernels: list[Span], copies: list[Span]) -> Shares:
    """What spans of time, of kernels and of copies, come to."""
    both = [*kernels, *copies]
    whole = max(end for _, end in both) - min(start for start, _ in both)
    return Shares(covered(kernels) / whole, covered(copies) / whole, 1 - covered(both) / whole)


def covered(spans: Iterable[Span]) -> float:
    """The length of the union of spans."""
    length, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, until))
        until = max(until, end)
    return length


def spans_of(events: Iterable[Any]) -> tuple[list[Span], list[Span]]:
    """The kernels and the copies among the events of a profile."""
    kernels, copies = list[Span](), list[Span]()
    for event in events:
        if event.device_type == DeviceType.CUDA:
            is_copy = event.name.startswith(("Memcpy", "Memset"))
            (copies if is_copy else kernels).append((event.time_range.start, event.time_range.end))
    return kernels, copies


def by_lanes(begin: Callable[[Batch], Callable[[], object]], batches: list[Batch]) -> None:
    """Two micro-batches under way at a time."""
    begun = list[Callable[[], object]]()
    for batch in batches:
        begun.append(begin(batch))
        if len(begun) == LANES:
            begun.pop(0)()
    for take in begun:
        take()


def row(name: str, images: int, work: Callable[[], None]) -> list[str]:
    """The line of a way: its rate without the profiler, which slows it, and its shares."""
    work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    rate = images / (time.perf_counter() - started)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize()
    shares = shares_of(*spans_of(found.events() or []))
    return [name, f"{rate:,.0f}", *(f"{100 * share:.1f} %" for share in vars(shares).values())]


def mean_of(pixels: Tensor) -> Tensor:
    """A network that costs nothing."""
    return pixels.flatten(1)[:, :16].float().mean(1)[None]


def main(side: int, count: int, base_width: int) -> None:
    """Measure each way, and print a table."""
    if not torch.cuda.is_available():
        say("there is no CUDA device here, so nothing was measured")
        return
    preprocess = Preprocess("rgb", side, side)
    with tempfile.TemporaryDirectory() as folder:
        untrained.write(folder, untrained.network_of(preprocess, base_width, 64), preprocess, PICTURE_SCORES, "bf16")
        scorer = Scorer.open(Bundle.open(folder))
    shape = (scorer.micro_batch, side, side, 3)
    batch = list(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    batches = [batch] * count
    costless = Lanes(mean_of, shape, scorer.device)
    images = count * scorer.micro_batch

    def one_by_one() -> None:
        for one in batches:
            scorer.score(np.stack(one))

    rows = [
        row("one after the other", images, one_by_one),
        row("by lanes", images, lambda: by_lanes(scorer.begin, batches)),
        row("by lanes, network without cost", images, lambda: by_lanes(costless.begin, batches)),
    ]
    title = (
        f"{images:,} pictures of {side} x {side} x 3 in batches of {scorer.micro_batch}, {torch.cuda.get_device_name()}"
    )
    show_table(title, COLUMNS, rows)


if __name__ == "__main__":
    given = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    main(int(given["side"]), int(given["batches"]), int(given["base_width"]))
