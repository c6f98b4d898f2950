"""Each version has one source, and every file that names it names the same.

Old measurements and the history may name others; so may a sentence that says `since Ray 2.53`.
"""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from rayae import __version__

ROOT = Path(__file__).parents[2]
HISTORY = re.compile(r"benchmarks/.*\.txt|CHANGELOG\.md|DECISIONS\.md")
V = r"v?(\d+(?:\.\d+)+)(?!\.?\d)"
SINCE = r"(?<!since )(?<!from )(?<!before )(?<!until )"


@dataclass(frozen=True)
class Rule:
    """A way to name a version: its source (several: one of them), where, and an example with `{}` in its place."""

    sources: tuple[str, ...]
    pattern: str
    example: str
    under: str = ""

    @property
    def short(self) -> bool:
        """Whether it writes 3.12 as 312."""
        return r"(3)(\d\d)" in self.pattern


KUBERAY = ("KUBERAY", "KUBERAY_SCHEMA")
RULES = (
    Rule(("RAY",), rf"\bray(?:\[[\w,]+\])?=={V}", 'pip install "ray[default,data]=={}"'),
    Rule(("RAY",), rf"\brayVersion['\"]?\s*[:=]\s*['\"]?{V}", 'rayVersion: "{}"'),
    Rule(("RAY",), rf"\bRAY(?:_VERSION)?\s*[:=]\s*['\"]?{V}", "RAY_VERSION={}"),
    Rule(("RAY",), rf"\bray-project/ray/(?:tree|blob)/(?:releases/|ray-){V}", "ray-project/ray/tree/releases/{}/doc"),
    Rule(("RAY",), rf"\brayproject/ray(?:-ml)?:{V}", "image: rayproject/ray:{}-py312"),
    Rule(("RAY",), rf"\bray-{V}-cp", "ray-{}-cp312-cp312-manylinux2014_x86_64.whl"),
    Rule(("RAY",), rf"{SINCE}\bRay {V}", "Any Ray {} cluster"),
    Rule(("TORCH",), rf"\btorch=={V}", "torch=={}+cpu"),
    Rule(("TORCH",), rf"\btorch-{V}(?:\+|%2B|-cp)", "torch-{}-cp312-cp312-manylinux_2_28_x86_64.whl"),
    Rule(("TORCH",), rf"{SINCE}\b(?:[Pp]y)?[Tt]orch {V}", "with PyTorch {}"),
    Rule(("PYTHON",), rf"\bpython:{V}", "FROM python:{}-slim-trixie"),
    Rule(("PYTHON",), rf"\bPYTHON(?:_VERSION)?\s*[:=]\s*['\"]?{V}", "ARG PYTHON={}"),
    Rule(("PYTHON",), rf"\bpython{V}", "/opt/rayae/lib/python{}/site-packages", "cluster/"),
    Rule(("PYTHON",), r"[-_]py(3)(\d\d)\b", "rayproject/ray:2.60.0-py{}"),
    Rule(("PYTHON",), r"\bcp(3)(\d\d)-", "torch-2.13.0-cp{}-", "cluster/"),
    Rule(("PYTHON",), rf"{SINCE}\bPython {V}(?! or newer)", "Python {} of the image", "cluster/"),
    Rule(("PYTHON_LEAST",), rf"\bPython {V} or newer", "On Linux with Python {} or newer"),
    Rule(("PYTHON_LEAST",), r"version_info < \((3), (\d\d)\)", "sys.version_info < (3, {})", "Makefile"),
    Rule(("KUBERAY",), rf"\bKubeRay {V} or (?:newer|later)", "KubeRay {} or newer"),
    Rule(("KUBERAY_SCHEMA",), rf"\bKubeRay {V}'s (?:schema|CRD)", "checked against KubeRay {}'s schema"),
    Rule(("KUBERAY_SCHEMA",), rf"\bschemas? of (?:KubeRay )?{V}", "the schema of KubeRay {}"),
    Rule(("KUBERAY_SCHEMA",), rf"\b{V} CRDs", "the {} CRDs"),
    Rule(KUBERAY, rf"{SINCE}\bKube[Rr]ay(?: operator)? {V}", "KubeRay {}"),
    Rule(KUBERAY, rf"\bkuberay/operator:{V}", "quay.io/kuberay/operator:{}"),
    Rule(KUBERAY, rf"\bkuberay[^\n]*[?&]ref={V}", "github.com/ray-project/kuberay/config/default?ref=v{}"),
    Rule(KUBERAY, rf"\bkuberay-operator[^\n]*--version[ =]{V}", "helm install kuberay-operator kuberay/x --version {}"),
    Rule(KUBERAY, rf"\bkuberay/(?:blob|tree)/(?:release-)?{V}", "ray-project/kuberay/tree/v{}/helm-chart"),
    Rule(KUBERAY, rf"\bKUBERAY(?:_VERSION)?\s*[:=]\s*['\"]?{V}", "KUBERAY_VERSION: {}"),
    Rule(("RAYAE",), rf"\brayae:{V}", "MY_REGISTRY/rayae:{}-gpu"),
    Rule(("RAYAE",), rf"\bnewTag:\s*['\"]?{V}-(?:cpu|gpu)", "newTag: {}-cpu"),
    Rule(("RAYAE",), rf"\bimage\.version=['\"]?{V}", 'org.opencontainers.image.version="{}"'),
    Rule(("RAYAE",), rf"\brayae(?:==|-){V}", "rayae-{}-py3-none-any.whl"),
    Rule(("RAYAE",), rf"app\.kubernetes\.io/version['\"]?:\s*['\"]?{V}", 'app.kubernetes.io/version: "{}"'),
)


def sources() -> dict[str, str]:
    """The version of each source."""
    pins = dict(re.findall(r"^(ray|torch)==(.*)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    own = dict(re.findall(r"^(\w+)=(.*)", (ROOT / "cluster/versions.env").read_text(), re.MULTILINE))
    least = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]).removeprefix(">=")
    return {"RAY": pins["ray"], "TORCH": pins["torch"], "RAYAE": __version__, "PYTHON_LEAST": least, **own}


def differences(name: str, text: str) -> Iterator[str]:
    """A sentence for each place of a file that names a version which is not its source's, or is no beginning of it."""
    known = sources()
    for rule in RULES:
        for found in re.finditer(rule.pattern, text) if name.startswith(rule.under) else ():
            version = ".".join(found.groups())
            wanted = [known[source] for source in rule.sources]
            if not any(f"{one}.".startswith(f"{version}.") for one in wanted):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{name}:{line}: {found[0]!r}, but {' or '.join(rule.sources)} is {' or '.join(wanted)}"


def test_every_file_names_the_versions_of_their_sources() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name and not HISTORY.fullmatch(name)]
    assert len(names) > 100
    texts = ((name, (ROOT / name).read_bytes().decode(errors="ignore")) for name in names if (ROOT / name).is_file())
    assert [problem for name, text in texts for problem in differences(name, text)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example)
def test_a_file_that_names_another_version_is_found(rule: Rule) -> None:
    name = rule.under or "cluster/some.yaml"
    name += "some.yaml" if name.endswith("/") else ""
    right = sources()[rule.sources[0]]
    major, minor, *_ = right.split(".")
    others = [f"{major}.{int(minor) + 9}", f"{int(major) + 1}.{minor}", f"{major}.{minor}9"]
    if "3), " in rule.pattern:
        right, others = minor, ["10", "13"]
    elif rule.short:
        right, others = f"{major}{minor}", ["310", "319"]
    assert list(differences(name, f"# a line\n{rule.example.format(right)}\n")) == []
    for other in others:
        (problem, *_) = differences(name, f"# a line\n{rule.example.format(other)}\n")
        assert problem.startswith(f"{name}:2: "), problem


def test_what_another_version_did_may_be_said() -> None:
    text = "since Ray 2.53 its probes ask the agent; before KubeRay 1.4 the shell was a login shell; since KubeRay 1.5"
    assert list(differences("cluster/README.md", text)) == []


def test_the_package_allows_the_versions_that_are_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[\[<>=]", one)[0]: re.sub(r"^[\w-]+(\[.*\])?", "", one) for one in project["dependencies"]}
    known = sources()
    assert known["RAY"] in SpecifierSet(asked["ray"])
    assert known["TORCH"] in SpecifierSet(asked["torch"])
    assert known["PYTHON"] in SpecifierSet(project["requires-python"])
    major, minor, _ = map(int, known["RAY"].split("."))
    assert f"{major}.{minor + 1}.0" not in SpecifierSet(asked["ray"]), "another Ray is another source"
    assert Version(known["KUBERAY"]) <= Version(known["KUBERAY_SCHEMA"])
