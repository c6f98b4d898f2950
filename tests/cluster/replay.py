"""The steps of a Dockerfile done without docker, each in a root directory of its own, as root of this machine.

The base image `python:3.12-slim-SUITE` is played by Debian's SUITE with nothing but what every system of it has and the
libraries of Python, and a Python 3.12 of this machine in /usr/local. COPY copies what .dockerignore lets through; RUN
runs in the stage's own root, with its environment and the network of this machine.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tests.cluster.dockerfile import Instruction, Stage, expand, goes_in, stages

ROOT = Path(__file__).parents[2]
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LIBRARIES = (
    "ca-certificates netbase tzdata libbz2-1.0 libexpat1 libffi8 libgdbm6t64 liblzma5 libncursesw6 libreadline8t64 "
    "libsqlite3-0 libssl3t64 libuuid1 zlib1g"
)
"""What `python:*-slim` has beyond Debian's own minimum."""
OUTSIDE = ("http_proxy", "https_proxy", "no_proxy", "PIP_CERT", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")
"""What this machine needs to reach Debian and PyPI."""

Edit = Callable[[str, str], str]
"""From the name of a file that COPY takes and its text to the text that is copied."""


@cache
def python(version: str) -> Path | None:
    """The folder of a Python of this machine that has a folder to itself, so that it can be taken elsewhere."""
    homes = sorted(Path.home().glob(f".pyenv/versions/{version}.*"), reverse=True)
    return next((home for home in homes if (home / "bin" / f"python{version}").exists()), None)


def lacking(version: str) -> str:
    """What this machine lacks to play the base image, as a sentence, or nothing."""
    if os.geteuid():
        return "only root can change its root directory"
    if not shutil.which("mmdebstrap"):
        return "there is no mmdebstrap (Debian package mmdebstrap) to make the base image with"
    return "" if python(version) else f"there is no Python {version} in ~/.pyenv to put into the base image"


def build(scratch: Path, arguments: Mapping[str, str], edit: Edit) -> Path:
    """The root directory of the last stage."""
    context = _context(scratch)
    made = dict[str, Path]()
    root = scratch
    for number, stage in enumerate(stages((ROOT / "cluster/image/Dockerfile").read_text(), arguments)):
        root = scratch / f"stage-{number}"
        _base(scratch, stage.base, root)
        _Builder(root, context, made, arguments, edit).do(stage)
        made[stage.name] = root
    return root


def run(
    root: Path,
    words: list[str],
    environment: Mapping[str, str],
    *,
    user: str = "0:0",
    folder: str = "/",
    ro: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """A command in a root directory, with processes of its own; `ro`: nothing can be written but /tmp and the home."""
    mounts = ['mount --bind "$1" "$1"', 'mount -t proc proc "$1/proc"', 'mount --rbind /dev "$1/dev"']
    if ro:
        mounts += ['mount -o remount,bind,ro "$1"', "ip link set lo up"]
        mounts += [f'mount -t tmpfs -o mode=0777 tmpfs "$1{place}"' for place in ("/tmp", "/home/rayae", "/dev/shm")]
    inner = f'cd {shlex.quote(folder)} && exec "$@"'
    script = " && ".join([*mounts, f'shift; exec chroot --userspec={user} "$ROOT" sh -c {shlex.quote(inner)} sh "$@"'])
    own = ["--mount", "--pid", "--fork", "--kill-child", *(["--net"] if ro else [])]
    return subprocess.run(
        ["unshare", *own, "bash", "-c", script, "bash", str(root), *words],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", **environment, "ROOT": str(root)},
        capture_output=True,
        text=True,
    )


def environment(stage: Stage) -> dict[str, str]:
    """What ENV says, on top of the base image's PATH."""
    known = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
    for value in stage.values("ENV"):
        for name, _, word in (one.partition("=") for one in shlex.split(value)):
            known[name] = expand(word, known)
    return known


class _Builder:
    """One stage, instruction by instruction."""

    def __init__(
        self, root: Path, context: Path, made: Mapping[str, Path], arguments: Mapping[str, str], edit: Edit
    ) -> None:
        self.root, self.context, self.made, self.arguments, self.edit = root, context, made, arguments, edit
        self.folder = "/"
        self.known = dict[str, str]()

    def do(self, stage: Stage) -> None:
        for one in stage.instructions:
            step = getattr(self, f"_{one.word.lower()}", None)
            assert step or one.word in ("LABEL", "ENV", "USER", "ENTRYPOINT", "CMD"), f"{one.word} cannot be replayed"
            if step:
                step(one)

    def _arg(self, one: Instruction) -> None:
        name, _, default = one.value.partition("=")
        self.known[name] = self.arguments.get(name, default)

    def _workdir(self, one: Instruction) -> None:
        self.folder = one.value
        (self.root / one.value.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _copy(self, one: Instruction) -> None:
        words = expand(one.value, self.known).split()
        source = self.context
        if words[0].startswith("--from="):
            source = self.made[words.pop(0).removeprefix("--from=")]
        *names, target = words
        place = self.root / os.path.join(self.folder, target).lstrip("/")
        for name in names:
            self._copy_one(source / name.lstrip("/"), place, into=target.endswith("/"))

    def _copy_one(self, source: Path, place: Path, *, into: bool) -> None:
        if source.is_dir():
            shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
            return
        place = place / source.name if into else place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self.edit(source.name, source.read_text()))

    def _run(self, one: Instruction) -> None:
        command = re.sub(r"^(--\w+=\S+\s+)+", "", one.value)
        outside = {name: os.environ[name] for name in OUTSIDE if name in os.environ}
        done = run(self.root, ["sh", "-ec", command], {**outside, **self.known, "HOME": "/root"}, folder=self.folder)
        assert done.returncode == 0, f"RUN {command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def _context(scratch: Path) -> Path:
    """What reaches the builder, copied."""
    ignored = (ROOT / ".dockerignore").read_text()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and goes_in(name, ignored):
            place = scratch / "context" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place)
    return scratch / "context"


def _base(scratch: Path, image: str, root: Path) -> None:
    found = re.fullmatch(r"python:(\d+\.\d+)-slim-(\w+)", image)
    assert found, image
    version, suite = found.groups()
    system = scratch / f"{suite}.tar"
    if not system.exists():
        words = ["--variant=minbase", "--mode=root", f"--include={LIBRARIES.replace(' ', ',')}", suite, str(system)]
        subprocess.run(["mmdebstrap", "--quiet", *words], check=True)
    root.mkdir()
    subprocess.run(["tar", "--extract", "--file", system, "--directory", root, "--exclude=./dev/*"], check=True)
    for name in ("etc/resolv.conf", "etc/hosts", str(CERTIFICATES).lstrip("/")):
        shutil.copy(f"/{name}", root / name)
    _put_python(version, root)


def _put_python(version: str, root: Path) -> None:
    home = python(version)
    assert home
    shutil.copytree(home, root / "usr/local", symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("test"))
    for script in (root / "usr/local/bin").iterdir():  # their first line names the place that they come from
        if script.is_file() and not script.is_symlink() and (text := script.read_bytes()).startswith(b"#!"):
            script.write_bytes(text.replace(str(home).encode(), b"/usr/local", 1))
    done = run(root, ["ldconfig"], {})
    assert done.returncode == 0, done.stderr
