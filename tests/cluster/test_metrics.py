"""What Prometheus sees of a run is what the documents say."""

import re
from pathlib import Path

import requests

from rayae.on_ray.metrics import NAMES
from tests.cluster.conftest import JobServer
from tests.cluster.test_submit import score, submit
from tests.conftest import write_pictures
from tests.faults.processes import wait_for

ROOT = Path(__file__).parents[2]


def seen(server: JobServer, run: Path) -> dict[str, float]:
    """The values of our metrics for a run, by name and the tag that is not `run`."""
    text = requests.get(server.metrics, timeout=30).text
    lines = re.findall(r"^ray_(rayae_\w+)\{(.*)\} ([0-9.e+-]+)$", text, re.MULTILINE)
    found = {}
    for name, tags, value in lines:
        if f'run="{run}"' in tags:
            (tag,) = re.findall(r'(?:status|stage)="(\w+)"', tags) or [""]
            found[f"{name.removesuffix('_total')} {tag}".strip()] = float(value)
    return found


def test_the_metrics_of_a_run_are_those_that_are_documented(
    job_server: JobServer, bundle: Path, tmp_path: Path
) -> None:
    images, out = write_pictures(tmp_path / "images", 40), tmp_path / "run"
    (images / "good" / "empty.png").touch()
    code, said = submit(job_server, *score(images, bundle, out, "chunk_images=10", "max_failed_fraction=1"))
    assert code == 0, said
    wait_for(lambda: seen(job_server, out).get("rayae_images scored") == 40, "all of them at the agent")
    found = seen(job_server, out)
    assert found["rayae_images empty"] == 1
    assert found["rayae_stage_seconds model"] > 0
    assert found["rayae_read_bytes"] == sum(path.stat().st_size for path in images.rglob("*.png"))
    assert (found["rayae_images_left"], found["rayae_seconds_left"], found["rayae_workers"]) == (0, 0, 1)
    only_of_storage = {"rayae_requests", "rayae_retries", "rayae_throttled"}
    without_a_deadline = {"rayae_finish_by_timestamp_seconds"}
    none_flagged = {"rayae_flagged"}
    assert {name.partition(" ")[0] for name in found} | none_flagged == (
        set(NAMES) - only_of_storage - without_a_deadline
    )
