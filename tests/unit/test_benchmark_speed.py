import os
import sys
from pathlib import Path

import pytest

from benchmarks import untrained
from benchmarks.speed.__main__ import difference, measure
from benchmarks.speed.images import make
from benchmarks.speed.meter import take
from benchmarks.speed.model import PRECISION, PREPROCESS, SCORE

BURN = "import time\nwhile time.process_time() < 1: pass"
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN!r}], start_new_session=True).wait()"


def test_rayae_gives_the_scores_of_the_loop_by_hand(tmp_path: Path) -> None:
    bundle, log = str(tmp_path / "bundle"), tmp_path / "log.txt"
    untrained.write(bundle, untrained.network_of(PREPROCESS), PREPROCESS, (SCORE,), PRECISION)
    fewer, images = make(tmp_path / "fewer", 96, 32), make(tmp_path / "all", 96, 320)
    by_hand, inline = (measure(name, fewer, images, bundle, log) for name in ("by hand", "rayae inline"))
    assert len(by_hand.scores) == 320
    assert len(set(by_hand.scores.values())) > 30
    assert difference(inline.scores, by_hand.scores) < 0.01
    assert by_hand.peak_mb > 50
    assert by_hand.whole > 0  # `steady` and `cpu_ms` are differences of two short runs, of either sign


def test_the_cpu_of_processes_that_leave_the_session_counts(tmp_path: Path) -> None:
    taken = take([sys.executable, "-c", ORPHAN], {}, tmp_path / "log.txt")
    assert 0.8 < taken.cpu_s < 3


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="exit status 3"):
        take([sys.executable, "-c", "raise SystemExit(3)"], dict(os.environ), tmp_path / "log.txt")
