"""A Dockerfile and its .dockerignore, read as the builder reads them, as far as ours go."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """`COPY --from=build /a /b` has the word COPY and the value `--from=build /a /b`, continued lines in one."""

    word: str
    value: str


@dataclass
class Stage:
    """What follows a FROM; `base` as it stands there, with variables."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def values(self, word: str) -> list[str]:
        return [one.value for one in self.instructions if one.word == word]


def stages(text: str, arguments: Mapping[str, str]) -> list[Stage]:
    """The stages, with the global arguments (their defaults, or what `arguments` says) put into the FROM lines."""
    found = list[Stage]()
    known = dict[str, str]()
    for one in instructions(text):
        if one.word == "FROM":
            base, _, name = one.value.partition(" AS ")
            found.append(Stage(expand(base, known), name))
        elif found:
            found[-1].instructions.append(one)
        else:
            assert one.word == "ARG", one
            name, _, default = one.value.partition("=")
            known[name] = arguments.get(name, default)
    return found


def instructions(text: str) -> list[Instruction]:
    """All of them in order; a comment between continued lines is none of the command's."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        Instruction(word.upper(), value.strip()) for word, _, value in (x.partition(" ") for x in joined.split("\n"))
    ]


def expand(text: str, known: Mapping[str, str]) -> str:
    """Variables replaced as the builder does it; one that is not known is an error here, and nothing there."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: known[found[1] or found[2]], text)


def goes_in(path: str, ignored: str) -> bool:
    """Whether a file of the context reaches the builder: the last pattern that fits it or a folder above it decides."""
    sent = True
    for line in ignored.splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and _fits(path, pattern.removeprefix("!")):
            sent = pattern.startswith("!")
    return sent


def _fits(path: str, pattern: str) -> bool:
    parents = ["/".join(Path(path).parts[:count]) for count in range(1, len(Path(path).parts) + 1)]
    return any(_expression(pattern).fullmatch(one) for one in parents)


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    """`**` stands for any number of folders, `*` and `?` for what has no slash."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part) or re.escape(part) for part in parts))
