"""Memory that is given back is not cleared by the kernel once more, and does not grow."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from rayae.allocator import keep_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def faults_of(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        torch.ones(16 * 1024**2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "kept":
    assert keep_memory()
faults_of(100)
before = resident()
print(faults_of(300), (resident() - before) // 1024**2)
"""
"""Prints the page faults of writing 64 MB 300 times, and the MB by which the process has grown meanwhile."""


def faults(how: str) -> tuple[int, int]:
    said = subprocess.run([sys.executable, "-c", FAULTS, how], check=True, capture_output=True, text=True).stdout
    found, grown = map(int, said.split())
    return found, grown


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of glibc; elsewhere keep_memory does nothing")
def test_memory_that_is_kept_is_not_asked_of_the_kernel_again_and_is_no_more() -> None:
    (kept, grown), (by_itself, _) = faults("kept"), faults("by itself")
    assert by_itself > 300 * 64 * 1024**2 / 4096 / 2
    assert kept < by_itself / 10
    assert grown < 64
