"""Verbs as jobs of a real job server: followed, taken up again, stopped, and ended with the driver's own code.

Each command is a process of its own, as Ray decides once in a process how it shows who it is.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from rayae.cli import main
from rayae.verbs.submit import name_of
from tests.cluster.conftest import TOKEN, JobServer
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, wait_for

SECRET = "a-secret-key-that-nobody-may-see"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images", 12)


def score(few: Path, bundle: Path, out: Path, *more: str) -> list[str]:
    return ["score", f"images={few}", f"bundle={bundle}", f"out={out}", "workers=1", *more]


def start(server: JobServer, *words: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """`rayae submit` with these words; what it says is in its standard output."""
    outside = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, "-m", "rayae", "submit", *words, "--address", server.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**outside, **server.environment, **(env or {})},
    )


def submit(server: JobServer, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The same, when it has ended: its exit code, and what it said."""
    process = start(server, *words, env=env)
    said = process.communicate(timeout=PATIENCE_S)[0]
    return process.returncode, said


def job(server: JobServer, name: str) -> dict[str, Any]:
    """What the job server knows of a job."""
    answer = requests.get(f"{server.address}/api/jobs/{name}", headers=server.headers, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def test_a_job_is_followed_to_its_end_and_the_same_command_does_it_again(
    job_server: JobServer, few: Path, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, said = submit(job_server, *score(few, bundle, out))
    assert code == 0, said
    name = name_of("score", {"out": str(out)})
    assert said.startswith(f"submitted: {name}\n")
    assert said.count("12 images listed\n") == 1, "the log is written once"
    assert f"results: {out}/chunks\n" in said
    assert said.splitlines()[-1].startswith(f"{name}: succeeded: ")
    assert main(["verify", str(out)]) == 0
    code, said = submit(job_server, *score(few, bundle, out))
    assert (code, f"submitted: {name}-2\n" in said) == (0, True)
    assert f"nothing to do: all 12 images of {out} have their rows" in said


@pytest.mark.parametrize(("lacking", "code"), [("bundle", 2), ("images", 2), ("rows", 1)])
def test_a_job_ends_with_the_exit_code_of_its_driver(
    job_server: JobServer, few: Path, bundle: Path, tmp_path: Path, lacking: str, code: int
) -> None:
    there = {"bundle": bundle, "images": few, lacking: tmp_path / "none"}
    asked = score(there["images"], there["bundle"], tmp_path / "run", "placement=inline")
    if lacking == "rows":
        assert main(asked) == 0
        (tmp_path / "run" / "chunks" / "chunk-000000.parquet").unlink()
        asked = ["verify", str(tmp_path / "run")]
    found, said = submit(job_server, *asked)
    assert (found, "error: " in said, f"(exit code {code})\n" in said) == (code, True, True), said


def test_a_job_under_way_is_followed_and_a_stopped_one_goes_on(
    job_server: JobServer, bundle: Path, tmp_path: Path
) -> None:
    out, many = tmp_path / "run", write_pictures(tmp_path / "images", 3000)
    asked = score(many, bundle, out, "chunk_images=2", "placement=inline")
    name = name_of("score", {"out": str(out)})
    assert submit(job_server, *asked, "--detach")[0] == 0
    wait_for(lambda: len(list(out.glob("chunks/*.parquet"))) >= 3, "three chunks")
    follower = start(job_server, *asked, "--stop-on-interrupt")
    assert follower.stdout is not None
    assert follower.stdout.readline() == f"under way already: {name} is followed\n"
    assert "3,000 images listed\n" in iter(follower.stdout.readline, ""), "the log from its beginning"
    follower.send_signal(signal.SIGINT)
    said = follower.communicate(timeout=PATIENCE_S)[0]
    assert follower.returncode == 143, said
    assert f"{name}: stopped" in said
    assert job(job_server, name)["status"] == "STOPPED"
    assert 3 <= len(list(out.glob("chunks/*.parquet"))) < 1500
    assert not (out / "lease.json").exists(), "the driver ended in order"
    code, said = submit(job_server, *asked)
    assert (code, f"submitted: {name}-2\n" in said) == (0, True), said
    assert main(["verify", str(out)]) == 0


def test_ctrl_c_ends_the_following_and_the_job_goes_on(job_server: JobServer, bundle: Path, tmp_path: Path) -> None:
    out, many = tmp_path / "run", write_pictures(tmp_path / "images", 200)
    follower = start(job_server, *score(many, bundle, out, "chunk_images=2", "placement=inline"))
    wait_for((out / "run.json").exists, "a run")
    follower.send_signal(signal.SIGINT)
    said = follower.communicate(timeout=PATIENCE_S)[0]
    name = name_of("score", {"out": str(out)})
    assert (follower.returncode, f"{name} goes on; the same command follows it again" in said) == (130, True), said
    wait_for(lambda: job(job_server, name)["status"] == "SUCCEEDED", "its end")


@pytest.mark.parametrize("wrong", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "another-token-of-some-length"}])
def test_without_the_token_a_sentence_says_what_is_wanted(
    job_server: JobServer, few: Path, bundle: Path, tmp_path: Path, wrong: dict[str, str]
) -> None:
    code, said = submit(job_server, *score(few, bundle, tmp_path / "run"), env={"HOME": str(tmp_path), **wrong})
    assert code == 2, said
    assert f"error: the job server at {job_server.address} wants a token: set RAY_AUTH_MODE=token" in said
    assert "Traceback" not in said
    assert TOKEN not in said


def test_no_secret_goes_with_a_job(job_server: JobServer, few: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    env = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-north-1"}
    code, said = submit(job_server, *score(few, bundle, out, "placement=inline"), env=env)
    assert code == 0, said
    found = job(job_server, name_of("score", {"out": str(out)}))
    assert not found["runtime_env"]
    assert SECRET not in json.dumps(found) + said


def test_what_a_job_was_given_by_ray_itself_is_no_hindrance(
    job_server: JobServer, few: Path, bundle: Path, tmp_path: Path
) -> None:
    """Ray refuses a driver that names a variable which its job was submitted with, unless it is told otherwise."""
    entrypoint = shlex.join(["python", "-m", "rayae", *score(few, bundle, tmp_path / "run")])
    asked = {"entrypoint": entrypoint, "runtime_env": {"env_vars": {"AWS_REGION": "eu-north-1"}}}
    answer = requests.post(f"{job_server.address}/api/jobs/", json=asked, headers=job_server.headers, timeout=60)
    answer.raise_for_status()
    name = answer.json()["submission_id"]
    wait_for(lambda: job(job_server, name)["status"] in ("SUCCEEDED", "FAILED"), "its end")
    assert job(job_server, name)["status"] == "SUCCEEDED", job(job_server, name)["message"]
