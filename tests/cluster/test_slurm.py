"""The Slurm script, run to its end: small programs play srun and scontrol, the nodes are network namespaces.

The whole job has processes of its own too, since `ray symmetric-run` ends with `ray stop`, which ends every Ray process
that it sees.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from rayae.cli import main
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "rayae.sbatch"
PLAYED = Path(__file__).parent / "slurm"
ISOLATED = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]


def lacking() -> str:
    if os.geteuid():
        return "only root can make network namespaces"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "there is no ip (Debian package iproute2) or no unshare (util-linux)"
    bridge = ["ip", "link", "add", "nodes", "type", "bridge"]
    done = subprocess.run([*ISOLATED, *bridge], capture_output=True, text=True)
    return f"network namespaces cannot be made here: {done.stderr}" if done.returncode else ""


namespaces = pytest.mark.skipif(bool(lacking()), reason=lacking() or "-")


class Cluster:
    """Nodes of two CPUs, the user's home on all of them, a scratch disk on each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = Path(f"/tmp/slurm-{os.getpid()}")
        self.queue = folder / "queue"

    def start(self, *words: str, nodes: int = 1, job: int = 4711, **environment: str) -> "subprocess.Popen[str]":
        known = {name: value for name, value in os.environ.items() if not name.startswith(("RAY", "SLURM"))}
        slurm = {
            "SLURM_JOB_ID": str(job),
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_JOB_NODELIST": ",".join(f"10.77.0.{number + 1}" for number in range(nodes)),
            "SLURM_CPUS_ON_NODE": "2",
        }
        own = {
            "PATH": os.pathsep.join([str(PLAYED), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.folder),
            "RAYAE_SCRATCH": str(self.scratch),
            "RAYAE_RAY_START": "--object-store-memory=80000000",
            "QUEUE": str(self.queue),
            "SPOOL": str(self.folder / "spool"),
            "OMP_NUM_THREADS": "1",
        }
        shutil.rmtree(self.folder / "spool", ignore_errors=True)
        return subprocess.Popen(
            [*ISOLATED, str(PLAYED / "cluster"), str(nodes), str(SCRIPT), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**known, **slurm, **own, **environment},
        )

    def run(self, *words: str, nodes: int = 1, **environment: str) -> tuple[int, str]:
        return ended(self.start(*words, nodes=nodes, **environment))


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    try:
        said = process.communicate(timeout=PATIENCE_S)[0]
    finally:
        process.kill()  # and with it all that it started
    return process.returncode, said


def tell(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """A signal for the batch script, and for nothing else."""
    (script,) = (one for one in psutil.Process(process.pid).children(recursive=True) if _runs_the_script(one))
    script.send_signal(number)


def _runs_the_script(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:2] == ["bash", str(SCRIPT)]
    except psutil.Error:  # it has ended meanwhile
        return False


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    cluster.scratch.mkdir()
    yield cluster
    cluster.scratch.rmdir()


def score(images: Path, bundle: Path, out: Path, *more: str) -> list[str]:
    return ["score", f"images={images}", f"bundle={bundle}", f"out={out}", *more]


@namespaces
def test_a_job_of_two_nodes_scores_to_a_verified_run(slurm: Cluster, bundle: Path, tmp_path: Path) -> None:
    images, out = write_pictures(tmp_path / "images", 40), tmp_path / "run"
    code, said = slurm.run(*score(images, bundle, out, "workers=4", "chunk_images=10"), nodes=2)
    assert code == 0, said
    assert "On worker node. Connecting to Ray cluster at 10.77.0.1:" in said
    assert main(["verify", str(out)]) == 0
    assert (tmp_path / "spool" / "left-1").read_text() == "", "nothing stays on the disk of a node"
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    assert not slurm.queue.exists()


@namespaces
def test_before_its_time_is_up_a_slurm_job_goes_back_to_the_queue_and_goes_on(
    slurm: Cluster, bundle: Path, tmp_path: Path
) -> None:
    images, out = write_pictures(tmp_path / "images", 400), tmp_path / "run"
    asked = score(images, bundle, out, "chunk_images=2", "placement=inline")
    process = slurm.start(*asked)
    wait_for(lambda: len(list(out.glob("chunks/*.parquet"))) >= 3, "three chunks")
    tell(process, signal.SIGUSR1)
    code, said = ended(process)
    assert code == 143, said
    assert slurm.queue.read_text() == "4711\n"
    assert not (out / "lease.json").exists(), "the driver ended in order"
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("chunks/*.parquet")}
    assert 3 <= len(first) < 200
    code, said = slurm.run(*asked, SLURM_RESTART_COUNT="1")
    assert (code, "try 2" in said) == (0, True), said
    assert first.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("chunks/*.parquet")}.items()
    assert main(["verify", str(out)]) == 0


@namespaces
def test_a_slurm_job_that_is_cancelled_stays_out_of_the_queue(slurm: Cluster, bundle: Path, tmp_path: Path) -> None:
    images, out = write_pictures(tmp_path / "images", 400), tmp_path / "run"
    process = slurm.start(*score(images, bundle, out, "chunk_images=2", "workers=1"))
    wait_for(lambda: len(list(out.glob("chunks/*.parquet"))) >= 3, "three chunks")
    tell(process, signal.SIGTERM)
    code, said = ended(process)
    assert (code, slurm.queue.exists(), (out / "lease.json").exists()) == (143, False, False), said


@namespaces
def test_a_job_ends_with_the_exit_code_of_its_driver(slurm: Cluster, tmp_path: Path) -> None:
    images = write_pictures(tmp_path / "images", 8)
    code, said = slurm.run(*score(images, tmp_path / "no_bundle", tmp_path / "run"))
    assert (code, "Running command on head node" in said, "error: " in said) == (2, True, True), said


@namespaces
def test_a_slurm_job_whose_ray_does_not_start_is_no_success(slurm: Cluster, bundle: Path, tmp_path: Path) -> None:
    images, out = write_pictures(tmp_path / "images", 8), tmp_path / "run"
    code, said = slurm.run(*score(images, bundle, out), RAYAE_RAY_START="--no-such-option")
    assert (code, "Failed to start Ray" in said) == (1, True), said
    assert "the driver has not come to an end of its own" in said


@namespaces
def test_wrong_settings_and_a_long_scratch_path_cost_no_node(slurm: Cluster, bundle: Path, tmp_path: Path) -> None:
    code, said = slurm.run("score", "imges=/data", f"bundle={bundle}", f"out={tmp_path / 'run'}")
    assert (code, "did you mean 'images'" in said, "Ray cluster" in said) == (2, True, False), said
    long = tmp_path / "a_scratch_folder_with_a_name_that_is_long"
    long.mkdir()
    code, said = slurm.run("verify", str(tmp_path / "run"), RAYAE_SCRATCH=str(long))
    assert (code, "is too long" in said) == (2, True), said
