"""A Ray cluster of one node with a job server, as a platform runs it, with token authentication."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.cluster.aws_account import account  # noqa: F401
from tests.faults.processes import wait_for
from tests.servers import free_port

BIN = Path(sys.executable).parent
TOKEN = "a-token-of-the-tests-that-opens-nothing-else"


@dataclass(frozen=True)
class JobServer:
    """Where it answers, and the environment variables by which it lets in."""

    address: str
    metrics: str
    """Where Prometheus would ask."""
    folder: Path
    """Ray's temporary folder, with the logs of its session."""
    agent: str
    """Where the agent of the node answers."""
    token: str = TOKEN

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@pytest.fixture(scope="session")
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    with running_head(tmp_path_factory.mktemp("head") / "log") as server:
        yield server


@contextmanager
def running_head(log: Path, more: Mapping[str, str] | None = None, token: str = TOKEN) -> Iterator[JobServer]:
    """`ray start` with ports and a folder of its own, ended by its pid; jobs find the Python of the tests first.

    The cluster's environment is that of the tests, with `more`.
    """
    # A short name, as sockets lie in it; the last process of the head may still write when the head has ended.
    with tempfile.TemporaryDirectory(prefix="rh-", ignore_cleanup_errors=True) as folder:
        names = ("dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port", "metrics-export-port")
        ports = {name: free_port() for name in names}
        words = ["--head", "--block", "--num-cpus=4", "--port=0", "--include-dashboard=true", f"--temp-dir={folder}"]
        with log.open("wb") as output:
            head = subprocess.Popen(
                [str(BIN / "ray"), "start", *words, *(f"--{name}={port}" for name, port in ports.items())],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_environment(), "RAY_AUTH_TOKEN": token, **(more or {})},
            )
        address, metrics, agent = (
            f"http://127.0.0.1:{ports[name]}"
            for name in ("dashboard-port", "metrics-export-port", "dashboard-agent-listen-port")
        )
        server = JobServer(address, f"{metrics}/metrics", Path(folder), agent, token)
        try:
            wait_for(lambda: head.poll() is not None or _has_agent(server), f"a job server; see {log}")
            assert head.poll() is None, log.read_text()
            yield server
        finally:
            head.terminate()
            head.wait(60)


def _environment() -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    own = {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "OMP_NUM_THREADS": "1"}
    return outside | own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


def _has_agent(server: JobServer) -> bool:
    """Whether jobs are taken: the agent of the node comes some seconds after the server."""
    try:
        answer = requests.get(f"{server.address}/api/component_activities", headers=server.headers, timeout=5)
        nodes = requests.get(f"{server.address}/nodes?view=summary", headers=server.headers, timeout=5)
    except requests.ConnectionError:
        return False
    return answer.ok and nodes.ok and bool(nodes.json()["data"]["summary"])
