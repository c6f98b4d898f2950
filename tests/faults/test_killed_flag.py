"""A process that flags a run is killed at some moment; started again, the decision is that of an undisturbed one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from rayae.cli import main
from rayae.decisions import all_of, read_flags
from tests.faults.processes import wait_for
from tests.unit.small_runs import finish, plan

WITH_SMALL_FILES = "from rayae import cli, decisions; decisions.FILE_ROWS = 1; cli.run()"
ROWS = 600


def test_the_decision_of_a_killed_process_is_made_by_the_same_command(tmp_path: Path) -> None:
    run = finish(plan(tmp_path / "run", rows=ROWS, chunk_images=300))
    words = ["flag", run.uri, "rule=fixed", "cut=2", "borderline=0"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_SMALL_FILES, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    folder = Path(run.uri, "decisions")
    wait_for(lambda: len([*folder.glob("*/flags-*.parquet")]) >= 3 or process.poll() is not None, "three files")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= len([*folder.glob("*/flags-*.parquet")]) < ROWS, "killed too late to be midway"
    assert main(["decisions", run.uri]) == 0
    assert all_of(run) == []
    assert main(words) == 0
    (decision,) = all_of(run)
    flags = pa.concat_tables(read_flags(run, decision.id))
    assert flags["image_id"].to_pylist() == list(range(ROWS))
    assert flags["is_anomaly"].to_pylist() == [None if number == 5 else number > 100 for number in range(ROWS)]
