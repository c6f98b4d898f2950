"""What is free, and whether pictures fit: the sums by hand, what is free by psutil."""

import math

import psutil
import pytest

from rayae import memory
from rayae.memory import Holding, Room, free_bytes, in_words


@pytest.mark.parametrize(("free", "is_held"), [(3_145_728, True), (3_145_727, False), (math.inf, True), (0, False)])
def test_pictures_are_held_when_every_byte_of_them_fits(free, is_held):
    assert Holding.of(64, (128, 128, 3), Room(free, "on 2 workers")).is_held is is_held


def test_the_arithmetic_is_told():
    holding = Holding.of(120_000, (128, 96, 3), Room(3.5 * 1024**3, "on 2 workers"))
    assert holding.sum == ("120,000 images x 128 x 96 x 3 bytes = 4.1 GB, of 3.5 GB free for pictures on 2 workers")
    assert Holding.of(10, (32, 32, 1), Room(math.inf, "on 1 worker")).sum == (
        "10 images x 32 x 32 x 1 bytes = 0 MB, of unknown free for pictures on 1 worker"
    )


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 MB"), (1.6 * 1024**2, "2 MB"), (1023 * 1024**2, "1,023 MB"), (1024**3, "1.0 GB")]
)
def test_bytes_are_told_in_the_unit_that_suits_them(size, words):
    assert in_words(size) == words


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 GB available, whose processes are in no group that is limited."""
    (tmp_path / "meminfo").write_text("MemTotal:  16777216 kB\nMemAvailable:    8388608 kB\nHugePages_Total:       0\n")
    (tmp_path / "self").write_text("0::/\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "OWN_CGROUPS", tmp_path / "self")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "cgroup")
    return tmp_path


def limit(machine, version, group, most, used=0, cached=0):
    """Write the files of a group; `most` is bytes or `max`."""
    folder = machine / "cgroup" / {1: "memory", 2: "."}[version] / group
    folder.mkdir(parents=True, exist_ok=True)
    names = {1: ("limit_in_bytes", "usage_in_bytes", "total_"), 2: ("max", "current", "")}[version]
    (folder / f"memory.{names[0]}").write_text(f"{most}\n")
    (folder / f"memory.{names[1]}").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 9\n{names[2]}inactive_file {cached}\n")


OWN = {1: "5:cpu,cpuacct:/else\n4:memory:{}\n0::/\n", 2: "0::{}\n"}
"""What the kernel tells of a process, with its group in the version of cgroups that limits memory."""


def test_without_a_limit_it_is_what_the_machine_has_available(machine):
    assert free_bytes() == 8 * 1024**3
    limit(machine, 2, ".", "max")
    assert free_bytes() == 8 * 1024**3


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_has_its_limit_less_what_cannot_make_room(machine, version):
    (machine / "self").write_text(OWN[version].format("/"))
    limit(machine, version, ".", 4_000_000_000, 3_000_000_000, 1_200_000_000)
    assert free_bytes() == 4_000_000_000 - 3_000_000_000 + 1_200_000_000


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("limited", ["job.slice", "job.slice/step.scope"])
def test_the_limit_of_the_own_group_and_of_each_above_it_holds(machine, version, limited):
    (machine / "self").write_text(OWN[version].format("/job.slice/step.scope"))
    unlimited = {1: 9_223_372_036_854_771_712, 2: "max"}[version]
    for group in ("job.slice", "job.slice/step.scope", "other.slice"):
        limit(machine, version, group, unlimited)
    limit(machine, version, "other.slice", 5)
    limit(machine, version, limited, 2_000_000_000, 500_000_000)
    assert free_bytes() == 1_500_000_000


def test_of_several_limits_the_one_that_leaves_least_holds(machine):
    (machine / "self").write_text("0::/a/b\n")
    limit(machine, 2, "a", 3_000_000_000, 2_500_000_000)
    limit(machine, 2, "a/b", 1_000_000_000, 100_000_000)
    assert free_bytes() == 500_000_000


@pytest.mark.parametrize("own", ["/docker/0123", "/../job.slice"])
def test_a_container_that_is_told_a_group_it_cannot_see_has_the_limit_of_its_root(machine, own):
    (machine / "self").write_text(f"0::{own}\n")
    limit(machine, 2, ".", 2_000_000_000)
    limit(machine, 2, "../job.slice", 5)
    assert free_bytes() == 2_000_000_000


def test_a_container_over_its_limit_has_nothing_free(machine):
    limit(machine, 2, ".", 1000, 5000)
    assert free_bytes() == 0


def test_without_groups_it_is_what_the_machine_has_available(machine):
    (machine / "self").unlink()
    limit(machine, 2, ".", 1000)
    assert free_bytes() == 8 * 1024**3


def test_this_machine_has_no_more_than_psutil_says():
    assert 0 < free_bytes() <= psutil.virtual_memory().available * 1.05


def test_elsewhere_than_on_linux_it_is_all_memory(machine, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", machine / "none")
    assert free_bytes() == psutil.virtual_memory().total
