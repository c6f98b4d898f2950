"""What `cluster/kuberay` builds, and what is wrong with it.

The CRDs hold the types; that the operator refuses more, and what Kubernetes would only find out when the pods start,
is in `problems`. The rules are those of KubeRay's validation and of its documents.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft7Validator

from tests.cluster.kuberay_fields import SCHEMAS as OWN_SCHEMAS

ROOT = Path(__file__).parents[2]
CRDS = ROOT.parent / "shared" / "kuberay"
KUBECTL = Path(sys.executable).parent / "kubectl"
KUBERNETES = "1.33"
LONGEST_NAME = 47
GIB = 1024**3
OF_RAY_ITSELF = GIB
"""What the processes of Ray on a node take beside the workers and the object store."""
MADE_BY_THE_USER = {"rayae-storage"}
"""Secrets that the documents ask for."""
MODES = {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}
GATED = ("networkPolicy", "tlsOptions", "historyServerOptions")
"""Fields that the operator refuses without an alpha gate."""

Manifest = dict[str, Any]


def built(folder: Path) -> list[Manifest]:
    """What kustomize makes of a folder, as `kubectl apply -k` would send it."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def copied(to: Path) -> Path:
    """The folders that a build reads, in a place of their own, to build on with a `kustomization.yaml` beside them."""
    for name in ("cluster", "jobs"):
        shutil.copytree(ROOT / name, to / name)
    return to


def job_of(manifests: list[Manifest]) -> Manifest:
    """The one RayJob or RayCronJob."""
    (found,) = (one for one in manifests if one["kind"] in ("RayJob", "RayCronJob"))
    return found


def spec_of(job: Manifest) -> Manifest:
    """The specification of a run, also inside of a RayCronJob."""
    spec: Manifest = job["spec"]["jobTemplate"] if job["kind"] == "RayCronJob" else job["spec"]
    return spec


def groups_of(spec: Manifest) -> dict[str, Manifest]:
    """Head and worker groups by name."""
    cluster = spec["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"]} | {one["groupName"]: one for one in cluster.get("workerGroupSpecs", [])}


def pods_of(spec: Manifest) -> dict[str, Manifest]:
    """The pod templates of a run by what they are for, as KubeRay completes them: with the autoscaler in the head."""
    pods = {name: group["template"] for name, group in groups_of(spec).items()}
    cluster = spec["rayClusterSpec"]
    if cluster.get("enableInTreeAutoscaling"):
        head = json.loads(json.dumps(pods["head"]))
        options = {
            key: value
            for key, value in cluster.get("autoscalerOptions", {}).items()
            if key in ("env", "envFrom", "image", "resources", "securityContext", "volumeMounts")
        }
        image = head["spec"]["containers"][0]["image"]
        head["spec"]["containers"].append({"name": "autoscaler", "image": image} | options)
        pods["head"] = head
    return pods | {"submitter": spec["submitterPodTemplate"]}


def problems(manifests: list[Manifest]) -> list[str]:
    """Everything that is wrong, each in a sentence; an empty list when a platform would take it."""
    job = job_of(manifests)
    found = [*_against_schemas(manifests), *_name(job["metadata"])]
    if found:
        return found  # the rules below presuppose the types
    spec = spec_of(job)
    rules: list[Callable[[Manifest], Iterator[str]]] = [_job, _cluster, _gated, _groups, _start_params, _sums, _of_ray]
    found += [sentence for rule in rules for sentence in rule(spec)]
    for name, pod in pods_of(spec).items():
        found += [
            f"{name}: {sentence}"
            for sentence in (*_pod(pod["spec"]), *_quantities(pod["spec"]), *_restricted(pod["spec"]))
        ]
    if job["kind"] == "RayCronJob" and spec.get("suspend"):
        found.append("each job of the RayCronJob would begin suspended, and in no queue")
    return [*found, *_references(manifests, spec), *_selectors(manifests, spec)]


def _against_schemas(manifests: list[Manifest]) -> Iterator[str]:
    for one in manifests:
        kind = one["kind"]
        if kind in ("RayJob", "RayCronJob"):
            for error in Draft7Validator(schema(kind)).iter_errors(one):
                yield f"{kind} {'.'.join(map(str, error.absolute_path))}: {error.message}"
        elif kind in ("PodMonitor", "PrometheusRule"):
            if one["apiVersion"] != "monitoring.coreos.com/v1":
                yield f"{kind}: {one['apiVersion']}"
        else:
            yield from _of_kubernetes(one, kind)
    job = job_of(manifests)
    spec = job.get("spec", {})
    spec = spec.get("jobTemplate", {}) if job["kind"] == "RayCronJob" else spec
    if "rayClusterSpec" in spec and "submitterPodTemplate" in spec:
        for name, pod in pods_of(spec).items():
            meta = {"name": "pod"} | pod.get("metadata", {})
            yield from _of_kubernetes({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod["spec"]}, name)


def _of_kubernetes(one: Manifest, name: str) -> Iterator[str]:
    try:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{name}: {'.'.join(map(str, error.path))}: {error.message}"


def schema(kind: str) -> Mapping[str, Any]:
    """The CRD of a kind, strict; where it is absent, the fields that are in use here."""
    path = CRDS / f"{kind.lower()}-v1.json"
    return json.loads(path.read_text()) if path.exists() else OWN_SCHEMAS[kind]


def _name(metadata: Manifest) -> Iterator[str]:
    name = metadata["name"]
    if len(name) > LONGEST_NAME:
        yield f"the name {name} has {len(name)} characters, more than {LONGEST_NAME}"
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"the name {name} is no DNS-1035 label"


def _job(spec: Manifest) -> Iterator[str]:
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shutdown:
        yield "ttlSecondsAfterFinished without shutdownAfterJobFinishes"
    if spec.get("suspend") and not shutdown:
        yield "suspend without shutdownAfterJobFinishes"
    if spec.get("activeDeadlineSeconds", 1) <= 0 or spec.get("backoffLimit", 0) < 0:
        yield "activeDeadlineSeconds must be positive, backoffLimit not negative"
    if spec.get("preRunningDeadlineSeconds", 1) >= spec.get("activeDeadlineSeconds", 2):
        yield "preRunningDeadlineSeconds is not below activeDeadlineSeconds"
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in MODES:
        yield f"submissionMode {mode} is none of {', '.join(sorted(MODES))}"
    if mode == "SidecarMode" and ("submitterPodTemplate" in spec or "submitterConfig" in spec):
        yield "SidecarMode takes neither submitterPodTemplate nor submitterConfig"
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "InteractiveMode takes no backoffLimit"
    if "deletionStrategy" in spec and shutdown:
        yield "deletionStrategy beside shutdownAfterJobFinishes"


def _cluster(spec: Manifest) -> Iterator[str]:
    cluster = spec["rayClusterSpec"]
    auto = cluster.get("enableInTreeAutoscaling", False)
    options = cluster.get("autoscalerOptions", {})
    environment = {one["name"] for one in _first(cluster["headGroupSpec"]).get("env", [])}
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "authOptions.mode is not set to token"
    if tuple(map(int, cluster.get("rayVersion", "0").split("."))) < (2, 52):
        yield "token authentication needs a rayVersion, 2.52.0 or later"
    if auto and options.get("version") != "v2":
        yield "the autoscaler's version is not v2"
    if not auto and options:
        yield "autoscalerOptions without enableInTreeAutoscaling"
    if "RAY_enable_autoscaler_v2" in environment:
        yield "RAY_enable_autoscaler_v2 is set beside autoscalerOptions.version"
    if options.get("idleTimeoutSeconds", 0) < 0:
        yield "idleTimeoutSeconds is negative"
    for name, group in groups_of(spec).items():
        if auto and group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"{name}: with the autoscaler v2 restartPolicy must be Never"


def _gated(spec: Manifest) -> Iterator[str]:
    cluster = spec["rayClusterSpec"]
    for name in GATED:
        if name in cluster:
            yield f"{name} needs an alpha gate of the operator"
    if cluster.get("gcsFaultToleranceOptions", {}).get("backend") == "rocksdb":
        yield "gcsFaultToleranceOptions.backend rocksdb needs an alpha gate of the operator"


def _groups(spec: Manifest) -> Iterator[str]:
    workers = spec["rayClusterSpec"].get("workerGroupSpecs", [])
    names = [one["groupName"] for one in workers]
    if len(set(names)) < len(names) or "head" in names:
        yield f"group names are not unique: {names}"
    for one in workers:
        least, most, now = one.get("minReplicas"), one.get("maxReplicas"), one.get("replicas", 0)
        if least is None or most is None or not 0 <= least <= now <= most:
            yield f"{one['groupName']}: minReplicas {least}, replicas {now}, maxReplicas {most} are not in this order"


def _start_params(spec: Manifest) -> Iterator[str]:
    from ray.scripts.scripts import start  # its own options, not a list of ours

    known = {word.lstrip("-") for option in start.params for word in option.opts}
    for name, group in groups_of(spec).items():
        params = group.get("rayStartParams", {})
        unknown = set(params) - known
        if unknown:
            yield f"{name}: `ray start` knows no --{', --'.join(sorted(unknown))}"
        if "labels" in params:
            yield f"{name}: labels belong into the group's own field"
        if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & set(params):
            yield f"{name}: resources are in rayStartParams and in the group's own field"
    if groups_of(spec)["head"].get("rayStartParams", {}).get("num-cpus") != "0":
        yield "head: num-cpus is not 0, so tasks could take the driver's memory"


def _sums(spec: Manifest) -> Iterator[str]:
    """What is promised inside of a pod fits into its limits."""
    for name, group in groups_of(spec).items():
        params, limits = group.get("rayStartParams", {}), _first(group)["resources"]["limits"]
        volumes = {one["name"]: one for one in group["template"]["spec"]["volumes"]}
        directories = {key: one["emptyDir"] for key, one in volumes.items() if "emptyDir" in one}
        for key, one in directories.items():
            if "sizeLimit" not in one:
                yield f"{name}: the emptyDir {key} has no sizeLimit"
        in_memory = [quantity(one.get("sizeLimit", "0")) for one in directories.values() if one.get("medium")]
        on_disk = [quantity(one.get("sizeLimit", "0")) for one in directories.values() if not one.get("medium")]
        store, workers = int(params.get("object-store-memory", 0)), int(params.get("memory", 0))
        memory, disk = quantity(limits["memory"]), quantity(limits["ephemeral-storage"])
        if not 0 < store <= sum(in_memory):
            yield f"{name}: the object store of {store} bytes does not fit into /dev/shm of {sum(in_memory)}"
        if workers + max(store, sum(in_memory)) + OF_RAY_ITSELF > memory:
            yield f"{name}: workers {workers}, /dev/shm {sum(in_memory)} and Ray itself exceed the limit {memory}"
        if sum(on_disk) > disk:
            yield f"{name}: the emptyDirs, {sum(on_disk)} bytes, exceed the ephemeral storage, {disk}"
        if "object-spilling-directory" not in params:
            yield f"{name}: no directory with a limit to spill to"


def quantity(text: str) -> int:
    """Bytes of a quantity of Kubernetes."""
    return int(amount(text))


def _pod(pod: Manifest) -> Iterator[str]:
    volumes = [one["name"] for one in pod.get("volumes", [])] + ["ray-logs"]  # which KubeRay adds
    mounted = {mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", [])}
    for name in sorted(set(volumes) - mounted - {"ray-logs"}):
        yield f"the volume {name} is mounted nowhere"
    for container in pod["containers"]:
        mounts = container.get("volumeMounts", [])
        for mount in mounts:
            if mount["name"] not in volumes:
                yield f"{container['name']} mounts {mount['name']}, which is no volume of the pod"
        paths = [mount["mountPath"] for mount in mounts]
        if len(set(paths)) < len(paths):
            yield f"{container['name']} mounts two volumes at one path"
        limits = container.get("resources", {}).get("limits", {})
        if not {"cpu", "memory"} <= set(limits):
            yield f"{container['name']} has no limits of CPU and memory"
        if limits.get("memory") != container.get("resources", {}).get("requests", {}).get("memory") and (
            container["name"].startswith("ray-") and container["name"] != "ray-job-submitter"
        ):
            yield f"{container['name']} may be killed for memory that it was not promised"


def _restricted(pod: Manifest) -> Iterator[str]:
    """The `restricted` standard of Kubernetes for pods, and a root file system that nobody writes to."""
    own = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        context = own | container.get("securityContext", {})
        wanted = {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for key, value in wanted.items():
            if context.get(key) != value:
                yield f"{container['name']}: {key} is {context.get(key)}"
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is set"
    if any("hostPath" in one for one in pod.get("volumes", [])):
        yield "a hostPath is mounted"


def _quantities(pod: Manifest) -> Iterator[str]:
    """What the API server refuses although the schema takes it."""
    for container in pod["containers"]:
        found = container.get("resources", {})
        requests, limits = found.get("requests", {}), found.get("limits", {})
        for name in requests.keys() & limits.keys():
            if amount(requests[name]) > amount(limits[name]):
                yield f"{container['name']} requests more {name} than its limit"
        if any(amount(limits[name]) % 1 or requests.get(name) != limits[name] for name in limits if "gpu" in name):
            yield f"{container['name']}: GPUs are whole ones, and requested as they are limited"
    ports = [port for one in pod["containers"] for port in one.get("ports", [])]
    for what, names in (
        ("volumes", [one["name"] for one in pod.get("volumes", [])]),
        ("containers", [one["name"] for one in pod["containers"]]),
        ("ports", [port["name"] for port in ports]),
        ("port numbers", [port["containerPort"] for port in ports]),
    ):
        if len(set(names)) < len(names):
            yield f"two {what} are called the same: {names}"
    if any(len(port["name"]) > 15 or not 0 < port["containerPort"] < 65536 for port in ports):
        yield "a port has a name of more than 15 characters, or a number that is none"
    for one in (pod, *pod["containers"]):
        if one.get("securityContext", {}).get("runAsUser", 1) == 0 or one.get("securityContext", {}).get("privileged"):
            yield "it runs as root, or privileged"


def amount(text: str | int) -> float:
    """A quantity of any kind as a number."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|[KMGT]i)?", str(text)).groups()  # type: ignore[union-attr]
    return float(number) * (1 if unit is None else 1e-3 if unit == "m" else 1024 ** " KMGT".index(unit[0]))


def _of_ray(spec: Manifest) -> Iterator[str]:
    """What Ray, KubeRay or the scheduler would only find out when the pods start."""
    for name, group in groups_of(spec).items():
        params, container, pod = group["rayStartParams"], _first(group), group["template"]["spec"]
        mounted = {one["mountPath"]: one for one in container["volumeMounts"]}
        spill = mounted.get(params.get("object-spilling-directory", ""))
        if spill is None or spill.get("readOnly"):
            yield f"{name}: what is spilled is not written to a volume"
        if not container["name"].startswith("ray-") or "command" in container:
            yield f"{name}: the first container is not Ray's, or has a command of its own"
        has_gpu = any("gpu" in one for one in container["resources"]["limits"])
        if has_gpu and not any("gpu" in one.get("key", "") for one in pod.get("tolerations", [])):
            yield f"{name}: it asks for a GPU and does not tolerate the nodes that have one"
        if has_gpu is not container["image"].endswith("-gpu"):
            yield f"{name}: the image is that of the other variant"
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,30}[a-z0-9])?", name):
            yield f"{name}: the name of a group goes into labels and names of pods"
        if name != "head" and ("head" in params or params.get("num-cpus") == "0"):
            yield f"{name}: a worker is no head and has CPUs"
        if any(params.get(one, "0").isdigit() is False for one in ("num-cpus", "num-gpus", "memory")):
            yield f"{name}: a number of rayStartParams is none"
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    if spec["rayClusterSpec"].get("enableInTreeAutoscaling") and not head.get("automountServiceAccountToken"):
        yield "head: the autoscaler beside it has no token of Kubernetes"


def _references(manifests: list[Manifest], spec: Manifest) -> Iterator[str]:
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    there |= {("Secret", name) for name in MADE_BY_THE_USER}
    for name, pod in pods_of(spec).items():
        for reference in _refers_to(pod["spec"]):
            if reference not in there:
                yield f"{name} refers to the {reference[0]} {reference[1]}, which is not there"
    if len({(one["kind"], one["metadata"]["name"]) for one in manifests}) < len(manifests):
        yield "two objects have one kind and name"
    verb = re.match(r"python -m rayae (score|train) ", spec["entrypoint"])
    if verb is None or len(shlex.split(spec["entrypoint"])) < 5:
        yield f"the entrypoint is no job of rayae: {spec['entrypoint']}"
    settings = re.search(r"/etc/rayae/(\S+)", spec["entrypoint"])
    maps = {one["metadata"]["name"]: one["data"] for one in manifests if one["kind"] == "ConfigMap"}
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    mounted = [key for one in head["volumes"] if "configMap" in one for key in maps.get(one["configMap"]["name"], ())]
    if settings is None or settings[1] not in mounted:
        yield f"the entrypoint reads settings that are not mounted: {spec['entrypoint']}"


def _refers_to(pod: Manifest) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", pod.get("serviceAccountName", "default")
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
    for container in pod["containers"]:
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"]
        for variable in container.get("env", []):
            if "secretKeyRef" in variable.get("valueFrom", {}):
                yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]


def _selectors(manifests: list[Manifest], spec: Manifest) -> Iterator[str]:
    """What selects pods selects all of these, and what scrapes them finds the port."""
    pods = pods_of(spec)
    for one in manifests:
        if one["kind"] == "NetworkPolicy":
            wanted = one["spec"]["podSelector"]["matchLabels"]
            for name, pod in pods.items():
                if not wanted.items() <= pod["metadata"]["labels"].items():
                    yield f"the NetworkPolicy does not hold for {name}"
        if one["kind"] == "PodMonitor":
            (endpoint,) = one["spec"]["podMetricsEndpoints"]
            for name in groups_of(spec):
                ports = {port["name"]: port["containerPort"] for port in _first(groups_of(spec)[name])["ports"]}
                exported = groups_of(spec)[name]["rayStartParams"].get("metrics-export-port")
                if str(ports.get(endpoint["port"])) != exported:
                    yield f"{name}: the port {endpoint['port']} is not the one of metrics-export-port"


def _first(group: Manifest) -> Manifest:
    container: Manifest = group["template"]["spec"]["containers"][0]
    return container
