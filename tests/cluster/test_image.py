"""The image: what goes into it, under which hashes, and its steps done one by one without docker.

The whole of the steps takes minutes and gigabytes: `make image`, or IMAGE_VARIANTS="cpu gpu" in the environment. The
wheel of torch without CUDA is on an index of PyTorch that not every machine reaches, so the CPU variant is built
without torch here; that of the GPU, from PyPI, is built whole.
"""

import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import replay
from tests.cluster.dockerfile import Stage, goes_in, stages

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "cluster" / "image"
VARIANTS = ("cpu", "gpu")
WHOLE = os.environ.get("IMAGE_VARIANTS", "").split()
CUDA = re.compile(r"cuda-.+|nvidia-.+|torch|triton")
FEW = (
    *("pydantic", "pydantic-core", "annotated-types", "typing-extensions", "typing-inspection", "pyyaml", "setuptools"),
    *("rich", "markdown-it-py", "mdurl", "pygments"),
)
"""The packages of the lock that the quick replay installs: enough for the wheel, and for the help of a verb."""


def dockerfile(variant: str = "cpu") -> list[Stage]:
    return stages((IMAGE / "Dockerfile").read_text(), {"VARIANT": variant})


def pins(text: str) -> dict[str, str]:
    """Versions by normal name of a requirements file; comments and options left out."""
    found = re.findall(r"^([\w.-]+)==([\w.!+]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def locked(variant: str) -> dict[str, str]:
    return pins((IMAGE / f"requirements-{variant}.txt").read_text())


def without_hash(text: str) -> list[str]:
    """The requirements of a lock that say no hash, or are no exact version."""
    plain = re.sub(r"#.*", "", text).replace("\\\n", " ")
    lines = [line.strip() for line in plain.splitlines() if line.strip() and not line.startswith(("-r ", "--extra"))]
    return [line for line in lines if not re.match(r"[\w.-]+==[\w.!+]+(\s+--hash=sha256:[0-9a-f]{64})+$", line)]


@pytest.mark.parametrize("name", ["requirements-cpu.txt", "requirements-gpu.txt", "torch-cpu.txt"])
def test_every_requirement_is_one_version_with_its_hashes(name: str) -> None:
    text = (IMAGE / name).read_text()
    assert pins(text)
    assert without_hash(text) == []
    first = next(iter(re.findall(r"^[\w.-]+==.*", text, re.MULTILINE)))
    assert without_hash(text.replace(first, first.replace("==", ">=")))
    assert without_hash(re.sub(r"--hash=sha256:\w+( \\\n +--hash=\S+)*", "", text, count=1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_lock_has_the_versions_of_the_constraints(variant: str) -> None:
    tested, found = pins((ROOT / "constraints.txt").read_text()), locked(variant)
    assert {name: found[name] for name in found.keys() & tested.keys()} == {
        name: tested[name] for name in found.keys() & tested.keys()
    }
    assert pins((IMAGE / "torch-cpu.txt").read_text()) == {"torch": f"{tested['torch']}+cpu"}


def test_the_lock_is_the_runtime_and_no_tool_of_the_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def names(asked: list[str]) -> set[str]:
        return {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~ ]", one)[0]).lower() for one in asked}

    wanted = names([*project["dependencies"], *extras["aws"], *extras["azure"], *extras["gcs"], *extras["heic"]])
    assert wanted <= locked("gpu").keys()
    tools = names(extras["dev"]) - {"psutil"}  # which Ray asks for
    assert not tools & locked("gpu").keys()


@pytest.mark.skipif(not WHOLE, reason="asks PyPI for every package: make image")
def test_the_lock_is_what_its_program_makes(tmp_path: Path) -> None:
    for path in IMAGE.glob("*.txt"):
        shutil.copy(path, tmp_path)
    done = subprocess.run([str(IMAGE / "lock.sh"), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for variant in VARIANTS:
        name = f"requirements-{variant}.txt"
        assert (tmp_path / name).read_text() == (IMAGE / name).read_text()


def test_the_variants_differ_in_torch_and_cuda_alone() -> None:
    cpu, gpu = locked("cpu"), locked("gpu")
    assert cpu == {name: version for name, version in gpu.items() if not CUDA.fullmatch(name)}
    assert "nvidia-nccl-cu13" in gpu
    assert (IMAGE / "requirements-cpu.txt").read_text().startswith("-r torch-cpu.txt\n")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_context_has_what_is_copied_and_nothing_else(variant: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text()
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    sent = [name for name in listed if goes_in(name, ignored)]
    copied = [
        source.replace("${VARIANT}", variant)
        for stage in dockerfile(variant)
        for value in stage.values("COPY")
        if not value.startswith("--from=")
        for source in value.split()[:-1]
    ]
    assert copied
    assert [name for name in copied if not any(one == name or one.startswith(f"{name}/") for one in sent)] == []
    other = {f"cluster/image/requirements-{name}.txt" for name in VARIANTS}
    assert [one for one in sent if one not in other and not any(one.startswith(name) for name in copied)] == []


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".venv/bin/python",
        ".env",
        "rayae/.env",
        "rayae/__pycache__/cli.cpython-312.pyc",
        "rayae/verbs/.aws/credentials",
        "tests/unit/test_cli.py",
        "benchmarks/scale.py",
        "cluster/kuberay/base/secret.yaml",
        "cluster/image/.token",
        "id_rsa",
        "demo/run/run.json",
    ],
)
def test_nothing_secret_and_nothing_needless_reaches_the_builder(name: str) -> None:
    assert not goes_in(name, (ROOT / ".dockerignore").read_text())


def test_ignoring_is_read_as_the_builder_reads_it() -> None:
    ignored = "*\n# a comment\n!src\n!docs/*.md\nsrc/a?.py\n**/secret\n"
    names = [
        "src/main.py",
        "docs/a.md",
        "src/ab.py",
        "src/deep/secret",
        "src/secret/x",
        "docs/deep/a.md",
        "other",
        "src",
    ]
    assert [name for name in names if goes_in(name, ignored)] == ["src/main.py", "docs/a.md", "src"]


def test_a_container_is_no_root_and_needs_no_compiler() -> None:
    last = dockerfile()[-1]
    assert last.values("USER") == ["1000:1000"]
    assert last.values("ENTRYPOINT") == ['["tini", "--"]']
    assert not re.search(r"gcc|build-essential|-dev\b|pip ", " ".join(last.values("RUN")))
    assert len({stage.base for stage in dockerfile()}) == 1
    assert replay.environment(last)["RAY_AUTH_MODE"] == "token"


class Image:
    """The root directory of the last stage, and what its settings make of a command."""

    def __init__(self, root: Path, variant: str) -> None:
        self.root, self.variant = root, variant

    def run(self, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """As a pod with a read-only root file system and a user id that nobody knows runs it."""
        known = {**replay.environment(dockerfile()[-1]), **environment}
        return replay.run(self.root, list(words), known, user="12345:0", folder="/home/rayae", ro=True)

    def says(self, *words: str, **environment: str) -> str:
        done = self.run(*words, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def built(variant: str, *, whole: bool) -> Iterator[Image]:
    (python,) = re.findall(r"^ARG PYTHON=(.*)", (IMAGE / "Dockerfile").read_text(), re.MULTILINE)
    if reason := replay.lacking(python):
        pytest.skip(reason)

    def edit(name: str, text: str) -> str:
        if name == "torch-cpu.txt":
            return ""
        if whole or not name.startswith("requirements-"):
            return text
        kept = "|".join(FEW)
        return "".join(re.findall(rf"^(?:{kept})==.*\n(?: .*\n)+", text, re.MULTILINE))

    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        yield Image(replay.build(Path(folder), {"VARIANT": variant}, edit), variant)


@pytest.fixture(scope="module")
def small() -> Iterator[Image]:
    """Every step of the file, with a handful of the packages of the lock."""
    yield from built("cpu", whole=False)


@pytest.fixture(scope="module", params=VARIANTS)
def image(request: pytest.FixtureRequest) -> Iterator[Image]:
    """Every step of the file with all of the lock, but for torch without CUDA."""
    if request.param not in WHOLE:
        pytest.skip(f"minutes and gigabytes: make image, or IMAGE_VARIANTS={request.param}")
    yield from built(request.param, whole=True)


def test_the_steps_make_an_environment_in_which_rayae_is_installed(small: Image) -> None:
    assert small.says("rayae", "score", "--help").startswith("rayae score [OUT]")
    assert small.says("python", "-c", "import rayae.verbs; print(rayae.__file__)").startswith("/opt/rayae/lib/")
    assert small.says("python", "-c", "import yaml; print(yaml.__version__)").strip() == locked("cpu")["pyyaml"]


def test_a_wrong_hash_ends_the_build(tmp_path: Path) -> None:
    text = (IMAGE / "requirements-cpu.txt").read_text()
    (entry,) = re.findall(r"^pyyaml==.*\n(?: .*\n)+", text, re.MULTILINE)
    (tmp_path / "wrong.txt").write_text(re.sub(r"sha256:\w{64}", f"sha256:{'0' * 64}", entry))
    (command,) = (one for one in dockerfile()[0].values("RUN") if "--require-hashes" in one)
    options = re.findall(r"--only-binary :all:|--require-hashes", command)
    words = ["pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), *" ".join(options).split()]
    python = shutil.which("python3")
    done = subprocess.run(
        [str(python), "-m", *words, "--requirement", str(tmp_path / "wrong.txt")], capture_output=True, text=True
    )
    assert done.returncode
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr


def test_a_pod_may_have_any_user_id_and_a_read_only_root(small: Image) -> None:
    said = small.says("bash", "-c", "id -u; touch /tmp/a ~/a && echo written; touch /opt/rayae/a /a || echo refused")
    assert said.split() == ["12345", "written", "refused"]
    assert small.says("python", "-c", "import getpass; print(getpass.getuser())") == "rayae\n"
    asked = (
        "import os, sys, importlib.util as u, rayae.cli as c; print(os.path.exists(u.cache_from_source(c.__file__)))"
    )
    assert small.says("python", "-c", asked) == "True\n", "compiled"
    assert small.says("bash", "-lc", "command -v rayae") == "/opt/rayae/bin/rayae\n"
    assert small.run("bash", "-c", "command -v gcc cc make").returncode == 1
    assert small.says("bash", "-c", "command -v tini bash wget").split() == [
        "/usr/bin/tini",
        "/usr/bin/bash",
        "/usr/bin/wget",
    ]
    assert "Apache License" in (small.root / "usr/share/licenses/rayae/LICENSE").read_text()


def test_user_and_home_are_those_of_the_manifests(small: Image) -> None:
    assert "rayae:x:1000:1000::/home/rayae:/bin/bash\n" in (small.root / "etc/passwd").read_text()
    home = (small.root / "home/rayae").stat()
    assert (home.st_uid, home.st_gid, home.st_mode & 0o777) == (1000, 0, 0o770)


def test_the_whole_image_has_the_locked_versions(image: Image) -> None:
    assert "Verbs:" in image.says("python", "-m", "rayae", "--help")
    assert image.says("ray", "--version") == f"ray, version {locked('cpu')['ray']}\n"
    asked = "import importlib.metadata as m; [print(d.name, d.version, sep='==') for d in m.distributions()]"
    found = pins(image.says("python", "-c", asked))
    own = {"rayae": re.findall(r'"(.*)"', (ROOT / "rayae/__init__.py").read_text())[-1]}
    assert found == {**locked(image.variant), **own}
    if image.variant == "gpu":
        asked = "import torch; print(torch.__version__, torch.version.cuda, torch.nn.Linear(2, 2).weight.shape[0])"
        assert image.says("python", "-c", asked) == f"{locked('gpu')['torch']}+cu130 13.0 2\n"


HEAD = """
if ! ray start --head --num-cpus=1 --object-store-memory=80000000 > /tmp/log 2>&1; then
    cat /tmp/log
    exit 3
fi
until wget -q -O- http://localhost:52365/api/healthz; do sleep 1; done
until ray job submit --address http://127.0.0.1:8265 -- rayae --version; do sleep 2; done 2>&1
"""


def test_the_whole_image_runs_a_head_and_a_job_behind_a_token(image: Image) -> None:
    said = image.says("timeout", "600", "bash", "-c", HEAD, RAY_AUTH_TOKEN="a-token-that-opens-nothing-else-here")
    assert "success" in said
    assert re.search(r"^rayae \d+\.\d+\.\d+$", said, re.MULTILINE), said
    refused = image.run("timeout", "60", "bash", "-c", HEAD)
    assert refused.returncode == 3
    assert "token" in refused.stdout
