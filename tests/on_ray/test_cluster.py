import os
import socket
from pathlib import Path

import pytest

from rayae.errors import BundleError, ClusterError, RayaeError
from rayae.on_ray import cluster
from rayae.on_ray.cluster import refusal


def test_an_error_keeps_its_class_and_sentence_between_processes() -> None:
    found = refusal("BundleError", "the bundle is gone.")
    assert (type(found), str(found)) == (BundleError, "the bundle is gone.")


@pytest.mark.parametrize("kind", ["NoSuchError", "__name__", "__doc__"])
def test_a_class_that_is_not_known_here_is_a_rayae_error(kind: str) -> None:
    assert type(refusal(kind, "something is wrong.")) is RayaeError


def starts_with(monkeypatch: pytest.MonkeyPatch, wanted: int, cores: int = 2) -> int:
    """The CPUs that `connect` starts Ray for on a machine of so many cores."""
    given: list[int] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", lambda address, num_cpus, **others: given.append(num_cpus))
    monkeypatch.setattr(cluster, "cores", lambda: cores)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster.connect(wanted)
    return given[0]


def test_ray_is_started_for_the_cores_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert starts_with(monkeypatch, wanted=1) == 2
    assert capsys.readouterr().out == "starting Ray on this machine, for 2 CPUs\n"


def test_workers_share_the_cores_of_a_small_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert starts_with(monkeypatch, wanted=8) == 8
    assert capsys.readouterr().out == "starting Ray on this machine, for 8 CPUs; the workers share its 2 core(s)\n"


def test_too_many_workers_for_a_small_machine_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = (
        r"^the plan needs 9 CPUs and this machine has 2; 4 may share one, and no more\. Ask for fewer with "
        r"`workers=`, or for less with `resources\.cpus_per_worker=`, or join a cluster with RAY_ADDRESS\.$"
    )
    with pytest.raises(ClusterError, match=sentence):
        starts_with(monkeypatch, wanted=9)


@pytest.mark.parametrize(("said", "cores"), [("300000 100000", 3), ("50000 100000", 1), ("max 100000", 64)])
def test_the_quota_of_a_container_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, cores: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(said + "\n")
    monkeypatch.setattr(cluster, "CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert cluster.cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("-1", 64)])
def test_the_quota_of_an_old_container_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str, cores: int
) -> None:
    for name, value in (("quota", quota), ("period", "100000")):
        (tmp_path / name).write_text(value + "\n")
        monkeypatch.setattr(cluster, f"OLD_CPU_{name.upper()}", tmp_path / name)
    monkeypatch.setattr(cluster, "CPU_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert cluster.cores() == cores


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nothing_listens_is_a_sentence_at_once(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = form.format(taken.getsockname()[1])
        monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ClusterError) as raised:
            cluster.connect(1)
    assert str(raised.value) == (
        f"no Ray cluster can be joined at RAY_ADDRESS={address} ([Errno 111] Connection refused). "
        "Mend or unset RAY_ADDRESS; without it Ray is started on this machine."
    )
