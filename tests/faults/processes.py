"""Finding and killing processes that a test has started, and no others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

PATIENCE_S = 300.0
Found = TypeVar("Found")


def start(*words: str, env: Mapping[str, str] | None = None, log: Path) -> "subprocess.Popen[bytes]":
    """Start `rayae` in a process of its own; what it says goes to the log."""
    quiet = {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    with open(log, "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "rayae", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **quiet, **(env or {})},
        )


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, and their command lines."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = (int(fields[1]), line)
    found: dict[int, str] = {}
    level = {pid}
    while level:
        level = {child for child, (parent, _) in parents.items() if parent in level}
        found |= {child: parents[child][1] for child in level}
    return found


def kill_one(pid: int, name: str) -> int:
    """SIGKILL to one process below `pid` whose command line holds `name`; its pid."""
    victim = wait_for(lambda: next((p for p, line in descendants(pid).items() if name in line), None), f"a {name}")
    os.kill(victim, signal.SIGKILL)
    return victim


def wait_for(look: Callable[[], Found | None], what: str) -> Found:
    """The first true answer of `look`, asked often; AssertionError when it does not come."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE_S:g} s for {what}")


def ends_well(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for the process; AssertionError, with its log, when it fails."""
    code = process.wait(timeout=PATIENCE_S)
    assert code == 0, f"exit code {code}\n{log.read_text()}"
