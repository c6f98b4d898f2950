"""Home of jobs on the job server of a cluster: submitted once, followed to their end, over every lost connection."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from rayae.errors import ClusterError, ConfigError

SECONDS_BETWEEN_LOOKS = 1.0
PATIENCE_S = 300.0
"""How long a job server may not answer before it is given up; the job goes on all the same."""
STOPPED = 143
"""The exit code of a job that was stopped, as that of a process by SIGTERM; Ray's own command line says 0."""
LOST = (aiohttp.ClientError, ConnectionError, RuntimeError, OSError)
"""What the client raises when a connection breaks or the server is not there for a while."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Job:
    """What is submitted: a name that says what it is a job of, and the command line of its driver."""

    name: str
    entrypoint: str
    working_dir: str | None = None

    def runtime_env(self) -> dict[str, Any]:
        """What Ray prepares for the driver: code. How storage is reached is the cluster's, or in the settings."""
        return {} if self.working_dir is None else {"working_dir": self.working_dir}


def job_server(address: str | None) -> JobSubmissionClient:
    """The client of a job server; ClusterError when nobody answers there, ConfigError when it wants another token."""
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)  # it tells of each closed connection
    if address is not None and "://" not in address:
        address = f"http://{address}"  # Ray would take it for the port of the cluster, and ask that for a minute
    where = address or "the address in RAY_ADDRESS"
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ConfigError(
            f"the job server at {where} wants a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH."
        ) from error
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ClusterError(
            f"no job server answers at {where} ({reason}); give --address http://HEAD:8265, or a forwarded port."
        ) from error


def submit(client: JobSubmissionClient, job: Job) -> tuple[str, bool]:
    """Submit a job unless one of its name is under way; its submission id, and whether it is a new one.

    What has ended is submitted again as `NAME-2`, `NAME-3` and so on: a run goes on where it was.
    """
    attempts = _attempts(client, job.name)
    under_way = [number for number, status in attempts.items() if not status.is_terminal()]
    if under_way:
        return _id(job.name, max(under_way)), False
    submission_id = _id(job.name, max(attempts, default=0) + 1)
    try:
        client.submit_job(entrypoint=job.entrypoint, submission_id=submission_id, runtime_env=job.runtime_env())
    except RuntimeError as error:
        if "already exists" not in str(error):
            raise ClusterError(f"the job server refuses the job: {str(error).splitlines()[0].rstrip('.')}.") from error
        return submission_id, False  # another has submitted it in the same moment
    except LOST as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise ClusterError(
            f"the job server was lost while the job was submitted ({said}); the same command follows it if it has come "
            "there, and submits it if it has not."
        ) from error
    return submission_id, True


def _id(name: str, attempt: int) -> str:
    return name if attempt == 1 else f"{name}-{attempt}"


def _attempts(client: JobSubmissionClient, name: str) -> dict[int, JobStatus]:
    """The jobs of a name by their number, and how each stands."""
    jobs: list[JobDetails] = _asked(client.list_jobs)
    numbered = ((re.fullmatch(rf"{re.escape(name)}(?:-([0-9]+))?", one.submission_id or ""), one) for one in jobs)
    return {int(found[1] or 1): one.status for found, one in numbered if found}


def follow(client: JobSubmissionClient, submission_id: str, write: Callable[[str], object]) -> int:
    """Write the log of a job as it comes, until it has ended; the exit code of its driver, STOPPED when it was stopped.

    ClusterError when the job server is not there for too long.
    """
    log = _Log(write)
    while True:
        try:
            asyncio.run(log.tail(client, submission_id))
        except LOST:
            time.sleep(SECONDS_BETWEEN_LOOKS)  # the log is taken up where it was
        info = _asked(lambda: client.get_job_info(submission_id))
        if info.status.is_terminal():
            log.rest(_asked(lambda: client.get_job_logs(submission_id)))
            return _exit_code(info)
        time.sleep(SECONDS_BETWEEN_LOOKS)


class _Log:
    """The log of a job, of which nothing is written twice although the server sends it from its beginning each time."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self.write, self.written = write, 0

    async def tail(self, client: JobSubmissionClient, submission_id: str) -> None:
        """Write what comes, until the job ends or the connection does."""
        at = 0
        async for text in client.tail_job_logs(submission_id):
            self._put(text, at)
            at += len(text)

    def rest(self, whole: str) -> None:
        """Write what the tail has not brought."""
        self._put(whole, 0)

    def _put(self, text: str, at: int) -> None:
        new = text[max(0, self.written - at) :]
        if new:
            self.write(new)
            self.written = at + len(text)


def _exit_code(info: JobDetails) -> int:
    if info.status == JobStatus.STOPPED:
        return STOPPED
    code = info.driver_exit_code
    if code is None:
        return 0 if info.status == JobStatus.SUCCEEDED else 1
    return 128 - code if code < 0 else int(code)  # a driver that a signal ended


def reason(client: JobSubmissionClient, submission_id: str) -> str:
    """What the job server says of how a job stands, in a line."""
    info = _asked(lambda: client.get_job_info(submission_id))
    message = " ".join(str(info.message or "").split())
    return f"{str(info.status.value).lower()}{f': {message}' if message else ''}"


def stop(client: JobSubmissionClient, submission_id: str) -> None:
    """Ask for a job to be stopped; its driver gets SIGTERM, and ends in order."""
    _asked(lambda: client.stop_job(submission_id))


def _asked(ask: Callable[[], Found]) -> Found:
    """What the job server answers, asked again while it is not there; ClusterError after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except LOST as error:
            if time.monotonic() > end or "status code 404" in str(error):
                said = str(error).splitlines()[0].rstrip(".")
                raise ClusterError(f"the job server does not say how the job stands ({said}).") from error
            time.sleep(SECONDS_BETWEEN_LOOKS)
