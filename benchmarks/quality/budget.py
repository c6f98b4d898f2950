"""Home of the time a training may take: CPU-minutes of this process, since the cores are shared; the wall beside it."""

import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Budget:
    """Minutes from when it is made. All threads of the process count, those of child processes do not."""

    minutes: float
    cpu_began: float = field(default_factory=time.process_time)
    wall_began: float = field(default_factory=time.monotonic)

    @property
    def cpu_minutes(self) -> float:
        """CPU time, user and system."""
        return (time.process_time() - self.cpu_began) / 60

    @property
    def wall_minutes(self) -> float:
        """Time on the clock."""
        return (time.monotonic() - self.wall_began) / 60

    @property
    def share(self) -> float:
        """How much of the CPU-minutes is spent, from 0 to 1."""
        return min(1.0, self.cpu_minutes / self.minutes) if self.minutes > 0 else 1.0
