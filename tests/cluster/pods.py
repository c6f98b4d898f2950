"""Pods of a manifest as processes of this machine: what KubeRay would start, in name spaces instead of containers.

A pod has a root file system that is read-only, its volumes with their limits, user 1000 and no capability. The pods of
a run share one network, so workers get ports of their own where two would collide on one address.
"""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.manifests import ROOT, Manifest, quantity

BIN = Path(sys.executable).parent
SCALE = 8
"""Memory of the manifest by memory here,"""
LEAST_BYTES = 128 * 1024**2
"""but no less than this, which Ray's object store needs."""
CPUS = 2
"""Of a worker, instead of the manifest's."""
TOKEN = "a-token-of-the-tests-that-opens-nothing-else"
UNSHARED = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]


def why_not() -> str | None:
    """Why pods cannot be played on this machine; None when they can."""
    if os.geteuid() != 0:
        return "name spaces with other users need root"
    tried = "mount --make-rprivate / && ip link set lo up && setpriv --reuid=1000 true"
    done = subprocess.run([*UNSHARED, "bash", "-c", tried], capture_output=True, text=True)
    return done.stderr.strip() or None if done.returncode else None


@dataclass(frozen=True)
class Pod:
    """A pod template, what its first container runs, and the data of the ConfigMaps that it mounts."""

    name: str
    template: Manifest
    command: str
    maps: dict[str, dict[str, str]]
    data: Path
    """A folder that lies at /data, as a shared file system would."""

    def script(self) -> str:
        """Make the file system and run the command in it; for a shell in name spaces of its own."""
        base = f"$(mktemp -d /tmp/pod-{self.name}-XXXX)"
        lines = [
            "set -euo pipefail",
            "mount --make-rprivate /",
            f"base={base}",
            'mount -t tmpfs tmpfs "$base"',
            'mkdir "$base"/{upper,work,root}; root="$base/root"',
            'mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"',
            *(f'chmod o+x "$root{folder}"' for folder in _folders_above(ROOT, BIN, Path(sys.base_prefix))),
            'mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"; mkdir -p "$root/data"',
            f'mount --bind {shlex.quote(str(self.data))} "$root/data"',
            *self._volumes(),
            *self._code(),
            'mount -o remount,ro "$root"',
            f'exec chroot "$root" setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs --bounding-set=-all '
            f"env -i {self._environment()} bash -c {shlex.quote(self.command)}",
        ]
        return "\n".join(lines)

    def _volumes(self) -> list[str]:
        volumes = {one["name"]: one for one in self.template["spec"]["volumes"]}
        mounts = sorted(self._container()["volumeMounts"], key=lambda mount: str(mount["mountPath"]))
        lines = [f'mkdir -p "$root{mount["mountPath"]}"' for mount in mounts]
        for mount in mounts:
            path, volume = f'"$root{mount["mountPath"]}"', volumes[mount["name"]]
            if "emptyDir" in volume:
                size = scaled(quantity(volume["emptyDir"]["sizeLimit"]))
                lines.append(f"mkdir -p {path}; mount -t tmpfs -o size={size},mode=1777 tmpfs {path}")
            else:
                lines.append(f"mount -t tmpfs tmpfs {path}")
                for name, text in self.maps[volume["configMap"]["name"]].items():
                    lines.append(f"printf %s {shlex.quote(text)} > {path}/{name}")
        return lines

    def _code(self) -> list[str]:
        """What the image has in it is here where it lies, also below a volume or on another file system."""
        mounts = [Path(mount["mountPath"]) for mount in self._container()["volumeMounts"]]
        lines = []
        for one in (ROOT, BIN.parent, Path(sys.base_prefix)):
            is_below = any(one.is_relative_to(mount) for mount in mounts)
            if is_below or one.stat().st_dev != Path("/").stat().st_dev:
                lines.append(f'mkdir -p "$root{one}"; mount --rbind {one} "$root{one}"')
        return lines

    def _environment(self) -> str:
        own = {one["name"]: one["value"] for one in self._container().get("env", []) if "value" in one}
        ours = {
            "HOME": "/home/rayae",
            "PATH": f"{BIN}:/usr/bin:/bin",  # the image's /opt/rayae/bin
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",  # what authOptions makes KubeRay set
            "RAY_AUTH_TOKEN": TOKEN,
        }
        return shlex.join(f"{name}={value}" for name, value in (ours | own).items())

    def _container(self) -> dict[str, Any]:
        container: dict[str, Any] = self.template["spec"]["containers"][0]
        return container


def scaled(count: int) -> int:
    """Bytes here for bytes of the manifest."""
    return max(LEAST_BYTES, count // SCALE)


def ray_start(group: Manifest, name: str) -> str:
    """The command that KubeRay makes of a group: its rayStartParams, completed from the limits of the container."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    params = {"block": "true"} | group["rayStartParams"]
    for key in ("memory", "object-store-memory"):
        params[key] = str(scaled(int(params[key])))
    if name == "head":
        params |= {"head": "true", "dashboard-agent-listen-port": "52365"}
    else:
        params |= {"address": "127.0.0.1:6379", "num-cpus": str(min(CPUS, quantity(limits["cpu"])))}
        params |= {"metrics-export-port": "8081", "dashboard-agent-listen-port": "52366"}
    gpus = limits.get("nvidia.com/gpu")
    if gpus:
        params["num-gpus"] = str(gpus)
    words = [f"--{key}" if value == "true" else f"--{key}={shlex.quote(value)}" for key, value in params.items()]
    return f"ulimit -n 65536; ray start {' '.join(words)}"


def submit(spec: Manifest, job: str) -> str:
    """What KubeRay's submitter runs: the entrypoint as a job, and its log until the end; then how it ended."""
    at = "--address http://127.0.0.1:8265"
    return (
        f"timeout 120 bash -c 'until ray job list {at} >/dev/null 2>&1; do sleep 1; done' || exit 1; "
        f"if ! ray job status {at} {job} >/dev/null 2>&1; then "
        f"ray job submit {at} --no-wait --submission-id {job} -- {spec['entrypoint'].strip()}; fi; "
        f"ray job logs {at} --follow {job}; ray job status {at} {job} | grep -q succeeded"
    )


def run(pods: list[Pod], foreground: Pod, folder: Path, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Start the pods, run the last one to its end, and end them all with it."""
    for pod in (*pods, foreground):
        (folder / f"{pod.name}.sh").write_text(pod.script())
    starts = [f"unshare --mount bash {folder}/{pod.name}.sh > {folder}/{pod.name}.log 2>&1 &" for pod in pods]
    last = f"unshare --mount bash {folder}/{foreground.name}.sh"
    node = ["mount --make-rprivate /", "ip link set lo up", "mount -t proc proc /proc", *starts]
    ending = "exit $?"  # without it bash becomes the last command, which as user 1000 is not ended with this process
    return subprocess.run(
        [*UNSHARED, "bash", "-c", "\n".join([*node, last, ending])],
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def _folders_above(*paths: Path) -> list[Path]:
    """The folders that another user must pass to come to the paths, as far as root alone may."""
    above = {folder for path in paths for folder in (path.resolve(), *path.resolve().parents)}
    return sorted(folder for folder in above if not folder.stat().st_mode & 1)
