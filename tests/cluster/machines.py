"""Machines with addresses of their own on this one: network namespaces on a bridge, a Ray node in each.

Disk, memory and processes are those of this machine; only the network of each is its own, so that a link can be cut.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.conftest import BIN
from tests.faults.processes import descendants, wait_for

NETWORK = "10.213.0"
FAST = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "8",
}
"""A node that answers nothing is dead after some 8 s, and so is a head; by default it takes half a minute and more."""
LINK = {"GLOO_SOCKET_IFNAME": "eth0"}
"""Gloo takes the address of the host's name, which is this machine's own loopback on all of them."""
FIND = """import ray, sys
ray.init(log_to_driver=False)
print(*(node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == sys.argv[1]))"""
QUIET = {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "RAY_prestart_worker_first_driver": "0"}


def why_impossible() -> str | None:
    """Why there are no network namespaces here; nothing when there are."""
    asked = "ip link add name x0 type veth peer name x1 && ip link add name x2 type bridge"
    tried = subprocess.run(["unshare", "--net", "sh", "-c", asked], capture_output=True, text=True)
    return None if tried.returncode == 0 else f"no network namespaces here: {tried.stderr.strip() or 'unshare fails'}"


@dataclass
class Namespace:
    """A network, held by a process that sleeps."""

    holder: "subprocess.Popen[bytes]" = field(
        default_factory=lambda: subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    )

    def __post_init__(self) -> None:
        mine = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != mine, "a namespace")
        self.ip("link", "set", "lo", "up")

    def within(self, *words: str) -> list[str]:
        """A command as it is given inside."""
        return ["nsenter", "--target", str(self.holder.pid), "--net", *words]

    def ip(self, *words: str) -> None:
        subprocess.run(self.within("ip", *words), check=True)

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait()


@dataclass
class Machine:
    """A machine on the switch, and the Ray node that runs on it."""

    number: int
    network: Namespace
    folder: Path
    ray: "subprocess.Popen[bytes]"

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def kill(self) -> None:
        """SIGKILL to the node and all its workers, as when the power fails."""
        below = list(descendants(self.ray.pid))
        self.ray.kill()
        for pid in below:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
        self.ray.wait()

    def terminate(self) -> None:
        """SIGTERM to the node, as Kubernetes sends it to a pod."""
        self.ray.send_signal(signal.SIGTERM)


@dataclass
class Machines:
    """A cluster: the first machine is its head, on which nothing runs but the driver."""

    folder: Path
    switch: Namespace = field(default_factory=Namespace)
    machines: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.switch.ip("link", "add", "name", "bridge", "type", "bridge")
        self.switch.ip("link", "set", "bridge", "up")

    @property
    def head(self) -> Machine:
        return self.machines[0]

    def add(self, cpus: int) -> Machine:
        """Start another node; the first is the head."""
        number, network = len(self.machines) + 1, Namespace()
        link, address = f"m{number}", f"{NETWORK}.{number}"
        network.ip("link", "add", "name", "eth0", "type", "veth", "peer", "name", link)
        network.ip("link", "set", link, "netns", str(self.switch.holder.pid))
        network.ip("address", "add", f"{address}/24", "dev", "eth0")
        network.ip("link", "set", "eth0", "up")
        self.switch.ip("link", "set", link, "master", "bridge", "up")
        words = ["--block", f"--num-cpus={cpus}", f"--node-ip-address={address}", "--object-store-memory=100000000"]
        words += [f"--temp-dir={self.folder / link}"]
        words += ["--head", "--include-dashboard=false"] if number == 1 else [f"--address={NETWORK}.1:6379"]
        with (self.folder / f"{link}.log").open("wb") as log:
            started = subprocess.Popen(
                network.within(str(BIN / "ray"), "start", *words), stdout=log, stderr=log, env=self.environment()
            )
        self.machines.append(Machine(number, network, self.folder, started))
        wait_for(lambda: b"--block" in (self.folder / f"{link}.log").read_bytes(), f"a node; see {self.folder}/{link}")
        return self.machines[-1]

    def environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return outside | QUIET | FAST | LINK

    def start(self, *words: str, log: Path) -> "subprocess.Popen[bytes]":
        """Start `rayae` on the head; what it says goes to the log."""
        environment = self.environment() | {"RAY_ADDRESS": f"{NETWORK}.1:6379"}
        with log.open("ab") as output:
            return subprocess.Popen(
                self.head.network.within(str(BIN / "python"), "-m", "rayae", *words),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def drain(self, machine: Machine, deadline_s: int) -> None:
        """Tell Ray that the machine goes away, as the autoscaler does when a spot instance is to be reclaimed."""
        environment = self.environment() | {"RAY_ADDRESS": f"{NETWORK}.1:6379"}
        python, ray = (self.head.network.within(str(BIN / name)) for name in ("python", "ray"))
        found = subprocess.run(
            [*python, "-c", FIND, machine.address], env=environment, check=True, capture_output=True, text=True
        )
        words = ["drain-node", f"--address={NETWORK}.1:6379", f"--node-id={found.stdout.split()[-1]}"]
        words += [
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            "--reason-message=spot",
            f"--deadline-remaining-seconds={deadline_s}",
        ]
        subprocess.run([*ray, *words], env=environment, check=True, capture_output=True)

    def cut(self, machine: Machine) -> None:
        """Take the machine off the network."""
        self.switch.ip("link", "set", f"m{machine.number}", "down")

    def mend(self, machine: Machine) -> None:
        """Put it back."""
        self.switch.ip("link", "set", f"m{machine.number}", "up")

    def end(self) -> None:
        for machine in reversed(self.machines):
            machine.kill()
            machine.network.end()
        self.switch.end()


@contextmanager
def machines(workers: int, cpus: int = 1) -> Iterator[Machines]:
    """A head and so many worker machines, while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="rm-") as folder:
        found = Machines(Path(folder))
        try:
            found.add(0)
            for _ in range(workers):
                found.add(cpus)
            yield found
        finally:
            found.end()


def pause(seconds: float) -> None:
    """Let what was done to a machine last."""
    time.sleep(seconds)
