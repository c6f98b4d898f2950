"""Decoding apart from scoring, on nodes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rayae.cli import main
from rayae.run import Run
from tests.faults.processes import PATIENCE_S


def on_nodes(*words: str, module: str = "gpu_node") -> "subprocess.CompletedProcess[str]":
    """In a process of its own, since the Ray cluster of a process is one."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", f"tests.cluster.{module}", *words],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("placement", ["apart", "together"])
def test_a_gpu_node_scores_and_a_cpu_node_may_decode_for_it(
    pictures: Path, bundle: Path, tmp_path: Path, placement: str
) -> None:
    asked = ["score", f"images={pictures}", f"bundle={bundle}", "chunk_images=40"]
    done = on_nodes(*asked, f"out={tmp_path / 'run'}", f"placement={placement}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert main([*asked, f"out={tmp_path / 'alone'}", "placement=inline"]) == 0
    found, alone = (Run.open(str(tmp_path / name)).results().to_pandas() for name in ("run", "alone"))
    assert found[["image_id", "uri", "status"]].equals(alone[["image_id", "uri", "status"]])
    assert (found["score"] - alone["score"]).abs().max() < 1e-4


def test_more_decoders_than_cpus_are_refused_with_the_sum(pictures: Path, bundle: Path, tmp_path: Path) -> None:
    asked = ["score", f"images={pictures}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "placement=apart"]
    done = on_nodes(*asked, "resources.decoders=3")
    assert done.returncode == 1, done.stdout
    assert (
        "the plan needs 1 x 1 CPUs for scoring and 3 for decoding = 4; the cluster has 3 CPUs and 1 GPUs."
        in done.stderr
    )


def test_decoding_waits_for_a_slow_scorer_and_nothing_spills(pictures: Path, tmp_path: Path) -> None:
    small = ["task=copy", "network.base_width=8", "rule=none"]
    large = ["preprocess.height=256", "preprocess.width=256", *small]
    asked = [f"images={pictures}", "labels=folder", f"out={tmp_path / 'bundle'}", "epochs=1", "placement=inline"]
    assert main(["train", *asked, *large]) == 0
    words = ["score", f"images={pictures}", f"bundle={tmp_path / 'bundle'}", f"out={tmp_path / 'run'}"]
    placed = ["placement=apart", "workers=1", "resources.decoders=2", "chunk_images=10"]
    done = on_nodes(*words, *placed, module="slow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert main(["verify", str(tmp_path / "run")]) == 0
    seen = json.loads(done.stdout.splitlines()[-1])
    chunk_bytes = 10 * 256 * 256 * 3
    assert chunk_bytes < seen["most"] <= 8.5 * chunk_bytes, "2 decoders x 2 chunks and 1 worker x 4, of 27"
    assert seen["spilled"] == 0
