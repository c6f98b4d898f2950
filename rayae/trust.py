"""Home of trust in code: a bundle may name a network that others wrote, and it is imported only if it is trusted."""

import os

VARIABLE = "RAYAE_NETWORKS"
"""The environment variable with the networks that may be imported, as `module:Class`; names with commas between."""


def trusted() -> frozenset[str]:
    """The networks that may be imported."""
    return frozenset(filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))))


def trust(name: str) -> None:
    """Let this process, and those it starts, import the network of this name."""
    os.environ[VARIABLE] = ",".join(sorted({*trusted(), name}))


def in_use() -> dict[str, str]:
    """The environment variable as it is, for workers elsewhere."""
    return {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}
