"""Home of the way to a cluster: joining one, and errors on their way back from it."""

import contextlib
import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from rayae import access, errors, stopping, trust
from rayae.errors import ClusterError, RayaeError
from rayae.terminal import say

SHARING_A_CORE = 4
"""CPUs of a plan that may share one core of this machine; more of them only take each other's memory."""
ANSWER_WITHIN_S = 10.0
"""For the port of a cluster. Ray itself asks a port that does not answer for a quarter of an hour."""
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
OLD_CPU_QUOTA, OLD_CPU_PERIOD = (Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period"))

INIT_OPTIONS: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
"""How Ray is started or joined."""


def connect(wanted_cpus: int) -> None:
    """Join the cluster of RAY_ADDRESS (as in a submitted job), else start Ray on this machine for this process alone.

    An address file that another Ray left on the machine is not followed. On this machine alone Ray is told of at
    least `wanted_cpus`, so that a small one shares its cores instead of refusing. ClusterError when nothing answers at
    the address, and when too many would share a core.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors come as exceptions
    if ray.is_initialized():
        return
    with stopping.kept():
        address = os.environ.get("RAY_ADDRESS")
        if address:
            _join(address)
            return
        cpus = _cpus_to_start_with(wanted_cpus, cores())
        with _quiet_backend():
            ray.init("local", num_cpus=cpus, include_dashboard=False, **INIT_OPTIONS)


def cores() -> int:
    """The cores that this process may use: those it is bound to, within the quota of its container.

    Ray, left to itself, counts all cores of the machine where a batch system binds a job to a few.
    """
    bound = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # no cgroups here, or no quota ("max")
        if CPU_QUOTA.exists():
            quota, period = map(int, CPU_QUOTA.read_text().split())
        else:
            quota, period = int(OLD_CPU_QUOTA.read_text()), int(OLD_CPU_PERIOD.read_text())
        if quota > 0:
            return min(bound, max(1, quota // period))
    return bound


def _cpus_to_start_with(wanted: int, cores: int) -> int:
    if wanted > SHARING_A_CORE * cores:
        raise ClusterError(
            f"the plan needs {wanted} CPUs and this machine has {cores}; {SHARING_A_CORE} may share one, and no more. "
            "Ask for fewer with `workers=`, or for less with `resources.cpus_per_worker=`, or join a cluster with "
            "RAY_ADDRESS."
        )
    shared = f"; the workers share its {cores} core(s)" if wanted > cores else ""
    say(f"starting Ray on this machine, for {max(cores, wanted)} CPUs{shared}")
    return max(cores, wanted)


def _join(address: str) -> None:
    """Its workers reach storage as this process does; credentials are not sent to them.

    Those of a Ray that is started here inherit the environment. A runtime environment would keep them from the
    processes that Ray starts ahead.
    """
    say(f"joining the Ray cluster at {address}")
    try:
        _ask(address)
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"  # else Ray refuses what `ray job submit` was given already
        with _quiet_backend():
            ray.init(**INIT_OPTIONS, runtime_env={"env_vars": access.in_use() | trust.in_use()})
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster can be joined at RAY_ADDRESS={address} ({str(error).splitlines()[0].rstrip('.')}). "
            "Mend or unset RAY_ADDRESS; without it Ray is started on this machine."
        ) from error


def _ask(address: str) -> None:
    """OSError when nothing listens at host:port; an address of another form is Ray's to understand."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^/]+?)\]?:(?P<port>\d+)", address)
    if found:
        socket.create_connection((found["host"], int(found["port"])), timeout=ANSWER_WITHIN_S).close()


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


def last_line(error: Exception) -> str:
    """The line of a Ray error that names its cause; above it stands the remote traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else type(error).__name__


def refusal(kind: str, sentence: str) -> RayaeError:
    """The error that a worker has sent as the name of its class and its sentence."""
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, RayaeError):
        return found(sentence)
    return RayaeError(sentence)
