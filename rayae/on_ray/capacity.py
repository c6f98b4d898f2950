"""Home of what a cluster can hold: the nodes that are there, those that its autoscaler may add, and plans on them."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import ray
import requests
import yaml

from rayae.errors import ClusterError
from rayae.terminal import warn

LAUNCHER_CONFIG = "~/ray_bootstrap_config.yaml"
"""Where `ray up` puts the configuration of the cluster, on its head."""
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NO_LIMIT = 2**31 - 1
"""What KubeRay puts where nobody says how many nodes there may be."""
ROUNDING = 1e-9
_cpus, _gpus = attrgetter("cpus"), attrgetter("gpus")


@dataclass(frozen=True)
class Workers:
    """A plan's workers: how many, and what Ray sets aside for each."""

    count: int
    """As many as are waited for."""
    cpus: float
    gpus: float
    most: int | None = None
    """As many as they may become; None when they stay as many as they are."""

    def in_words(self) -> str:
        """How many, as `2 to 8 workers`."""
        return f"{self.count} worker(s)" if self.most is None else f"{self.count} to {self.most} workers"


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind: how many, perhaps infinitely many, and what each of them gives to workers."""

    count: float
    cpus: float
    gpus: float
    memory: float = math.inf
    """Bytes; infinite where nobody says."""
    store: float = math.inf
    """Bytes of Ray's object store; infinite where nobody says."""

    @classmethod
    def of(cls, count: float, resources: Mapping[str, float]) -> "Nodes":
        """Of resources as Ray names them."""
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        memory = resources.get("memory", math.inf) if cpus else 0.0
        return cls(count, cpus, gpus, memory, resources.get("object_store_memory", math.inf))

    def each_holds(self, cpus: float, gpus: float) -> int:
        """How many workers fit on one of them; parts of a GPU are parts of one, as Ray gives no worker two halves."""
        by_cpus = math.floor(self.cpus / cpus + ROUNDING)
        if not gpus:
            return by_cpus
        a_gpu = math.floor(1 / gpus + ROUNDING)
        by_gpus = math.floor(self.gpus) * a_gpu if gpus < 1 else math.floor(self.gpus / gpus + ROUNDING)
        return min(by_cpus, by_gpus)


@dataclass(frozen=True)
class Groups:
    """The groups of nodes that an autoscaler keeps, and how many nodes there may be in all of them together."""

    kinds: tuple[Nodes, ...] = ()
    limit: float = math.inf


@dataclass(frozen=True)
class Capacity:
    """The nodes of a cluster now, and those that there may be: full groups, and nodes that belong to none."""

    present: tuple[Nodes, ...]
    groups: Groups = Groups()

    def __str__(self) -> str:
        now = f"{_most(self.present, _cpus):g} CPUs and {_most(self.present, _gpus):g} GPUs"
        most = f"{self.most(_cpus):g} CPUs and {self.most(_gpus):g} GPUs"
        return f"the cluster has {now}{f' and may grow to {most}' if most != now else ''}"

    def hold(self, cpus: float, gpus: float) -> float:
        """How many such workers there can be at most."""
        return self.most(lambda node: node.each_holds(cpus, gpus))

    def hold_now(self, workers: Workers) -> int:
        """How many of the workers the nodes hold that are there; no more than were planned."""
        there = _most(self.present, lambda node: node.each_holds(workers.cpus, workers.gpus))
        return int(min(workers.count, there))

    def most(self, what: Callable[[Nodes], float]) -> float:
        """The most that there can be of what a node has."""
        return _most(self.groups.kinds, what, self.groups.limit) + _most(self._others(), what)

    def cpus_now(self) -> float:
        """The CPUs of the nodes that are there."""
        return _most(self.present, _cpus)

    def _others(self) -> list[Nodes]:
        """The nodes that are there and of no group, such as the head: a node is of the group whose shape it has."""
        room = Counter[tuple[float, float]]()
        for kind in self.groups.kinds:
            room[kind.cpus, kind.gpus] += kind.count  # type: ignore[assignment]  # which may be infinite
        others = []
        for node in self.present:
            shape = (node.cpus, node.gpus)
            if room[shape] >= 1:
                room[shape] -= 1
            else:
                others.append(node)
        return others


def _most(nodes: Iterable[Nodes], what: Callable[[Nodes], float], limit: float = math.inf) -> float:
    """The most that so many of the nodes can have: those with the most of it are taken first."""
    total = 0.0
    for one in sorted(nodes, key=what, reverse=True):
        taken = min(one.count, limit)
        if taken and what(one):
            total += taken * what(one)
            limit -= taken
    return total


def capacity() -> Capacity:
    """Of the cluster that was joined. How far it may grow is read once; that may take a request."""
    present = tuple(Nodes.of(1, node["Resources"]) for node in ray.nodes() if node["Alive"])  # type: ignore[no-untyped-call]
    return Capacity(present, groups_at(ray.get_runtime_context().gcs_address))


@cache
def groups_at(gcs_address: str) -> Groups:
    """The groups that the autoscaler of a cluster keeps, where its configuration can be read: on its head.

    Ray itself does not know them: neither its autoscaler on Kubernetes nor the launcher's tells it.
    """
    path = Path(LAUNCHER_CONFIG).expanduser()
    here = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # of Ray
    is_head = gcs_address.rpartition(":")[0] in (here, "127.0.0.1")
    if "RAY_ADDRESS" in os.environ and is_head and path.exists():
        return groups_of(yaml.safe_load(path.read_text()))
    return groups_of(_of_kuberay())


def groups_of(config: Mapping[str, Any]) -> Groups:
    """The groups in a configuration of Ray's autoscaler, without the head."""
    limit = _count(config.get("max_workers", math.inf))
    kinds = (
        Nodes.of(min(_count(kind.get("max_workers", limit)), limit), kind.get("resources", {}))
        for name, kind in config.get("available_node_types", {}).items()
        if name != config.get("head_node_type")
    )
    return Groups(tuple(kind for kind in kinds if kind.count and (kind.cpus or kind.gpus)), limit)


def _count(nodes: float) -> float:
    return math.inf if nodes >= NO_LIMIT else nodes


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
        if not found["spec"].get("enableInTreeAutoscaling"):
            return {}
        config: Mapping[str, Any] = _derive_autoscaling_config_from_ray_cr(found)
        return config
    except (requests.RequestException, OSError, ValueError, KeyError) as error:
        warn(f"how far RayCluster {cluster} may grow cannot be read ({error}); the nodes that are there count alone.")
        return {}


def plan_workers(count: int | None, cpus: float, gpus: float | None, leaves: float = 0.0) -> Workers:
    """The workers that were asked for, or as many as the cluster can hold; ClusterError, with the sum, when it cannot.

    When nobody says how many, a share `leaves` of the CPUs is left to others.
    """
    return plan_on(capacity(), count, cpus, gpus, leaves)


def plan_on(have: Capacity, count: int | None, cpus: float, gpus: float | None, leaves: float = 0.0) -> Workers:
    """The same, on a cluster that is known."""
    if gpus is None:
        gpus = 1.0 if have.most(_gpus) else 0.0
    fit = have.hold(cpus, gpus)
    if count is None and math.isinf(fit):
        raise ClusterError(f"{have}, so nothing says how many workers there shall be: say so with `workers=`.")
    if count is None:
        count = max(1, int(min(fit, have.most(_cpus) * (1 - leaves) / cpus)))
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
    if have.most(_cpus) < count * cpus or have.most(_gpus) < count * gpus:
        return ""
    nodes = (*have.groups.kinds, *have.present)
    kinds = dict.fromkeys(f"{one.cpus:g} CPUs and {one.gpus:g} GPUs" for one in nodes if one.cpus or one.gpus)
    return f", since each lies on one node, and these have {', or '.join(kinds)}"


def plan_decoders(workers: Workers, wanted: int | None) -> int:
    """The tasks of a CPU each that fetch and decode beside the workers: as asked, or all CPUs that these leave.

    ClusterError, with the sum, when the workers leave too few.
    """
    return decoders_on(capacity(), workers, wanted)


def decoders_on(have: Capacity, workers: Workers, wanted: int | None) -> int:
    """The same, on a cluster that is known."""
    cpus, least, scoring = have.most(_cpus), wanted or 1, workers.count * workers.cpus
    if cpus - scoring < least:
        raise ClusterError(
            f"with placement=apart the plan needs {workers.count} x {workers.cpus:g} CPUs for scoring and {least} for "
            f"decoding = {scoring + least:g}; {have}. Ask for fewer with `workers=` or "
            "`resources.decoders=`, or for less with `resources.cpus_per_worker=`."
        )
    if wanted is None and math.isinf(cpus):
        raise ClusterError(f"{have}, so nothing says how many decoders there shall be: say `resources.decoders=`.")
    return wanted or int(cpus - scoring)
