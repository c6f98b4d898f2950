"""What a cluster with a token lets in, and what it writes down: nothing secret, wherever one looks."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
import requests

from rayae.verbs.submit import name_of
from tests.cluster.conftest import TOKEN, JobServer, running_head
from tests.conftest import write_pictures
from tests.faults.processes import PATIENCE_S, wait_for
from tests.s3.conftest import Bucket, make_bucket
from tests.s3.test_secrets import texts
from tests.servers import Server, moto

HEAD_TOKEN = "a-head-token-5f0b7d31c2e94a68-that-stands-in-no-log"
KEY_ID, KEY, SESSION = "AKIASENTINEL5F0B7D31", "sentinel-key-5f0b7d31c2e94a68", "sentinel-session-5f0b7d31c2e94a68"
OF_THE_ENVIRONMENT = (HEAD_TOKEN, KEY_ID, KEY, SESSION)
"""They may stand nowhere."""
PASSWORD, SIGNATURE = "sentinel-password-5f0b7d31c2e94a68", "5e7a71e15f0b7d31c2e94a685e7a71e1"
OF_A_LIST = (PASSWORD, SIGNATURE)
"""They may stand in the columns of the names alone."""
SEEN_BY_ALL = {"/", "/api/authentication_mode", "/api/gcs_healthz"}


@pytest.fixture(scope="module")
def storage() -> Iterator[Server]:
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def cluster(storage: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    """A head whose environment holds the credentials, as that of a platform does; nothing else is allowed there."""
    secrets = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": SESSION}
    more = {**storage.environment(), **secrets, "RAYAE_ALLOW": ""}
    with running_head(tmp_path_factory.mktemp("head") / "log", more, HEAD_TOKEN) as server:
        yield server


@pytest.fixture
def bucket(storage: Server) -> Bucket:
    return make_bucket(storage)


def submit(server: JobServer, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """`rayae submit` as on a machine without credentials: its exit code, and what it said."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("RAY", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "rayae", "submit", *words, "--address", server.address],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        env={**outside, **server.environment, **(env or {})},
    )
    return done.returncode, done.stdout


def asked(server: JobServer, path: str) -> str:
    answer = requests.get(f"{server.address}{path}", headers=server.headers, timeout=60)
    answer.raise_for_status()
    return answer.text


def list_with_secrets(bucket: Bucket, folder: Path) -> str:
    """A list in the bucket of 24 pictures there: two of them as presigned addresses, of which one has a password."""
    paths = sorted(write_pictures(folder, 24).rglob("*.png"))
    for path in paths:
        bucket.server.client().upload_file(str(path), bucket.name, path.name)
    at = bucket.server.url.partition("://")[2]
    query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature={SIGNATURE}"
    names = [f"./{path.name}" for path in paths[2:]]
    names += [f"http://{at}/{bucket.name}/{paths[0].name}?{query}"]
    names += [f"http://somebody:{PASSWORD}@{at}/{bucket.name}/{paths[1].name}?{query}"]
    names += [f"http://somebody:{PASSWORD}@{at}/{bucket.name}/none.png?{query}"]
    bucket.server.client().put_object(Bucket=bucket.name, Key="list.txt", Body="\n".join(names).encode())
    return f"s3://{bucket.name}/list.txt"


def found_in(data: bytes, secrets: tuple[str, ...]) -> list[str]:
    return [secret for secret in secrets if secret.encode() in data]


def files_of(server: JobServer) -> dict[Path, bytes]:
    """Every file in the temporary folder of Ray: its logs, events, ports, and what it has unpacked."""
    files = [path for path in server.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: path.read_bytes() for path in files}


def command_lines() -> bytes:
    """The command lines of all processes that this user may see."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes())
        except OSError:  # it has ended
            continue
    return b"\n".join(lines)


def test_no_secret_stands_in_what_a_job_leaves_anywhere(
    cluster: JobServer, bucket: Bucket, bundle: Path, tmp_path: Path
) -> None:
    """All logs of the session, the job's record, the run, and what the client is shown."""
    out = f"s3://{bucket.name}/run"
    words = ["score", f"images={list_with_secrets(bucket, tmp_path)}", f"bundle={bundle}", f"out={out}", "workers=1"]
    code, said = submit(cluster, *words, "storage.allow=loopback", "chunk_images=8")
    assert code == 0, said
    broken = [f"out=s3://{bucket.name}/other" if word.startswith("out=") else word for word in words]
    broken = ["images=s3://no-such-bucket/x" if word.startswith("images=") else word for word in broken]
    assert submit(cluster, *broken)[0] == 1
    everything = (*OF_THE_ENVIRONMENT, *OF_A_LIST)
    name = name_of("score", {"out": out})
    told = [asked(cluster, path) for path in ("/api/jobs/", f"/api/jobs/{name}", f"/api/jobs/{name}/logs", "/events")]
    assert found_in("".join([said, *told]).encode(), everything) == []
    assert found_in(command_lines(), everything) == []
    logs = files_of(cluster)
    assert any(b"25 images listed" in data for data in logs.values()), "what is looked into is what was written"
    assert any(f"job-driver-{name}" in path.name for path in logs)
    assert any(path.name.startswith("worker-") for path in logs)
    assert {str(path): found for path, data in logs.items() if (found := found_in(data, everything))} == {}
    objects = {key: data for key, data in bucket.objects().items() if key.startswith("run/")}
    assert {"run/run.json", "run/_SUCCESS.json", "run/manifest.parquet"} < set(objects)
    for key, data in objects.items():
        assert found_in(data, OF_THE_ENVIRONMENT) == [], key
        assert found_in(texts(key, data, names_may_be_presigned=True).encode(), OF_A_LIST) == [], key
    statuses = rows_of(bucket, "run")
    assert sorted(statuses) == ["missing", *["scored"] * 24], statuses


def rows_of(bucket: Bucket, run: str) -> list[str]:
    """The statuses of a run in the order of its images."""
    found: list[str] = []
    for key, data in sorted(bucket.objects().items()):
        if key.startswith(f"{run}/chunks/"):
            found += pq.ParquetFile(io.BytesIO(data)).read(["status"])["status"].to_pylist()
    return found


@pytest.mark.parametrize("placement", ["together", "apart"])
def test_what_names_may_reach_is_told_to_every_worker(
    cluster: JobServer, bucket: Bucket, bundle: Path, tmp_path: Path, placement: str
) -> None:
    """Two names lead to this machine itself, by the web, and one to a file of it: they are rows."""
    pictures = sorted(write_pictures(tmp_path / "images", 9).rglob("*.png"))
    for path in pictures:
        bucket.server.client().upload_file(str(path), bucket.name, path.name, {"ACL": "public-read"})
    near = [f"{bucket.server.url}/{bucket.name}/{path.name}" for path in pictures[:2]]
    names = [*near, str(pictures[2]), *(f"./{path.name}" for path in pictures[3:])]
    bucket.server.client().put_object(Bucket=bucket.name, Key="list.txt", Body="\n".join(names).encode())
    words = ["score", f"images=s3://{bucket.name}/list.txt", f"bundle={bundle}", "workers=1", f"placement={placement}"]
    words += ["max_failed_fraction=0.5"]
    code, said = submit(cluster, *words, f"out=s3://{bucket.name}/closed")
    assert code == 0, said
    assert rows_of(bucket, "closed") == [*["forbidden"] * 3, *["scored"] * 6]
    code, said = submit(cluster, *words, f"out=s3://{bucket.name}/open", "storage.allow=[loopback,file]")
    assert code == 0, said
    assert rows_of(bucket, "open") == ["scored"] * 9


@pytest.mark.parametrize(
    "secret", [f"https://host/list.csv?X-Amz-Signature={SIGNATURE}", f"https://me:{PASSWORD}@host/x.csv"]
)
def test_a_secret_in_a_setting_of_a_job_is_refused_before_it_is_sent(
    cluster: JobServer, tmp_path: Path, secret: str
) -> None:
    """The command line of a job stands in Ray's logs and in its record, so it may hold none."""
    code, said = submit(cluster, "score", f"images={secret}", f"bundle={tmp_path}", f"out={tmp_path}/run")
    assert code == 2, said
    assert "holds a secret, and the command line of a job stands in the cluster's logs" in said
    assert found_in(said.encode(), OF_A_LIST) == []
    assert name_of("score", {"out": f"{tmp_path}/run"}) not in asked(cluster, "/api/jobs/")


def raylet(server: JobServer) -> dict[str, Any]:
    """Where the processes of the node listen."""
    found: dict[str, Any] = json.loads(asked(server, "/nodes?view=summary"))["data"]["summary"][0]["raylet"]
    return found


def called(address: str, port: int, method: str, token: str | None) -> str:
    """What a gRPC service of Ray says to an empty request."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.mark.parametrize("token", [None, "another-token-of-some-length"])
def test_the_token_guards_jobs_dashboard_agents_and_every_service_between_the_processes(
    job_server: JobServer, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    code = 401 if token is None else 403

    def status(url: str) -> int:
        return requests.get(url, headers=headers, timeout=60).status_code

    dashboard = (
        "/api/jobs/",
        "/api/version",
        "/nodes?view=summary",
        "/api/v0/tasks",
        "/api/cluster_status",
        "/metrics",
    )
    assert {path: status(job_server.address + path) for path in dashboard} == dict.fromkeys(dashboard, code)
    assert status(f"{job_server.agent}/api/job_agent/jobs/") == code
    node = raylet(job_server)
    address = node["nodeManagerAddress"]
    assert status(f"http://{address}:{node['runtimeEnvAgentPort']}/") == code
    gcs = int((job_server.folder / "ray_current_cluster").read_text().rpartition(":")[2])
    services = {
        "NodeInfoGcsService/GetAllNodeInfo": gcs,
        "NodeManagerService/GetNodeStats": node["nodeManagerPort"],
        "ObjectManagerService/Pull": node["objectManagerPort"],
        "ReporterService/GetTraceback": node["metricsAgentPort"],
    }
    for service, port in services.items():
        assert called(address, port, service, token) == "UNAUTHENTICATED", service
        assert called(address, port, service, TOKEN) == "OK", service


def test_the_token_does_not_guard_metrics_and_health(job_server: JobServer) -> None:
    """Whoever reaches these ports reads them: the network has to keep strangers away."""
    assert requests.get(job_server.metrics, timeout=60).status_code == 200
    assert requests.get(f"{job_server.agent}/api/healthz", timeout=60).status_code == 200
    assert {path for path in SEEN_BY_ALL if requests.get(job_server.address + path, timeout=60).ok} == SEEN_BY_ALL


def test_what_ray_is_given_with_a_job_it_writes_down(cluster: JobServer) -> None:
    """Why no variable and no secret goes with a job of ours."""
    body = {"entrypoint": "true entrypoint-marker", "submission_id": "told"}
    body |= {"runtime_env": {"env_vars": {"PASSWORD": "variable-marker"}}}
    requests.post(f"{cluster.address}/api/jobs/", json=body, headers=cluster.headers, timeout=60).raise_for_status()
    wait_for(lambda: json.loads(asked(cluster, "/api/jobs/told"))["status"] == "SUCCEEDED", "its end")
    logs = b"\n".join(files_of(cluster).values())
    for marker in ("entrypoint-marker", "variable-marker"):
        assert marker in asked(cluster, "/api/jobs/told")
        assert marker.encode() in logs


def test_who_has_the_token_has_the_credentials_of_the_cluster(cluster: JobServer) -> None:
    """A job is any command, as the user of the cluster: this is what a job server is for, and why its token is one."""
    entrypoint = "python -c \"import os; print(os.environ['AWS_SECRET_ACCESS_KEY'][::-1])\""
    body = {"entrypoint": entrypoint, "submission_id": "anything"}
    requests.post(f"{cluster.address}/api/jobs/", json=body, headers=cluster.headers, timeout=60).raise_for_status()
    wait_for(lambda: json.loads(asked(cluster, "/api/jobs/anything"))["status"] == "SUCCEEDED", "its end")
    assert KEY[::-1] in asked(cluster, "/api/jobs/anything/logs")
