"""Runs in which something is killed at a random moment end with the rows of an undisturbed run."""

import os
import subprocess
import sys
from pathlib import Path

ROUNDS, SEED = 20, 20261124


def test_a_run_in_which_something_is_killed_at_any_moment_ends_with_the_undisturbed_rows(bundle: Path) -> None:
    """In a process of its own, since the Ray cluster of a process is one."""
    words = [sys.executable, "-m", "tests.faults.chaos", f"rounds={ROUNDS}", f"seed={SEED}", f"bundle={bundle}"]
    root = Path(__file__).parents[2]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, env={**os.environ, "RAY_ADDRESS": ""})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    assert f"{ROUNDS} rounds, every run whole" in done.stdout
    assert done.stdout.count(" killed at ") >= ROUNDS / 2, done.stdout
