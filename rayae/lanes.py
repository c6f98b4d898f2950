"""Home of the way of micro-batches to a device and of their scores back, so that the device never waits for a copy.

Two lanes take turns. Each has page-locked memory, from which a stream of its own copies to the device while the other
lane's micro-batch is computed, and all its scores come back in one copy. On CUDA the whole computation is one graph,
recorded once and replayed, since launching some hundred kernels takes longer than running them. All batches have one
shape, short ones are filled up.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayae.terminal import warn

LANES = 2
WARM_UP = 3
"""Passes before a graph is recorded: libraries choose their kernels in the first ones, and take memory for them."""
SAME = {"rtol": 1e-3, "atol": 1e-5}
"""How near a replayed graph has to come to the computation that it was recorded from."""
Compute = Callable[[Tensor], Tensor]
"""Pixels `[B, H, W, C]` uint8 on the device -> measurements `[S, B]` float32."""
Take = Callable[[], NDArray[np.float32]]
"""Waits for the measurements `[S, N]` of a micro-batch."""


class Lanes:
    """Computes micro-batches of up to `shape[0]` pictures, of which two may be under way at a time."""

    def __init__(self, compute: Compute, shape: tuple[int, ...], device: torch.device) -> None:
        """`shape` is `[B, H, W, C]`. Raises what torch raises, as when the device has no memory left."""
        self.device, self.streams = device, torch.get_device_module(device)
        self.copies = self.streams.Stream()
        self.lanes = [_Lane(compute, shape, device) for _ in range(LANES)]
        self.turn = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the lanes, here and on the device."""
        return sum(2 * (lane.here.nbytes + lane.found.nbytes) for lane in self.lanes)

    def begin(self, pictures: Sequence[NDArray[np.uint8]]) -> Take:
        """Send pictures `[H, W, C]` on their way.

        A micro-batch that is not taken before the one after the next is begun is lost, as where a chunk has failed: to
        take it then raises RuntimeError.
        """
        lane = self.lanes[self.turn]
        self.turn = (self.turn + 1) % LANES
        ticket = lane.fill(pictures)
        with self.streams.stream(self.copies):
            lane.there.copy_(lane.here, non_blocking=True)
        self.streams.current_stream().wait_stream(self.copies)
        lane.found.copy_(lane.run(), non_blocking=True)
        lane.done.record()
        return lambda: lane.take(ticket, len(pictures))


class _Lane:
    """The memory of one micro-batch, here and on the device."""

    def __init__(self, compute: Compute, shape: tuple[int, ...], device: torch.device) -> None:
        is_locked = device.type == "cuda"
        self.here = torch.zeros(shape, dtype=torch.uint8, pin_memory=is_locked)
        self.there = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.run = _recorded(compute, self.there) if device.type == "cuda" else lambda: compute(self.there)
        self.found = torch.empty(self.run().shape, dtype=torch.float32, pin_memory=is_locked)
        self.done: Any = torch.get_device_module(device).Event()
        self.ticket = 0
        """Of the micro-batch that it holds."""

    def fill(self, pictures: Sequence[NDArray[np.uint8]]) -> int:
        """Lay the pictures into the memory here, black after them, once it is free; the ticket to take them with."""
        self.done.synchronize()
        self.ticket += 1
        np.stack(pictures, out=self.here.numpy()[: len(pictures)])
        self.here[len(pictures) :] = 0
        return self.ticket

    def take(self, ticket: int, count: int) -> NDArray[np.float32]:
        """Wait for what was found, and copy it, so that the lane may be filled again."""
        if ticket != self.ticket:
            raise RuntimeError("this micro-batch was not taken before its lane was filled again")
        self.done.synchronize()
        return self.found[:, :count].numpy().copy()


def _recorded(compute: Compute, pixels: Tensor) -> Callable[[], Tensor]:
    """The computation of these pixels as a CUDA graph, which reads them anew each time it is called.

    As it is, which is told, where it cannot be recorded, as with a network that looks at its own numbers, or where the
    graph gives something else.
    """
    pixels.random_(0, 256)
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types there
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UP):
            expected = compute(pixels)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=_graph_memory(), capture_error_mode="thread_local"):
            found = compute(pixels)
    except RuntimeError as error:
        warn(f"the network runs kernel by kernel, since no CUDA graph of it can be recorded ({_first_line(error)}).")
        return lambda: compute(pixels)
    graph.replay()
    if not torch.allclose(found, expected, equal_nan=True, **SAME):
        warn("the network runs kernel by kernel, since its CUDA graph gives other scores.")
        return lambda: compute(pixels)
    return _replaying(graph, found)


@functools.cache
def _graph_memory() -> Any:
    """One for all graphs, which are replayed one after the other and keep nothing: what they find is copied at once."""
    return torch.cuda.graph_pool_handle()


def _replaying(graph: "torch.cuda.CUDAGraph", found: Tensor) -> Callable[[], Tensor]:
    def replay() -> Tensor:
        graph.replay()
        return found

    return replay


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(" .:") if str(error) else type(error).__name__
