"""The commands of the documents: a shell can read them all, and rayae takes those that are its own."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from rayae.cli import main
from tests.cluster.documents import blocks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "cluster").rglob("*.md"))]
PATTERNS = ("VERB", "SETTING")
"""Words of lines that show how commands are made, and are none themselves."""


def commands(page: Path) -> list[str]:
    """The lines of the code of a page: indented blocks, and fenced ones of a shell."""
    text = page.read_text()
    fenced = [line for block in blocks(page, "sh") for line in block.splitlines()]
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for line in (*re.findall(r"^    (\S.*)$", plain, re.MULTILINE), *fenced)]


OWN = [
    pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")
    for page in PAGES
    for line in commands(page)
    if line.startswith("rayae ") and not any(word in line for word in PATTERNS)
]


def test_there_are_commands_to_try() -> None:
    assert len(OWN) > 15


@pytest.mark.parametrize("line", OWN)
def test_rayae_takes_the_commands_of_the_documents(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text("images: s3://archive/2026\nbundle: s3://models/parts\n")
    words = shlex.split(line, comments=True)[1:]
    assert main([*words, "--dry-run"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_shell_can_read_the_commands_of_a_page(page: Path) -> None:
    programs = r"(rayae|ray|kubectl|docker|sbatch|aws|ssh|promtool|export|install|systemctl|make|\(umask|cluster/)"
    for line in commands(page):
        if re.match(rf"{programs}\b", line):
            done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
            assert done.returncode == 0, f"{line}\n{done.stderr}"
