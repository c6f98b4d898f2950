"""Home of memory: what is free of it, and whether the pictures of a training fit."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

SHARE = 0.5
"""Of free memory, for pictures; the rest is for the network, its gradients and batches, decoding, and the system."""
MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
"""A line a hierarchy: its number, its controllers (none for cgroups of the second version), and the own group in it."""


@dataclass(frozen=True)
class Hierarchy:
    """Where the groups of a version of cgroups lie, and what the files of each are called."""

    mount: str
    limit: str
    usage: str
    cache: str
    """In `memory.stat`: pages of files, which make room when asked to, of the group and all below it."""


FIRST = Hierarchy("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
SECOND = Hierarchy("", "memory.max", "memory.current", "inactive_file")


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
    """The memory that this process may still take: of the machine, and of each group of processes that it is in.

    A limit stands for a container, a batch job or a systemd unit, and holds for all groups within its own.
    """
    return max(0, min([_of_machine(), *_of_groups()]))


def _of_machine() -> int:
    """What Linux calls available; elsewhere, all memory."""
    if not MEMINFO.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _numbers(MEMINFO.read_text())["MemAvailable:"] * 1024


def _of_groups() -> list[int]:
    """What is left below the limit of every group that has one."""
    if not OWN_CGROUPS.exists():
        return []
    groups = []
    for line in OWN_CGROUPS.read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers:
            groups += _groups_of(SECOND, own)
        elif "memory" in controllers.split(","):
            groups += _groups_of(FIRST, own)
    return groups


def _groups_of(hierarchy: Hierarchy, own: str) -> list[int]:
    root = CGROUPS / hierarchy.mount
    path = root / own.lstrip("/")
    if ".." in path.parts:  # of a group outside of what is mounted here
        path = root
    left = []
    for group in (path, *path.parents[: len(path.parts) - len(root.parts)]):
        limit = group / hierarchy.limit
        if limit.exists() and (said := limit.read_text().strip()) != "max":  # a container may see its root alone
            makes_room = _numbers((group / "memory.stat").read_text())[hierarchy.cache]
            left.append(int(said) - int((group / hierarchy.usage).read_text()) + makes_room)
    return left


def _numbers(text: str) -> dict[str, int]:
    """Of lines that begin with a name and a number."""
    return {name: int(number) for name, number, *_ in map(str.split, text.splitlines())}
