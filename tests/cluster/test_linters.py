"""Shell, YAML and Dockerfiles are clean for the linters that people of their trade use."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SHELL = re.compile(r"#!\s*(?:/usr)?/bin/(?:env\s+)?(?:ba|da)?sh\b")


def tracked() -> list[str]:
    """The files of the repository, by their names in it."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def is_shell(name: str, first: str) -> bool:
    return name.endswith((".sh", ".sbatch")) or bool(SHELL.match(first))


def shells() -> list[str]:
    def first(name: str) -> str:
        with (ROOT / name).open("rb") as file:
            return file.readline(200).decode(errors="ignore")

    return [name for name in tracked() if is_shell(name, first(name))]


def yamls() -> list[str]:
    return [name for name in tracked() if name.endswith((".yaml", ".yml"))]


def dockerfiles() -> list[str]:
    return [name for name in tracked() if Path(name).name.startswith(("Dockerfile", "Containerfile"))]


def said(program: str, *words: str | Path) -> str:
    """What a linter finds, one problem a line; nothing when it ended well."""
    done = subprocess.run([str(BIN / program), *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def check_shell(*names: str | Path) -> str:
    return said("shellcheck", "--external-sources", *names)


def check_yaml(*names: str | Path) -> str:
    return said("yamllint", "--strict", "--format=parsable", "--config-file=.yamllint.yaml", *names)


def check_dockerfile(*names: str | Path) -> str:
    return said("hadolint", "--no-color", *names)


def test_shell_scripts_are_clean_for_shellcheck() -> None:
    assert {".ci/run", "cluster/image/lock.sh", "cluster/slurm/rayae.sbatch"} <= set(shells())
    assert check_shell(*shells()) == ""


@pytest.mark.parametrize("name", shells())
def test_bash_can_read_it(name: str) -> None:
    done = subprocess.run(["bash", "-n", name], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_yaml_is_clean_for_yamllint() -> None:
    assert "jobs/score.yaml" in yamls()
    assert check_yaml(*yamls()) == ""


def test_dockerfiles_are_clean_for_hadolint() -> None:
    assert "cluster/image/Dockerfile" in dockerfiles()
    assert check_dockerfile(*dockerfiles()) == ""


def test_the_linters_find_faults(tmp_path: Path) -> None:
    shell, yaml, dockerfile = (tmp_path / name for name in ("a.sh", "a.yaml", "Dockerfile"))
    shell.write_text("#!/bin/bash\nrm -rf $1/*\n")
    yaml.write_text("a: 1\na: 2\nb:   [1,2]\nc: " + "word " * 40 + "\n")
    dockerfile.write_text("FROM debian\nRUN cd /tmp && sudo apt-get install gcc\n")
    assert "SC2086" in check_shell(shell)
    assert all(word in check_yaml(yaml) for word in ("key-duplicates", "line-length", "commas"))
    assert all(word in check_dockerfile(dockerfile) for word in ("DL3003", "DL3004", "DL3006"))


@pytest.mark.parametrize("first", ["#!/bin/sh", "#!/usr/bin/env bash", "#! /bin/bash -e"])
def test_a_script_without_an_ending_is_known_by_its_first_line(first: str) -> None:
    assert is_shell("run", f"{first}\n")
    assert not is_shell("run", "#!/usr/bin/env python3\n")
