"""Home of what a cluster can hold: the nodes that are there, those that its autoscaler may add, and plans on them."""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import ray
import requests
import yaml
from ray._private.state import state

from rayae.errors import ClusterError
from rayae.terminal import warn

LAUNCHER_CONFIG = "~/ray_bootstrap_config.yaml"
"""Where `ray up` puts the configuration of the cluster, on its head."""
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
ROUNDING = 1e-9
_cpus, _gpus = attrgetter("cpus"), attrgetter("gpus")


@dataclass(frozen=True)
class Workers:
    """A plan's workers: how many, and what Ray sets aside for each."""

    count: int
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind: how many, perhaps infinitely many, and what each of them gives to workers."""

    count: float
    cpus: float
    gpus: float
    memory: float = math.inf
    """Bytes; infinite where nobody says."""

    @classmethod
    def of(cls, count: float, resources: Mapping[str, float]) -> "Nodes":
        """Of resources as Ray names them."""
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        return cls(count, cpus, gpus, resources.get("memory", math.inf) if cpus else 0.0)

    def hold(self, cpus: float, gpus: float) -> float:
        """How many workers fit on them; parts of a GPU are parts of one, as Ray gives no worker two halves."""
        by_cpus = math.floor(self.cpus / cpus + ROUNDING)
        if not gpus:
            return self.count * by_cpus
        a_gpu = math.floor(1 / gpus + ROUNDING)
        by_gpus = math.floor(self.gpus) * a_gpu if gpus < 1 else math.floor(self.gpus / gpus + ROUNDING)
        return self.count * min(by_cpus, by_gpus) if self.count else 0


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster now, and the most that there can be."""

    present: tuple[Nodes, ...]
    most: tuple[Nodes, ...]

    def __str__(self) -> str:
        grows = f" and may grow to {_sums(self.most)}" if _sums(self.most) != _sums(self.present) else ""
        return f"the cluster has {_sums(self.present)}{grows}"

    def hold(self, cpus: float, gpus: float) -> float:
        """How many such workers there can be at most."""
        return _hold(self.most, cpus, gpus)

    def hold_now(self, workers: Workers) -> int:
        """How many of the workers the nodes hold that are there; no more than were planned."""
        return int(min(workers.count, _hold(self.present, workers.cpus, workers.gpus)))

    def cpus(self) -> float:
        """The most CPUs that there can be."""
        return _total(self.most, _cpus)

    def cpus_now(self) -> float:
        """The CPUs of the nodes that are there."""
        return _total(self.present, _cpus)


def _hold(nodes: Iterable[Nodes], cpus: float, gpus: float) -> float:
    return sum(one.hold(cpus, gpus) for one in nodes)


def _total(nodes: Iterable[Nodes], what: Callable[[Nodes], float]) -> float:
    return sum(one.count * what(one) for one in nodes if one.count and what(one))


def _sums(nodes: Iterable[Nodes]) -> str:
    nodes = tuple(nodes)
    return f"{_total(nodes, _cpus):g} CPUs and {_total(nodes, _gpus):g} GPUs"


def capacity() -> Capacity:
    """Of the cluster that was joined."""
    present = tuple(Nodes.of(1, node["Resources"]) for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
    return Capacity(present, grown(present, _groups()))


def grown(present: Iterable[Nodes], groups: Iterable[Nodes]) -> tuple[Nodes, ...]:
    """The groups when they are full, and the nodes that belong to none of them, such as the head.

    A node is of the group whose CPUs and GPUs it has.
    """
    groups = [group for group in groups if group.count and (group.cpus or group.gpus)]
    room = {(group.cpus, group.gpus): 0.0 for group in groups}
    for group in groups:
        room[group.cpus, group.gpus] += group.count
    others = []
    for node in present:
        shape = (node.cpus, node.gpus)
        if room.get(shape, 0) >= 1:
            room[shape] -= 1
        else:
            others.append(node)
    return (*groups, *others)


def _groups() -> list[Nodes]:
    """The groups of nodes that the autoscaler keeps, as the first place says where they are written.

    Ray itself knows them only on platforms that tell it; its autoscaler on Kubernetes and the launcher's do not.
    """
    told = state.get_cluster_config()
    if told is not None and told.node_group_configs:
        return [
            Nodes.of(math.inf if one.max_count < 0 else one.max_count, dict(one.resources))
            for one in told.node_group_configs
        ]
    path = Path(LAUNCHER_CONFIG).expanduser()
    if path.exists():
        return groups_of(yaml.safe_load(path.read_text()))
    return groups_of(_of_kuberay())


def groups_of(config: Mapping[str, Any]) -> list[Nodes]:
    """The groups in a configuration of Ray's autoscaler, without the head."""
    limit = config.get("max_workers", math.inf)
    return [
        Nodes.of(min(kind.get("max_workers", limit), limit), kind.get("resources", {}))
        for name, kind in config.get("available_node_types", {}).items()
        if name != config.get("head_node_type")
    ]


def _of_kuberay() -> Mapping[str, Any]:
    """The autoscaler's configuration of the RayCluster whose head this is; empty elsewhere.

    Asked for as the autoscaler beside it does, with the service account of the pod.
    """
    cluster = os.environ.get("RAY_CLUSTER_NAME")
    if not cluster or not NAMESPACE.exists():
        return {}
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

    try:
        found = KubernetesHttpApiClient(NAMESPACE.read_text().strip()).get(f"rayclusters/{cluster}")
    except (requests.RequestException, OSError) as error:
        warn(f"how far RayCluster {cluster} may grow cannot be read ({error}); the nodes that are there count alone.")
        return {}
    if not found["spec"].get("enableInTreeAutoscaling"):
        return {}
    config: Mapping[str, Any] = _derive_autoscaling_config_from_ray_cr(found)
    return config


def memory_bytes() -> float:
    """The memory that all nodes give to workers when there are as many as there can be."""
    return _total(capacity().most, attrgetter("memory"))


def plan_workers(count: int | None, cpus: float, gpus: float | None, leaves: float = 0.0) -> Workers:
    """The workers that were asked for, or as many as the cluster can hold; ClusterError, with the sum, when it cannot.

    When nobody says how many, a share `leaves` of the CPUs is left to others.
    """
    return plan_on(capacity(), count, cpus, gpus, leaves)


def plan_on(have: Capacity, count: int | None, cpus: float, gpus: float | None, leaves: float = 0.0) -> Workers:
    """The same, on a cluster that is known."""
    if gpus is None:
        gpus = 1.0 if _total(have.most, _gpus) else 0.0
    fit = have.hold(cpus, gpus)
    if count is None and math.isinf(fit):
        raise ClusterError(f"{have}, so nothing says how many workers there shall be: say so with `workers=`.")
    if count is None:
        count = max(1, int(min(fit, have.cpus() * (1 - leaves) / cpus)))
    if count < 1 or count > fit:
        raise ClusterError(
            f"the plan needs {count} x {cpus:g} CPUs = {count * cpus:g} and {count} x {gpus:g} GPUs = "
            f"{count * gpus:g}; {have}, enough for {fit:g} worker(s){_why(have, count, cpus, gpus)}. "
            "Ask for fewer with `workers=`, or for less with `resources.cpus_per_worker=` and "
            "`resources.gpus_per_worker=`."
        )
    return Workers(count, cpus, gpus)


def _why(have: Capacity, count: int, cpus: float, gpus: float) -> str:
    """What the sum does not say: that a worker lies on one node."""
    if have.cpus() < count * cpus or _total(have.most, _gpus) < count * gpus:
        return ""
    kinds = dict.fromkeys(f"{one.cpus:g} CPUs and {one.gpus:g} GPUs" for one in have.most if one.cpus or one.gpus)
    return f", since each lies on one node, and these have {', or '.join(kinds)}"


def plan_decoders(workers: Workers, wanted: int | None) -> int:
    """The tasks of a CPU each that fetch and decode beside the workers: as asked, or all CPUs that these leave.

    ClusterError, with the sum, when the workers leave too few.
    """
    return decoders_on(capacity(), workers, wanted)


def decoders_on(have: Capacity, workers: Workers, wanted: int | None) -> int:
    """The same, on a cluster that is known."""
    cpus, least, scoring = have.cpus(), wanted or 1, workers.count * workers.cpus
    if cpus - scoring < least:
        raise ClusterError(
            f"with placement=apart the plan needs {workers.count} x {workers.cpus:g} CPUs for scoring and {least} for "
            f"decoding = {scoring + least:g}; {have}. Ask for fewer with `workers=` or "
            "`resources.decoders=`, or for less with `resources.cpus_per_worker=`."
        )
    if wanted is None and math.isinf(cpus):
        raise ClusterError(f"{have}, so nothing says how many decoders there shall be: say `resources.decoders=`.")
    return wanted or int(cpus - scoring)
