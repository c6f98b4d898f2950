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
    """A machine with 8 GB available, whose container is not limited yet."""
    (tmp_path / "meminfo").write_text("MemTotal:  16777216 kB\nMemAvailable:    8388608 kB\nHugePages_Total:       0\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_without_a_limit_it_is_what_the_machine_has_available(machine):
    assert free_bytes() == 8 * 1024**3
    (machine / "memory.max").write_text("max\n")
    assert free_bytes() == 8 * 1024**3


@pytest.mark.parametrize("folder", [".", "memory"])
def test_a_container_has_its_limit_less_what_cannot_make_room(machine, folder):
    names = {".": ("max", "current", ""), "memory": ("limit_in_bytes", "usage_in_bytes", "total_")}[folder]
    (machine / folder).mkdir(exist_ok=True)
    (machine / folder / f"memory.{names[0]}").write_text("4000000000\n")
    (machine / folder / f"memory.{names[1]}").write_text("3000000000\n")
    (machine / folder / "memory.stat").write_text(f"anon 9\n{names[2]}inactive_file 1200000000\n")
    assert free_bytes() == 4_000_000_000 - 3_000_000_000 + 1_200_000_000


def test_a_container_over_its_limit_has_nothing_free(machine):
    (machine / "memory.max").write_text("1000\n")
    (machine / "memory.current").write_text("5000\n")
    (machine / "memory.stat").write_text("inactive_file 0\n")
    assert free_bytes() == 0


def test_this_machine_has_no_more_than_psutil_says():
    assert 0 < free_bytes() <= psutil.virtual_memory().available * 1.05


def test_elsewhere_than_on_linux_it_is_all_memory(machine, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", machine / "none")
    assert free_bytes() == psutil.virtual_memory().total
