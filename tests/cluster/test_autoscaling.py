"""On a cluster without a worker node, whose autoscaler adds nodes when they are asked for: plans, runs, and waiting."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rayae.cli import main
from rayae.run import Run
from tests.cluster.autoscaling import Growing, growing
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import PATIENCE_S

GROUPS = {"cpu": {"resources": {"CPU": 2}, "most": 2}, "gpu": {"resources": {"CPU": 1, "GPU": 1}, "most": 2}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Growing]:
    with growing(GROUPS) as found:
        yield found


def rayae(cluster: Growing, *words: str) -> "subprocess.CompletedProcess[str]":
    """In a process of its own, as a driver on the head."""
    return subprocess.run(
        [sys.executable, "-m", "rayae", *words],
        env=cluster.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def score(pictures: Path, bundle: Path, out: Path, *more: str) -> list[str]:
    return ["score", f"images={pictures}", f"bundle={bundle}", f"out={out}", "chunk_images=20", *more]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["workers=3"],
            "the plan needs 3 x 1 CPUs = 3 and 3 x 1 GPUs = 3; the cluster has 0 CPUs and 0 GPUs and may grow to "
            "6 CPUs and 2 GPUs, enough for 2 worker(s). Ask",
        ),
        (
            ["workers=1", "resources.gpus_per_worker=2"],
            "and may grow to 6 CPUs and 2 GPUs, enough for 0 worker(s), since each lies on one node, and these have "
            "2 CPUs and 0 GPUs, or 1 CPUs and 1 GPUs. Ask",
        ),
    ],
)
def test_a_plan_beyond_what_a_cluster_may_grow_to_is_refused(
    cluster: Growing, pictures: Path, bundle: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    done = rayae(cluster, *score(pictures, bundle, tmp_path / "run", *words))
    assert done.returncode == 1, done.stdout
    assert sentence in done.stderr
    assert cluster.added() == []


def test_a_training_begins_on_a_cluster_without_a_node(cluster: Growing, pictures: Path, tmp_path: Path) -> None:
    asked = ["train", f"images={pictures}", "labels=folder", f"out={tmp_path / 'bundle'}", "epochs=2", "workers=1"]
    done = rayae(cluster, *asked, "resources.cpus_per_worker=2", "resources.gpus_per_worker=0", *SMALL_TRAINING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "threshold: " in done.stdout
    assert set(cluster.added()) == {"cpu"}


def test_a_run_begins_on_a_cluster_without_a_gpu_and_takes_as_many_as_it_may_grow_to(
    cluster: Growing, pictures: Path, bundle: Path, tmp_path: Path
) -> None:
    done = rayae(cluster, *score(pictures, bundle, tmp_path / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert cluster.added().count("gpu") == 2
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert main(score(pictures, bundle, tmp_path / "alone", "placement=inline")) == 0
    found, alone = (Run.open(str(tmp_path / name)).results().to_pandas() for name in ("run", "alone"))
    assert found[["image_id", "uri", "status"]].equals(alone[["image_id", "uri", "status"]])


def test_decoding_apart_begins_on_a_cluster_without_a_node(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    with growing(
        {"cpu": {"resources": {"CPU": 2}, "most": 1}, "gpu": {"resources": {"CPU": 1, "GPU": 1}, "most": 1}}
    ) as new:
        done = rayae(new, *score(pictures, bundle, tmp_path / "run", "placement=apart"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert set(new.added()) == {"cpu", "gpu"}
    assert main(["verify", str(tmp_path / "run")]) == 0


def test_a_cluster_that_gives_no_node_ends_a_run_with_a_sentence(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    with growing(GROUPS, gives=False) as poor:
        done = rayae(poor, *score(pictures, bundle, tmp_path / "run", "workers=2", "resources.wait_s=5"))
    assert done.returncode == 1, done.stdout
    sums = "the cluster has 0 CPUs and 0 GPUs and may grow to 6 CPUs and 2 GPUs"
    assert f"waiting for 2 of 2 workers: {sums}" in done.stdout
    assert done.stderr.splitlines()[-1] == (
        f"error: 2 worker(s) of 1 CPUs and 1 GPUs were asked for, and in 5 s there was no room for one of them: "
        f"{sums}. Look at what keeps the nodes away (quota, no spot capacity, other jobs), or wait longer with "
        "`resources.wait_s=`, and run the same command again."
    )
    assert not (tmp_path / "run" / "lease.json").exists()
