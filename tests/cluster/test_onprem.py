"""cluster/onprem: the two lines of its README, run; the launcher's YAML, as Ray understands it; the units."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ray.autoscaler._private import commands
from ray.autoscaler._private.providers import _clear_provider_cache

from rayae.cli import main
from tests.cluster.conftest import BIN
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, wait_for
from tests.servers import free_port

ONPREM = Path(__file__).parents[2] / "cluster" / "onprem"
README = (ONPREM / "README.md").read_text()
HEAD_LINE, WORKER_LINE = re.findall(r"^    (ray start .*)$", README, re.MULTILINE)
MEMORY = {"--object-store-memory=2000000000": "--object-store-memory=100000000"}
MEMORY |= {"--object-store-memory=4000000000": "--object-store-memory=100000000"}


@dataclass(frozen=True)
class Running:
    """A cluster on this machine, and the environment of its user."""

    dashboard: str
    metrics: tuple[str, str]
    environment: dict[str, str]


def scaled(line: str, *more: str, **ports: int) -> list[str]:
    """A line of the README with other ports and less memory, in the foreground, with more words at its end."""
    for before, after in MEMORY.items():
        line = line.replace(before, after)
    for name, port in ports.items():
        flag = name.replace("_", "-")
        line, count = re.subn(rf"--{flag}=\d+", f"--{flag}={port}", line)
        assert count == 1, (flag, line)
    agent = f"--dashboard-agent-listen-port={free_port()}"
    return [str(BIN / "ray"), *shlex.split(line)[1:], "--block", "--node-ip-address=127.0.0.1", agent, *more]


@contextmanager
def process(words: list[str], env: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        started = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=env)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(60)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The head and a worker, by the lines of the README; the token by its command, at its usual place."""
    home, logs = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("logs")
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {"HOME": str(home), "RAY_AUTH_MODE": "token", "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]])}
    env = outside | own | {"OMP_NUM_THREADS": "1"}
    (command,) = re.findall(r"^    (.*ray get-auth-token .*)$", README, re.MULTILINE)
    subprocess.run(["bash", "-c", command], env=env, check=True, capture_output=True)
    assert (home / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    gcs, dashboard, *metrics = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory(prefix="ro-") as folder, ExitStack() as stack:
        client = f"--ray-client-server-port={free_port()}"
        head = scaled(
            HEAD_LINE,
            f"--temp-dir={folder}",
            client,
            port=gcs,
            dashboard_port=dashboard,
            metrics_export_port=metrics[0],
        )
        stack.enter_context(process(head, env, logs / "head"))
        found = Running(f"http://127.0.0.1:{dashboard}", tuple(metrics), env)
        wait_for(lambda: len(alive(found)) == 1, f"a head; see {logs}")
        line = WORKER_LINE.replace("HEAD:6379", f"127.0.0.1:{gcs}")
        stack.enter_context(process(scaled(line, "--num-cpus=2", metrics_export_port=metrics[1]), env, logs / "worker"))
        wait_for(lambda: len(alive(found)) == 2, f"a worker; see {logs}")
        yield found


def alive(cluster: Running) -> list[dict[str, Any]]:
    """The nodes of the cluster as its dashboard knows them."""
    token = Path(cluster.environment["HOME"], ".ray", "auth_token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = requests.get(f"{cluster.dashboard}/nodes?view=summary", headers=headers, timeout=5)
        ready = requests.get(f"{cluster.dashboard}/api/component_activities", headers=headers, timeout=5)
    except requests.ConnectionError:
        return []
    nodes = answer.json()["data"]["summary"] if answer.ok and ready.ok else []
    return [node for node in nodes if node["raylet"].get("state") == "ALIVE"]


def submit(cluster: Running, *words: str, **more: str) -> tuple[int, str]:
    command = [str(BIN / "python"), "-m", "rayae", "submit", *words, "--address", cluster.dashboard]
    ended = subprocess.run(command, env=cluster.environment | more, capture_output=True, text=True, timeout=PATIENCE_S)
    return ended.returncode, ended.stdout + ended.stderr


def test_a_job_runs_on_the_worker_that_the_two_lines_start(running: Running, bundle: Path, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 12)
    words = ["score", f"images={images}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "workers=1"]
    code, said = submit(running, *words)
    assert code == 0, said
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_a_cluster_of_the_two_lines_lets_nobody_in_without_the_token(running: Running, tmp_path: Path) -> None:
    assert requests.get(f"{running.dashboard}/api/jobs/", timeout=30).status_code == 401
    code, said = submit(running, "verify", str(tmp_path), RAY_AUTH_MODE="disabled")
    assert code == 2, said


def test_the_dashboard_of_the_two_lines_is_on_loopback_and_the_metrics_where_they_say(running: Running) -> None:
    hexed = f"{int(running.dashboard.rpartition(':')[2]):04X}"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [words[1] for words in sockets if words[3] == "0A" and words[1].endswith(f":{hexed}")]
    assert listening == [f"0100007F:{hexed}"]
    for port in running.metrics:
        assert "ray_" in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text


def bootstrapped(text: str, home: Path) -> Any:
    """What Ray's launcher makes of a YAML before it reaches for the machines."""
    (home / ".ssh").mkdir(exist_ok=True)
    (home / ".ssh" / "rayae").write_text("a key\n")
    _clear_provider_cache()
    return commands._bootstrap_config(yaml.safe_load(text), no_config_cache=True)


def test_ray_takes_the_yaml_for_its_local_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = bootstrapped((ONPREM / "cluster.yaml").read_text(), tmp_path)
    (node_type,) = config["available_node_types"].values()
    assert (
        (node_type["min_workers"], node_type["max_workers"]) == (2, 2) == (len(config["provider"]["worker_ips"]),) * 2
    )
    assert not config["head_setup_commands"] + config["worker_setup_commands"]


def test_the_yaml_starts_ray_as_the_readme_does() -> None:
    config = yaml.safe_load((ONPREM / "cluster.yaml").read_text())
    pairs = {
        "head_start_ray_commands": HEAD_LINE,
        "worker_start_ray_commands": WORKER_LINE.replace("HEAD", "$RAY_HEAD_IP"),
    }
    for name, line in pairs.items():
        stop, start = config[name]
        assert stop == "/opt/rayae/bin/ray stop"
        assert "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/home/rayae/token/token;" in start
        words = set(shlex.split(start.partition("ray start ")[2])) - {
            "--autoscaling-config=~/ray_bootstrap_config.yaml"
        }
        assert words == set(shlex.split(line)[2:])


@pytest.mark.parametrize(
    "fault", [{"available_node_types": {"a": {}}}, {"provider": {"type": "local"}}, {"no_such_field": 1}]
)
def test_a_yaml_that_ray_does_not_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = yaml.safe_load((ONPREM / "cluster.yaml").read_text()) | fault
    with pytest.raises(Exception, match=r"not supported|Please supply|Additional properties"):
        bootstrapped(yaml.safe_dump(config), tmp_path)


@pytest.mark.parametrize(("name", "line"), [("head", HEAD_LINE), ("worker", WORKER_LINE)])
def test_a_unit_starts_ray_as_the_readme_does(name: str, line: str) -> None:
    text = (ONPREM / "systemd" / f"rayae-{name}.service").read_text()
    (start,) = re.findall(r"^ExecStart=/opt/rayae/bin/ray start --block (.*)$", text, re.MULTILINE)
    assert start.replace("${RAYAE_HEAD}", "HEAD") == line.removeprefix("ray start ")
    assert {"User=rayae", "EnvironmentFile=/etc/rayae/ray.env", "NoNewPrivileges=true"} <= set(text.splitlines())


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("there is no systemd-analyze on this machine")
    for path in (ONPREM / "systemd").glob("*.service"):
        text = path.read_text().replace("/opt/rayae/bin/ray", "/bin/true").replace("User=rayae", "User=root")
        (tmp_path / path.name).write_text(text)
        checked = subprocess.run([verify, "verify", str(tmp_path / path.name)], capture_output=True, text=True)
        said = [line for line in checked.stderr.splitlines() if path.name in line]
        assert (checked.returncode, said) == (0, []), checked.stderr
