"""Machines that come, die and are drained while a training runs on them; it goes on, and each epoch is there once.

The first case runs always; the others by `make machines`, which sets RAYAE_MACHINES.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayae.bundle import Bundle
from rayae.history import read_history
from tests.cluster.machines import Machines, machines, pause, why_impossible
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import PATIENCE_S, ends_well, wait_for

WHY = why_impossible()
pytestmark = pytest.mark.skipif(WHY is not None, reason=str(WHY))
long = pytest.mark.skipif(not os.environ.get("RAYAE_MACHINES"), reason="takes minutes: make machines")
EPOCHS, MANY = 30, 2000
"""Many last until an elastic training has looked for more room, which it does each minute."""


@pytest.fixture
def cluster() -> Iterator[Machines]:
    with machines(2) as found:
        yield found


def words(pictures: Path, out: Path, epochs: int, *more: str) -> list[str]:
    asked = [f"images={pictures}", "labels=folder", f"out={out}", f"epochs={epochs}", f"patience={epochs}"]
    return ["train", *asked, *SMALL_TRAINING, *more]


def trained(out: Path) -> list[int]:
    """The number of workers of each epoch so far."""
    return [epoch.workers for epoch in read_history(str(out / "training"))]


def midway(out: Path, log: Path, workers: int) -> None:
    """Wait for two epochs more, the last of them by so many workers."""
    done = len(trained(out))

    def is_reached() -> bool:
        assert "error: " not in log.read_text(), log.read_text()
        return len(now := trained(out)) >= done + 2 and now[-1] == workers

    wait_for(is_reached, f"two epochs by {workers} workers")


def check_whole(out: Path) -> list[int]:
    """Each epoch is there once; the workers of each."""
    history = Bundle.open(str(out)).training["history"]
    assert [epoch["epoch"] for epoch in history] == list(range(1, EPOCHS + 1))
    return [epoch["workers"] for epoch in history]


def test_a_drained_machine_spends_no_failure_and_an_elastic_training_goes_on_without_it(
    cluster: Machines, pictures: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    driver = cluster.start(*words(pictures, out, EPOCHS, "workers=[1,2]", "max_worker_failures=0"), log=log)
    midway(out, log, workers=2)
    cluster.drain(cluster.machines[1], deadline_s=5)
    pause(6)
    cluster.machines[1].kill()  # as who drains a machine does at the deadline
    midway(out, log, workers=1)
    ends_well(driver, log)
    found = check_whole(out)
    assert found == sorted(found, reverse=True)
    assert set(found) == {1, 2}
    assert "1 worker(s) from epoch" in log.read_text()


@long
def test_an_elastic_training_grows_when_a_machine_comes_and_shrinks_when_one_dies(
    cluster: Machines, pictures: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "bundle", tmp_path / "log"
    driver = cluster.start(*words(pictures, out, MANY, "workers=[1,3]", "max_worker_failures=1"), log=log)
    midway(out, log, workers=2)
    cluster.add(1)
    midway(out, log, workers=3)
    cluster.machines[1].kill()
    midway(out, log, workers=2)
    driver.terminate()
    assert driver.wait(PATIENCE_S) == 143
    history = read_history(str(out / "training"))
    assert [epoch.epoch for epoch in history] == list(range(1, len(history) + 1))
