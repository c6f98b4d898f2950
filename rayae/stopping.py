"""Home of SIGTERM: what a batch system, systemd or `kill` sends to end a process that may still tidy up.

The chunk in hand is finished first; then the run ends as by Ctrl-C, with its lease given back, and the same command
goes on from there.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(BaseException):
    """SIGTERM came; no error, so that nothing catches it on its way out."""


class _Asked:
    """Whether SIGTERM came, and whether something is in hand that is finished first."""

    came = False
    in_hand = 0


def terminate(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM: raises Terminated in the main thread, at once or when what is in hand is finished."""
    _Asked.came = True
    if not _Asked.in_hand:
        raise Terminated


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Take SIGTERM for a wish to end in order, while the block lasts; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _Asked.came = False
    former = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextlib.contextmanager
def finished_first() -> Iterator[None]:
    """Put Terminated off to the end of the block."""
    _Asked.in_hand += 1
    try:
        yield
    finally:
        _Asked.in_hand -= 1
    if _Asked.came and not _Asked.in_hand:
        raise Terminated


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Have the same handler after the block as before it: `ray.init` sets one of its own, which ends the process."""
    former = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, former)
