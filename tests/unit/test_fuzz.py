"""Hostile bytes for all that reads files; longer and with other seeds by hand: see `fuzzing`."""

import os
import subprocess
import sys

import pytest

from tests.unit.fuzzing import TARGETS

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "120")
SEED = os.environ.get("FUZZ_SEED", "0")
SHARES = [
    ["decoder"],
    ["tar", "tar believed", "zip"],
    ["parquet", "tiff pages"],
    ["manifest", "list csv", "list txt", "list jsonl", "list parquet"],
]


@pytest.mark.parametrize("names", SHARES, ids=", ".join)
def test_hostile_bytes_raise_hang_and_take_nothing(names: list[str]) -> None:
    command = [sys.executable, "-m", "tests.unit.fuzzing", EXAMPLES, SEED, *names]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr[-8000:]
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == names


def test_every_target_has_its_share() -> None:
    assert [name for share in SHARES for name in share] == list(TARGETS)
