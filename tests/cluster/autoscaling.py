"""A Ray cluster of a head alone, whose autoscaler (version 2) adds nodes on this machine when they are asked for.

Ray's own `AutoscalingCluster` begins and ends with `ray stop --force`, which ends every Ray of the machine, and wants a
file that the wheel lacks; this one ends what it has started, by pid.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ray.util import get_node_ip_address

from tests.cluster.conftest import BIN
from tests.faults.processes import descendants, wait_for
from tests.servers import free_port

HEAD_ID = "f" * 51 + "00000"
"""The fake provider knows the head by it, and names the nodes that it adds 00001 and so on."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
SMALL = {"object_store_memory": 100 * 1024**2}
NO_MAPS = ("auth", "docker", "file_mounts")
NO_LISTS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter"),
)
OF_NO_USE: dict[str, Any] = {name: {} for name in NO_MAPS} | {name: [] for name in NO_LISTS}
"""What Ray's schema of the file wants to be there besides."""


@dataclass(frozen=True)
class Growing:
    """Where the cluster is; its home folder is that of its head, with the configuration where `ray up` puts it."""

    address: str
    home: Path
    autoscaler: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a driver on the head has."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        own = {"RAY_ADDRESS": self.address, "HOME": str(self.home), "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        return outside | own

    def added(self) -> list[str]:
        """The kinds of the nodes that the autoscaler has added, in the order in which it asked for them."""
        lines = self.autoscaler.read_text().splitlines()
        return [line.split("type=")[1].split(",")[0] for line in lines if "New instance QUEUED" in line]


@contextmanager
def growing(groups: Mapping[str, Mapping[str, Any]], gives: bool = True) -> Iterator[Growing]:
    """A cluster whose groups start from 0 nodes; one that never `gives` a node has no autoscaler."""
    with tempfile.TemporaryDirectory(prefix="ra-", ignore_cleanup_errors=True) as folder:
        home, address = Path(folder), f"{get_node_ip_address()}:{free_port()}"
        config = home / "ray_bootstrap_config.yaml"
        config.write_text(yaml.safe_dump(_config(groups, address)))
        head = _head(home, address, config if gives else None)
        found = Growing(address, home, home / "r" / "session_latest" / "logs" / "monitor.log")
        # The autoscaler adds nodes once it sees the head, which runs, or is idle by then.
        ready = f"ray node {HEAD_ID} is" if gives else "monitor.py"
        try:
            wait_for(
                lambda: head.poll() is not None or _has(found.autoscaler, ready), "an autoscaler that sees its head"
            )
            assert head.poll() is None, (home / "log").read_text()
            yield found
        finally:
            end(head)


def _head(home: Path, address: str, config: Path | None) -> "subprocess.Popen[bytes]":
    words = ["--head", "--block", "--num-cpus=0", f"--port={address.split(':')[1]}", "--include-dashboard=false"]
    words += [f"--object-store-memory={SMALL['object_store_memory']}", f"--temp-dir={home / 'r'}"]
    words += [] if config is None else [f"--autoscaling-config={config}"]
    for name in ("ray-client-server-port", "dashboard-agent-listen-port", "metrics-export-port"):
        words.append(f"--{name}={free_port()}")
    with (home / "log").open("wb") as output:
        return subprocess.Popen(
            [str(BIN / "ray"), "start", *words], stdout=output, stderr=subprocess.STDOUT, env=_environment()
        )


def _has(log: Path, words: str) -> bool:
    return log.exists() and words in log.read_text()


def end(head: "subprocess.Popen[bytes]") -> None:
    """End a head, and the nodes that its autoscaler has added: these would look for it for a minute."""
    below = list(descendants(head.pid))
    head.kill()  # by SIGTERM it would be drained first, for half a minute
    head.wait(60)
    for pid in below:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)


def _config(groups: Mapping[str, Mapping[str, Any]], address: str) -> dict[str, Any]:
    kinds = {
        name: {"resources": {**group["resources"], **SMALL}, "min_workers": 0, "max_workers": group["most"]}
        for name, group in groups.items()
    }
    head = {"resources": {"CPU": 0}, "max_workers": 0}
    return {
        "cluster_name": "growing",
        "max_workers": sum(group["most"] for group in groups.values()),
        "upscaling_speed": 100,
        "idle_timeout_minutes": 5,
        "provider": {
            "type": "external",
            "module": PROVIDER,
            "head_node_id": HEAD_ID,
            "launch_multiple": True,
            "gcs_address": address,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            name: {**kind, "node_config": {}} for name, kind in {"ray.head.default": head, **kinds}.items()
        },
        "file_mounts_sync_continuously": False,
        **OF_NO_USE,
    }


def _environment() -> dict[str, str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    fake = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_NODE_TYPE_NAME": "ray.head.default",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    }
    own = {"RAY_AUTH_MODE": "disabled", "RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    return outside | fake | own | {"OMP_NUM_THREADS": "1", "RAY_prestart_worker_first_driver": "0"}
