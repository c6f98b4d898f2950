"""Home of the way to a cluster: joining one, and whether a plan fits on it."""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from rayae.errors import ClusterError
from rayae.terminal import say


@dataclass(frozen=True)
class Workers:
    """A plan's workers: how many, and what Ray sets aside for each."""

    count: int
    cpus: float
    gpus: float


def connect(wanted_cpus: int) -> None:
    """Join the cluster of RAY_ADDRESS (as in a submitted job), else start Ray on this machine for this process alone.

    An address file that another Ray left on the machine is not followed. On this machine alone Ray is told of at
    least `wanted_cpus`, so that a small one shares its cores instead of refusing.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        say(f"joining the Ray cluster at {os.environ['RAY_ADDRESS']}")
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
        return
    cpus = max(os.cpu_count() or 1, wanted_cpus)
    say(f"starting Ray on this machine, for {cpus} CPUs")
    with _quiet_backend():
        ray.init("local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


@contextmanager
def _quiet_backend() -> Iterator[None]:
    """Keep Ray's C++ side from writing beside the progress; its logs stay in the session's folder.

    The level can only be set by the environment, and setting it makes that side announce it on stderr: what it writes
    there while Ray starts is held back, and shown after all when the start fails.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def memory_bytes() -> float:
    """The memory that the nodes of the cluster give to workers, all together."""
    return _resources().get("memory", 0.0)


def _resources() -> dict[str, float]:
    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return have


def plan_workers(count: int | None, cpus: float, gpus: float | None) -> Workers:
    """The workers that were asked for, or as many as the cluster holds; ClusterError, with the sum, when it cannot."""
    have = _resources()
    have_cpus, have_gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    gpus = (1.0 if have_gpus else 0.0) if gpus is None else gpus
    fit = int(min(have_cpus // cpus, have_gpus // gpus if gpus else float("inf")))
    count = fit if count is None else count
    if count < 1 or count > fit:
        count = max(count, 1)
        raise ClusterError(
            f"the plan needs {count} x {cpus:g} CPUs = {count * cpus:g} and {count} x {gpus:g} GPUs = "
            f"{count * gpus:g}; the cluster has {have_cpus:g} CPUs and {have_gpus:g} GPUs, enough for {fit} worker(s). "
            "Ask for fewer with `workers=`, or for less with `resources.cpus_per_worker=` and "
            "`resources.gpus_per_worker=`."
        )
    return Workers(count, cpus, gpus)


def last_line(error: Exception) -> str:
    """The line of a Ray error that names its cause; above it stands the remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__
