"""The manifests of `cluster/kuberay`, run: Ray from their own rayStartParams, their ConfigMap, their entrypoint."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from rayae.cli import main
from rayae.run import Run
from tests.cluster import pods
from tests.cluster.manifests import Manifest, built, copied, groups_of, job_of, problems, spec_of
from tests.cluster.pods import Pod, ray_start, submit
from tests.faults.processes import PATIENCE_S

impossible = pods.why_not()
pytestmark = pytest.mark.skipif(impossible is not None, reason=f"pods cannot be played here: {impossible}")


def run(manifests: list[Manifest], worker: str, data: Path, folder: Path, before: str = "true") -> str:
    """Run a job as it is built, with one worker of a group; what it has said. `before` runs first, in the submitter."""
    assert problems(manifests) == []
    job = job_of(manifests)
    spec, maps = spec_of(job), {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    groups = groups_of(spec)
    nodes = [
        Pod(name, groups[name]["template"], ray_start(groups[name], name), maps, data) for name in ("head", worker)
    ]
    command = f"{before} && {submit(spec, job['metadata']['name'])}"
    submitter = Pod("submitter", spec["submitterPodTemplate"], command, maps, data)
    done = pods.run(nodes, submitter, folder, PATIENCE_S)
    logs = "".join(f"--- {node.name}\n{(folder / f'{node.name}.log').read_text()}" for node in nodes)
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout


def everyone_may_write(folder: Path) -> None:
    """As on a shared file system with another owner."""
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, 0o777 if path.is_dir() else 0o666)


@pytest.fixture
def data(tmp_path: Path, pictures: Path, bundle: Path) -> Path:
    """/data, with the images and the bundle where the example settings look for them."""
    folder = tmp_path / "data"
    shutil.copytree(pictures, folder / "images")
    shutil.copytree(bundle, folder / "bundles" / "parts")
    (folder / "manifests").mkdir()
    (folder / "runs").mkdir()
    everyone_may_write(folder)
    return folder


INDEX = "python -m rayae index images=/data/images labels=folder out=/data/manifests/parts.parquet"


def test_the_score_manifest_runs_as_it_is_to_a_verified_run(data: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path / "copy")
    manifests = built(folder / "cluster/kuberay/overlays/gke/score")
    said = run(manifests, "gpu", data, tmp_path, INDEX)
    assert "264 images, " in said, said
    found = Run.open(str(data / "runs" / "parts"))
    assert main(["verify", str(data / "runs" / "parts")]) == 0
    assert found.results().num_rows == 264
    assert set(found.results()["status"].to_pylist()) == {"scored"}


def test_the_train_manifest_runs_with_settings_of_an_overlay_to_a_bundle_that_scores(
    data: Path, tmp_path: Path
) -> None:
    shutil.rmtree(data / "bundles" / "parts")
    folder = copied(tmp_path / "copy")
    mine = folder / "mine"
    mine.mkdir()
    settings = {
        "images": "/data/manifests/parts.parquet",
        "out": "/data/bundles/parts",
        "epochs": 2,
        "workers": 1,
        "preprocess": {"mode": "grey", "height": 32, "width": 32},
        "network": {"base_width": 8},
    }
    (mine / "train.yaml").write_text(yaml.safe_dump(settings))
    kustomization = {
        "resources": ["../cluster/kuberay/overlays/kind/train"],
        "configMapGenerator": [{"name": "rayae-settings", "behavior": "merge", "files": ["train.yaml"]}],
    }
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    run(built(mine), "cpu", data, tmp_path, INDEX)
    score = ["score", f"images={data / 'images'}", f"bundle={data / 'bundles' / 'parts'}", f"out={tmp_path / 'run'}"]
    assert main([*score, "placement=inline"]) == 0
