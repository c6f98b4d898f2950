"""Everything that `cluster/kuberay` can build is what KubeRay and Kubernetes take, and what is not is found."""

import copy
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from rayae.cli import main
from tests.cluster import manifests
from tests.cluster.documents import blocks
from tests.cluster.manifests import ROOT, Manifest, built, copied, job_of, problems, spec_of

KUBERAY = ROOT / "cluster" / "kuberay"
OVERLAYS = sorted(one.parent.relative_to(KUBERAY) for one in KUBERAY.glob("overlays/*/*/kustomization.yaml"))
OF_ONE_OVERLAY = {"gke", "small"}
COMPONENTS = sorted({one.name for one in (KUBERAY / "components").iterdir()} - OF_ONE_OVERLAY, key="cron".__eq__)
"""What anyone may add; cron comes last, since what it makes is no RayJob any more."""
TOGETHER = tuple(name for name in COMPONENTS if name != "kueue"), tuple(name for name in COMPONENTS if name != "cron")


def with_components(folder: Path, overlay: Path, components: tuple[str, ...]) -> list[Manifest]:
    """An overlay with further components, but for those that it has already."""
    own = yaml.safe_load((KUBERAY / overlay / "kustomization.yaml").read_text())
    has = {Path(one).name for one in own.get("components", [])}
    more = [f"../cluster/kuberay/components/{one}" for one in components if one not in has]
    mine = folder / "mine"
    mine.mkdir(exist_ok=True)
    kustomization = {"resources": [f"../cluster/kuberay/{overlay}"], "components": more}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return built(mine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(tmp_path_factory.mktemp("kustomize"))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=str)
@pytest.mark.parametrize("components", [(), *((one,) for one in COMPONENTS), *TOGETHER], ids="-".join)
def test_every_overlay_with_every_component_is_taken(folder: Path, overlay: Path, components: tuple[str, ...]) -> None:
    found = with_components(folder, overlay, components)
    assert problems(found) == []
    assert (job_of(found)["kind"] == "RayCronJob") is ("cron" in components)


def test_a_night_that_would_wait_for_a_queue_for_ever_is_found(folder: Path) -> None:
    found = with_components(folder, Path("overlays/eks/score"), ("kueue", "cron"))
    assert problems(found) == ["each job of the RayCronJob would begin suspended, and in no queue"]


def test_without_the_crds_the_fields_in_use_are_known_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "CRDS", folder / "nowhere")
    for overlay, components in itertools.product(OVERLAYS, ((), *TOGETHER)):
        assert problems(with_components(folder, overlay, components)) == []


def head(spec: Manifest) -> Manifest:
    pod: Manifest = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    return pod


def gpu(spec: Manifest) -> Manifest:
    group: Manifest = spec["rayClusterSpec"]["workerGroupSpecs"][1]
    return group


BEFORE_TOKENS = ".".join(("2", "51", "1"))

FAULTS: dict[str, tuple[Callable[[Manifest, Manifest], object], str]] = {
    "a field that nobody knows": (lambda job, spec: spec.update(ttl=5), "'ttl' was unexpected"),
    "a field of the pod that nobody knows": (
        lambda job, spec: head(spec).update(sevice="a"),
        "'sevice' was unexpected",
    ),
    "a number where a text belongs": (
        lambda job, spec: gpu(spec)["rayStartParams"].update({"num-gpus": 1}),
        "is not of type 'string'",
    ),
    "an enum's stranger": (
        lambda job, spec: spec["rayClusterSpec"]["autoscalerOptions"].update(upscalingMode="Fast"),
        "is not one of",
    ),
    "a name that is too long": (lambda job, spec: job["metadata"].update(name="r" * 48), "more than 47"),
    "a name that begins with a digit": (lambda job, spec: job["metadata"].update(name="1st"), "DNS-1035"),
    "a TTL without a shutdown": (lambda job, spec: spec.update(shutdownAfterJobFinishes=False), "ttlSecondsAfter"),
    "suspended without a shutdown": (
        lambda job, spec: spec.update(suspend=True, shutdownAfterJobFinishes=False, ttlSecondsAfterFinished=0),
        "suspend without",
    ),
    "a deadline of nothing": (lambda job, spec: spec.update(activeDeadlineSeconds=0), "must be positive"),
    "a start that may take longer than the run": (
        lambda job, spec: spec.update(preRunningDeadlineSeconds=10**6),
        "not below activeDeadlineSeconds",
    ),
    "a mode that does not exist": (lambda job, spec: spec.update(submissionMode="K8SJob"), "is none of"),
    "a sidecar with a template": (lambda job, spec: spec.update(submissionMode="SidecarMode"), "SidecarMode takes"),
    "two ways to delete": (
        lambda job, spec: spec.update(
            deletionStrategy={
                "deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED", "ttlSeconds": 1}}]
            }
        ),
        "deletionStrategy beside",
    ),
    "no token": (lambda job, spec: spec["rayClusterSpec"].pop("authOptions"), "authOptions.mode"),
    "a Ray that knows no token": (lambda job, spec: spec["rayClusterSpec"].update(rayVersion=BEFORE_TOKENS), "2.52.0"),
    "the old autoscaler": (
        lambda job, spec: spec["rayClusterSpec"]["autoscalerOptions"].pop("version"),
        "version is not v2",
    ),
    "two switches for the autoscaler": (
        lambda job, spec: head(spec)["containers"][0]["env"].append({"name": "RAY_enable_autoscaler_v2", "value": "1"}),
        "RAY_enable_autoscaler_v2",
    ),
    "options for an autoscaler that is off": (
        lambda job, spec: spec["rayClusterSpec"].update(enableInTreeAutoscaling=False),
        "without enableInTreeAutoscaling",
    ),
    "a head that starts again": (lambda job, spec: head(spec).update(restartPolicy="Always"), "must be Never"),
    "a gated field": (
        lambda job, spec: spec["rayClusterSpec"].update(networkPolicy={"mode": "DenyAll"}),
        "networkPolicy needs an alpha gate",
    ),
    "a gated backend": (
        lambda job, spec: spec["rayClusterSpec"].update(gcsFaultToleranceOptions={"backend": "rocksdb"}),
        "rocksdb needs an alpha gate",
    ),
    "more at least than at most": (lambda job, spec: gpu(spec).update(minReplicas=9), "not in this order"),
    "two groups of one name": (lambda job, spec: gpu(spec).update(groupName="cpu"), "not unique"),
    "a flag that Ray does not have": (
        lambda job, spec: gpu(spec)["rayStartParams"].update({"num-gpu": "1"}),
        "knows no --num-gpu",
    ),
    "resources in two places": (lambda job, spec: gpu(spec).update(resources={"CPU": "8"}), "in the group's own field"),
    "a head that runs tasks": (
        lambda job, spec: spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].pop("num-cpus"),
        "num-cpus is not 0",
    ),
    "an object store above /dev/shm": (
        lambda job, spec: gpu(spec)["rayStartParams"].update({"object-store-memory": str(11 * 1024**3)}),
        "does not fit into /dev/shm",
    ),
    "more memory than the limit": (
        lambda job, spec: gpu(spec)["rayStartParams"].update({"memory": str(30 * 1024**3)}),
        "exceed the limit",
    ),
    "a scratch directory without a limit": (
        lambda job, spec: head(spec)["volumes"][2].update(emptyDir={}),
        "spill has no sizeLimit",
    ),
    "more disk than the limit": (
        lambda job, spec: head(spec)["volumes"][2].update(emptyDir={"sizeLimit": "50Gi"}),
        "exceed the ephemeral storage",
    ),
    "nowhere to spill": (
        lambda job, spec: gpu(spec)["rayStartParams"].pop("object-spilling-directory"),
        "no directory with a limit",
    ),
    "a mount without a volume": (lambda job, spec: head(spec)["volumes"].pop(2), "mounts spill, which is no volume"),
    "a volume without a mount": (
        lambda job, spec: head(spec)["containers"][0]["volumeMounts"].pop(2),
        "the volume spill is mounted nowhere",
    ),
    "settings that dangle": (
        lambda job, spec: head(spec)["volumes"][-1]["configMap"].update(name="rayae-settings"),
        "refers to the ConfigMap rayae-settings, which",
    ),
    "settings of another name": (
        lambda job, spec: spec.update(entrypoint="python -m rayae score /etc/rayae/mine.yaml"),
        "reads settings that are not mounted",
    ),
    "an account that dangles": (lambda job, spec: head(spec).update(serviceAccountName="ray"), "ServiceAccount ray,"),
    "a Secret that dangles": (
        lambda job, spec: head(spec)["containers"][0].update(envFrom=[{"secretRef": {"name": "keys"}}]),
        "refers to the Secret keys",
    ),
    "an autoscaler with rights": (
        lambda job, spec: spec["rayClusterSpec"]["autoscalerOptions"].pop("securityContext"),
        "autoscaler: allowPrivilegeEscalation is None",
    ),
    "a submitter that is root": (
        lambda job, spec: spec["submitterPodTemplate"]["spec"]["securityContext"].pop("runAsNonRoot"),
        "ray-job-submitter: runAsNonRoot is None",
    ),
    "more requested than there may be": (
        lambda job, spec: gpu(spec)["template"]["spec"]["containers"][0]["resources"]["requests"].update(cpu="9"),
        "requests more cpu than its limit",
    ),
    "half a GPU": (
        lambda job, spec: gpu(spec)["template"]["spec"]["containers"][0]["resources"]["limits"].update(
            {"nvidia.com/gpu": "500m"}
        ),
        "GPUs are whole ones",
    ),
    "two volumes of one name": (
        lambda job, spec: head(spec)["volumes"].append({"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}),
        "two volumes are called the same",
    ),
    "a long name of a port": (
        lambda job, spec: head(spec)["containers"][0]["ports"].append({"name": "a-name-of-a-port", "containerPort": 1}),
        "more than 15 characters",
    ),
    "root all the same": (
        lambda job, spec: head(spec)["containers"][0]["securityContext"].update(runAsUser=0),
        "runs as root",
    ),
    "spilling to the root file system": (
        lambda job, spec: gpu(spec)["rayStartParams"].update({"object-spilling-directory": "/var/spill"}),
        "what is spilled is not written to a volume",
    ),
    "another container before Ray's": (
        lambda job, spec: head(spec)["containers"][0].update(name="proxy"),
        "the first container is not Ray's",
    ),
    "GPUs behind a taint": (
        lambda job, spec: gpu(spec)["template"]["spec"].pop("tolerations"),
        "does not tolerate the nodes",
    ),
    "a GPU without CUDA": (
        lambda job, spec: gpu(spec)["template"]["spec"]["containers"][0].update(image="rayae:0.1.0-cpu"),
        "the image is that of the other variant",
    ),
    "a group that no label can name": (lambda job, spec: gpu(spec).update(groupName="GPU_1"), "goes into labels"),
    "a worker that is a head": (
        lambda job, spec: gpu(spec)["rayStartParams"].update(head="true"),
        "a worker is no head",
    ),
    "an autoscaler without a token": (
        lambda job, spec: head(spec).update(automountServiceAccountToken=False),
        "has no token of Kubernetes",
    ),
    "a verb that there is not": (
        lambda job, spec: spec.update(entrypoint="python -m rayae skore /etc/rayae/score.yaml"),
        "the entrypoint is no job of rayae",
    ),
    "pods that the policy passes by": (
        lambda job, spec: gpu(spec)["template"]["metadata"].update(labels={}),
        "the NetworkPolicy does not hold for gpu",
    ),
    "a port that is not scraped": (
        lambda job, spec: gpu(spec)["rayStartParams"].update({"metrics-export-port": "8090"}),
        "is not the one of metrics-export-port",
    ),
}


@pytest.fixture(scope="module")
def sound(folder: Path) -> list[Manifest]:
    return with_components(folder, Path("overlays/eks/score"), ("monitoring",))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_a_manifest_is_found(sound: list[Manifest], fault: str) -> None:
    broken = copy.deepcopy(sound)
    inject, words = FAULTS[fault]
    inject(job_of(broken), spec_of(job_of(broken)))
    found = problems(broken)
    assert any(words in sentence for sentence in found), found


def kinds_of_spot(spec: Manifest) -> Iterator[str]:
    """The keys by which the GPU group asks for spot nodes."""
    affinity = gpu(spec)["template"]["spec"].get("affinity", {"nodeAffinity": {}})["nodeAffinity"]
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", []):
        yield from (one["key"] for one in term["matchExpressions"])


def test_only_workers_with_gpus_are_spot_and_the_head_never_is(folder: Path) -> None:
    spec = spec_of(job_of(with_components(folder, Path("overlays/gke/score"), ("spot",))))
    (term,) = head(spec)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert {(one["key"], one["operator"]) for one in term["matchExpressions"]} == {
        (key, "NotIn") for key in kinds_of_spot(spec)
    }
    plain = spec_of(job_of(with_components(folder, Path("overlays/gke/score"), ())))
    assert list(kinds_of_spot(plain)) == []


def test_worker_groups_start_from_nothing(sound: list[Manifest]) -> None:
    for group in spec_of(job_of(sound))["rayClusterSpec"]["workerGroupSpecs"]:
        assert (group["replicas"], group["minReplicas"]) == (0, 0)


def test_the_network_policy_lets_nobody_reach_a_metadata_service(folder: Path) -> None:
    (policy,) = (one for one in built(folder / "cluster/kuberay/overlays/eks/score") if one["kind"] == "NetworkPolicy")
    blocks = [to["ipBlock"] for rule in policy["spec"]["egress"] for to in rule["to"] if "ipBlock" in to]
    resolvers = [{"cidr": "169.254.20.10/32"}, {"cidr": "169.254.169.254/32"}]
    assert blocks == [*resolvers, {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}]
    (names,) = (rule for rule in policy["spec"]["egress"] if {"ipBlock": resolvers[0]} in rule["to"])
    assert {port["port"] for port in names["ports"]} == {53}


def test_jobs_run_under_accounts_of_their_own(folder: Path) -> None:
    for job in ("score", "train"):
        for overlay in ("eks", "gke"):
            found = built(folder / f"cluster/kuberay/overlays/{overlay}/{job}")
            (account,) = (one["metadata"] for one in found if one["kind"] == "ServiceAccount")
            assert account["name"] == f"rayae-{job}"
            assert f"rayae-{job}" in next(iter(account["annotations"].values()))


def test_the_overlay_of_the_documents_is_taken_with_its_settings_and_its_names(folder: Path, tmp_path: Path) -> None:
    kustomization, settings = blocks(KUBERAY / "README.md", "yaml")
    copied(tmp_path / "rayae")
    mine = tmp_path / "parts-2026-11"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(kustomization)
    (mine / "score.yaml").write_text(settings)
    found = built(mine)
    assert problems(found) == []
    job = job_of(found)
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("parts-2026-11", "inspection")
    images = {pod["spec"]["containers"][0]["image"] for pod in manifests.pods_of(spec_of(job)).values()}
    assert {one.partition(":")[0] for one in images} == {"registry.example/vision/rayae"}
    (data,) = (one["data"] for one in found if one["metadata"]["name"].startswith("rayae-settings"))
    assert data["score.yaml"] == settings
    assert main(["score", str(mine / "score.yaml"), "--dry-run"]) == 0


def test_the_components_are_those_of_the_documents() -> None:
    text = (KUBERAY / "README.md").read_text()
    listed = {
        name for line in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", line)
    }
    assert {one.name for one in (KUBERAY / "components").iterdir()} <= listed
