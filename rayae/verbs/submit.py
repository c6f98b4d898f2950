"""`rayae submit`: another verb as a job on a cluster, followed to its end with the exit code of its driver."""

import hashlib
import json
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from rayae import jsonlines, storage
from rayae.errors import ConfigError
from rayae.redaction import redacted
from rayae.settings import RetrySettings, RuleSettings, RunnerSettings, SubmitSettings
from rayae.terminal import printable, say, warn

INTERRUPTED = 130
"""The exit code of who follows no longer, as everywhere when Ctrl-C ends a command."""
WHERE = ("out", "run", "bundle")
"""Settings that say what a job is about, the first one that is there: two jobs on one of them are one job."""


def submit(settings: SubmitSettings, verb: str, asked: BaseModel) -> int:
    """Submit a verb with its settings, or find the job that is under way with it; the exit code of the job.

    With `detach` 0 as soon as it is submitted. Ctrl-C ends the following alone, and the job goes on; with
    `stop_on_interrupt` it stops the job.
    """
    from rayae.on_ray import jobs

    given = asked.model_dump(mode="json", exclude_unset=True)
    _refuse_relative(verb, given)
    _refuse_wrong(asked)
    words = words_of(given)
    _refuse_secrets(words)
    entrypoint = shlex.join(["python", "-m", "rayae", verb, *words])
    client = jobs.job_server(settings.address)
    job = jobs.Job(name_of(verb, given), entrypoint, settings.working_dir)
    submission_id, is_new = jobs.submit(client, job)
    if settings.detach:
        say(f"submitted: {submission_id}" if is_new else f"under way already: {submission_id}")
        say("the same command without --detach follows it")
        return 0
    say(f"submitted: {submission_id}" if is_new else f"under way already: {submission_id} is followed")
    log = Shown()
    try:
        code = jobs.follow(client, submission_id, log.write)
    except KeyboardInterrupt:
        log.end()
        if not settings.stop_on_interrupt:
            warn(f"{submission_id} goes on; the same command follows it again")
            return INTERRUPTED
        say(f"stopping {submission_id}")
        jobs.stop(client, submission_id)
        code = jobs.follow(client, submission_id, lambda text: None)
    finally:
        log.end()
    say(f"{submission_id}: {jobs.reason(client, submission_id)} (exit code {code})")
    return code


def name_of(verb: str, given: dict[str, Any]) -> str:
    """The submission id of a job: its verb and a hash of what it is about."""
    about = next((given[key] for key in WHERE if key in given), given)
    return f"rayae-{verb}-{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]}"


def words_of(given: dict[str, Any], above: str = "") -> list[str]:
    """Settings as the words of a command line, which `config.load` reads back to the same."""
    words = []
    for key, value in given.items():
        if isinstance(value, dict) and value:
            words += words_of(value, f"{above}{key}.")
        else:
            words.append(f"{above}{key}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return words


def _refuse_relative(verb: str, given: dict[str, Any]) -> None:
    """ConfigError for a path that means something in this folder only: the job runs in another one."""
    own = {**given, "storage.ca_file": given.get("storage", {}).get("ca_file")}
    for key in ("images", "labels", "storage.ca_file", *WHERE):
        values = own.get(key)
        for value in values if isinstance(values, list) else [values]:
            if not isinstance(value, str) or (key, value) == ("labels", "folder"):
                continue
            if storage.is_local(value) and not value.startswith(("/", "~", "file:")):
                raise ConfigError(
                    f"{key}={value} of {verb} is relative to this folder, and the job runs in another; give the whole "
                    "path, or a URL."
                )


def _refuse_secrets(words: Iterable[str]) -> None:
    """ConfigError for a signature or a password in a setting: the command line of a job is kept and shown by Ray."""
    for word in words:
        if redacted(word) != word:
            raise ConfigError(
                f"{redacted(word)} holds a secret, and the command line of a job stands in the cluster's logs, for all "
                "who may look at them: put the address into a list on storage, and credentials into the environment of "
                "the cluster."
            )


def _refuse_wrong(asked: BaseModel) -> None:
    """ConfigError for what the verb itself would refuse of its settings alone, without images, bundle or run."""
    if isinstance(asked, RunnerSettings):
        from rayae.verbs.score import failure_budget

        failure_budget(asked)
    if isinstance(asked, RuleSettings):
        from rayae.verbs.calibrate import refuse_rule

        refuse_rule(asked)
    if isinstance(asked, RetrySettings):
        from rayae.verbs.retry import failed_statuses

        failed_statuses(asked.status)


class Shown:
    """The log of a job on standard output, in pieces as they come.

    With `log=json` by whole lines: what the job says is JSON already, what Ray says beside it becomes so.
    """

    def __init__(self) -> None:
        self.rest = ""

    def write(self, text: str) -> None:
        """Show the next piece."""
        if jsonlines.is_begun():
            *whole, self.rest = (self.rest + text).split("\n")
            text = "".join(f"{_as_json(line)}\n" for line in whole if line)
        sys.stdout.write("".join(printable(line) for line in text.splitlines(keepends=True)))
        sys.stdout.flush()

    def end(self) -> None:
        """Show what stands after the last line, once."""
        if self.rest:
            self.write("\n")


def _as_json(line: str) -> str:
    try:
        is_object = isinstance(json.loads(line), dict)
    except ValueError:
        is_object = False
    return line if is_object else jsonlines.line("info", line, {"source": "ray"}, printable)
