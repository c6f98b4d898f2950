"""Home of memory: what is free of it, and whether the pictures of a training fit."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

SHARE = 0.5
"""Of free memory, for pictures; the rest is for the network, its gradients and batches, decoding, and the system."""
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
GROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Where the limit of a container stands, what of it is in use, and how much of that are pages of files that make room
when asked to: of cgroups of the second version, and of the first."""


@dataclass(frozen=True)
class Room:
    """How many bytes of pictures can be held, infinitely many where nobody says, and where."""

    size_bytes: float
    place: str
    """`on 2 workers`, `in this process`"""


@dataclass(frozen=True)
class Holding:
    """Whether the pictures of a training are held in memory, and the arithmetic behind it."""

    is_held: bool
    sum: str

    @classmethod
    def of(cls, images: int, shape: tuple[int, int, int], room: Room) -> "Holding":
        """Of so many images of `(H, W, C)` bytes: held if they fit."""
        height, width, channels = shape
        needed = images * height * width * channels
        free = "unknown" if math.isinf(room.size_bytes) else in_words(room.size_bytes)
        return cls(
            needed <= room.size_bytes,
            f"{images:,} images x {height} x {width} x {channels} bytes = {in_words(needed)}, of {free} free for "
            f"pictures {room.place}",
        )


def in_words(size_bytes: float) -> str:
    """Bytes as MB below a GB, as GB above, of 1024 each."""
    mebibytes = size_bytes / 1024**2
    return f"{mebibytes:,.0f} MB" if mebibytes < 1024 else f"{mebibytes / 1024:,.1f} GB"


def free_bytes() -> int:
    """The memory that this process may still take: of the machine, and of its container if that has a limit."""
    return max(0, min([_of_machine(), *_of_containers()]))


def _of_machine() -> int:
    """What Linux calls available; elsewhere, all memory."""
    if not MEMINFO.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _numbers(MEMINFO.read_text())["MemAvailable:"] * 1024


def _of_containers() -> list[int]:
    found = []
    for limit, usage, statistics, cache in GROUPS:
        if (CGROUP / limit).exists() and (said := (CGROUP / limit).read_text().strip()) != "max":
            makes_room = _numbers((CGROUP / statistics).read_text())[cache]
            found.append(int(said) - int((CGROUP / usage).read_text()) + makes_room)
    return found


def _numbers(text: str) -> dict[str, int]:
    """Of lines that begin with a name and a number."""
    return {name: int(number) for name, number, *_ in map(str.split, text.splitlines())}
