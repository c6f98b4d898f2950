"""A Prometheus with the shipped files, at a Ray that runs: it sees a run, one that is killed, and their alerts."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cluster.conftest import JobServer
from tests.cluster.test_monitoring import ALERTS, HOME, OF_RAY, queries
from tests.cluster.test_submit import start
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, wait_for
from tests.servers import free_port
from tests.unit.small_server import Answer, body, serving, slowly, status

WITHOUT_A_GPU = ("GPU use", "GPU memory")
"""Panels that are empty on a machine without one."""
IMAGES = 100


@dataclass(frozen=True)
class Prometheus:
    """Where it answers."""

    url: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=30)
        assert answer.ok, f"{query}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def runs(self, query: str) -> dict[str, float]:
        """Values by run."""
        return {one["metric"]["run"]: float(one["value"][1]) for one in self.ask(query)}


@contextmanager
def prometheus(server: JobServer, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the shipped files, in which only the place of Ray's temp folder is another."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    shutil.copy(HOME / "rules.yaml", folder)
    config = (HOME / "prometheus.yml").read_text()
    assert config.count("/tmp/ray/") == 1
    (folder / "prometheus.yml").write_text(config.replace("/tmp/ray/", f"{server.folder}/"))
    url = f"127.0.0.1:{free_port()}"
    words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *words, f"--web.listen-address={url}"], stdout=log, stderr=log)
    try:
        wait_for(lambda: process.poll() is not None or _is_ready(url), f"prometheus; see {folder / 'log'}")
        assert process.poll() is None, (folder / "log").read_text()
        yield Prometheus(f"http://{url}")
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"http://{url}/-/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


def answers(folder: Path) -> Mapping[str, list[Answer]]:
    """Pictures that come slowly; each fifth is refused with 503 once, each tenth is gone."""
    found: dict[str, list[Answer]] = {}
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        comes = slowly(1.5, status(404) if number % 10 == 0 else body(path.read_bytes()))
        found[path.name] = [status(503), comes] if number % 5 == 0 else [comes]
    return found


def test_prometheus_sees_a_run_and_the_death_of_its_driver(job_server: JobServer, bundle: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "images", IMAGES) / "good"
    with serving(answers(pictures)) as web, prometheus(job_server, tmp_path) as found:
        (tmp_path / "list.txt").write_text("".join(f"{web.url}/{name}\n" for name in web.answers))
        asked = [f"images={tmp_path}/list.txt", f"bundle={bundle}", "workers=1", "chunk_images=2", "log=json"]
        asked += ["max_failed_fraction=1", "finish_by=2026-01-01"]
        ends, killed = f"{tmp_path}/ends", f"{tmp_path}/killed"
        follower = start(job_server, "score", *asked, f"out={ends}")
        outside = {**os.environ, **job_server.environment}
        outside["RAY_ADDRESS"] = (job_server.folder / "ray_current_cluster").read_text().strip()
        driver = subprocess.Popen([sys.executable, "-m", "rayae", "score", *asked, f"out={killed}"], env=outside)
        try:
            wait_for(lambda: len(found.runs("ray_rayae_active == 1")) == 2, "two runs under way")
            _panels_have_data(found)
            told = "count_over_time(ray_rayae_active[1m])"  # Ray drops a gauge that is told once after 20 s
            wait_for(lambda: min(found.runs(told).values()) >= 5, "a minute in which the drivers were there")
            assert {one["metric"]["__name__"] for one in found.ask('{__name__=~"ray_.+"}')} >= OF_RAY
            assert found.runs("ray_rayae_finish_by_timestamp_seconds") == dict.fromkeys((ends, killed), 1767225600.0)
            wait_for(
                lambda: len(found.ask('ALERTS{alertname="RayaePastDeadline"}')) == 2, "an alert for what is too late"
            )
        finally:
            driver.kill()
            driver.wait(60)
        said = follower.communicate(timeout=PATIENCE_S)[0]
        assert follower.returncode == 0, said
        lines = [json.loads(line) for line in said.splitlines()]
        assert {line["verb"] for line in lines} == {"submit", "score"}
        assert max(line.get("done", 0) for line in lines if line["run"] == ends) == IMAGES
        gone = ALERTS["RayaeDriverGone"]["expr"]
        wait_for(lambda: not found.ask("ray_rayae_active"), "no driver at work")
        assert found.runs(gone) == {killed: 1.0}
        assert found.runs("sum by (run) (ray_rayae_images_total)")[ends] == IMAGES
        _rules_are_evaluated(found)


def _panels_have_data(found: Prometheus) -> None:
    """Each query of each panel gives something while the runs go on."""
    empty = {(panel, query) for panel, asked in queries().items() for query in asked}
    empty = {(panel, query) for panel, query in empty if panel.partition(" ")[2] not in WITHOUT_A_GPU}

    def look() -> bool:
        empty.difference_update([(panel, query) for panel, query in empty if found.ask(query)])
        time.sleep(1)
        return not empty

    try:
        wait_for(look, "panels")
    except AssertionError:
        assert not empty


def _rules_are_evaluated(found: Prometheus) -> None:
    """Prometheus has no complaint about a rule, which it has only where there is data."""
    answer = requests.get(f"{found.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
    rules = [rule for group in answer for rule in group["rules"]]
    assert {rule["name"]: rule["health"] for rule in rules} == dict.fromkeys(ALERTS, "ok")


def test_the_metrics_are_there_without_the_token(job_server: JobServer) -> None:
    """So that Prometheus needs none, and so that the port is to be kept from others."""
    assert requests.get(job_server.metrics, timeout=30).ok
    assert requests.get(f"{job_server.address}/api/jobs/", timeout=30).status_code == 401
