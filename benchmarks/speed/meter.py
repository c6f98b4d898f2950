"""Home of what a command takes: wall time, CPU seconds and memory of every process that descends from it.

Ray's daemons leave the process group and are waited for by nobody, so a variable in the environment marks them.
"""

import os
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MARK = "RAYAE_BENCHMARK"
EVERY_S = 0.1
MEMORY_EVERY = 10
"""Memory is looked at each so many looks, since the kernel walks all pages for it."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    started: float
    """Seconds since the epoch."""
    wall_s: float
    cpu_s: float
    """Of all its processes, up to a tenth of a second of each."""
    peak_mb: float
    """The highest sum of their proportional set sizes."""


@dataclass
class _Watch:
    mark: str
    ended: threading.Event = field(default_factory=threading.Event)
    is_ours: dict[str, bool] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    peak_kb: int = 0

    def run(self) -> None:
        looks = 0
        while not self.ended.wait(EVERY_S):
            self.look(with_memory=looks % MEMORY_EVERY == 0)
            looks += 1

    def look(self, with_memory: bool) -> None:
        memory = 0
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.is_marked(process):
                    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                    self.cpu[process] = (int(words[11]) + int(words[12])) / TICKS
                    memory += proportional_kb(process) if with_memory else 0
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or is another user's
        self.peak_kb = max(self.peak_kb, memory)

    def is_marked(self, process: str) -> bool:
        """Whether it descends from the command. A process that has just forked has its parent's environment still."""
        if not self.is_ours.get(process):
            environment = Path(f"/proc/{process}/environ").read_bytes()
            self.is_ours[process] = f"{MARK}={self.mark}".encode() in environment
        return self.is_ours[process]


def proportional_kb(process: str) -> int:
    """Memory of a process, of which what it shares with n - 1 others counts as an n-th."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def take(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Taken:
    """Run a command to its end; its output goes to the log. CalledProcessError when it fails."""
    watch = _Watch(uuid.uuid4().hex)
    thread = threading.Thread(target=watch.run)
    started, begun = time.time(), time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, env=os.environ | environment | {MARK: watch.mark}, stdout=file, stderr=subprocess.STDOUT
        )
        thread.start()
        code = process.wait()
    wall = time.monotonic() - begun
    watch.ended.set()
    thread.join()
    if code:
        raise subprocess.CalledProcessError(code, command, output=log.read_text()[-2000:])
    return Taken(started, wall, sum(watch.cpu.values()), watch.peak_kb / 1024)
