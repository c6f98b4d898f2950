"""One small Ray cluster for all tests of this folder."""

import os
from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[None]:
    """Ray on this machine, for this process alone."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray.init("local", num_cpus=6, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
