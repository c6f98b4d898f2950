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
    assert {name.partition(" ")[0] for name in found} <= set(NAMES)


def test_the_documents_list_the_metrics_that_there_are() -> None:
    text = (ROOT / "cluster" / "README.md").read_text()
    assert set(re.findall(r"^\| `(rayae_\w+)` \|", text, re.MULTILINE)) == set(NAMES)
