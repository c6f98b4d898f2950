"""A Ray cluster of one node with a job server, as a platform runs it, with token authentication."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TOKEN = "a-token-of-the-tests-that-opens-nothing-else"
HEAD = """
import sys, ray
print(ray.init("local", num_cpus=4, include_dashboard=True, log_to_driver=False).dashboard_url, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@dataclass(frozen=True)
class JobServer:
    """Where it answers, and the environment variables by which it lets in."""

    address: str

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


@pytest.fixture(scope="session")
def job_server() -> Iterator[JobServer]:
    """It lives as long as its standard input; jobs find the Python of the tests first on their path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | own
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    assert head.stdout is not None
    assert head.stdin is not None
    try:
        yield JobServer(f"http://{head.stdout.readline().strip()}")
    finally:
        head.stdin.close()
        head.wait(60)
