"""Home of what a job says as JSON, one object a line, for whatever collects logs: `log=json` of every verb.

Each object has `time` (ISO 8601, UTC), `level` (`info`, `warning`, `error`), `message`, what the door knows of the job
(`verb`, and `run`, `bundle` or `out`), and what the sentence holds in figures.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_about: dict[str, Any] | None = None


def begin(about: Mapping[str, Any]) -> None:
    """From now on this process speaks JSON; `about` stands in every line."""
    global _about  # noqa: PLW0603 (there is one standard output, and this is how it is written)
    _about = dict(about)


def end() -> None:
    """From now on this process speaks to people."""
    global _about  # noqa: PLW0603
    _about = None


def is_begun() -> bool:
    """Whether this process speaks JSON."""
    return _about is not None


def line(level: str, message: str, fields: Mapping[str, Any], clean: Callable[[str], str]) -> str:
    """One line; every text in it goes through `clean`, since file names are hostile and addresses hold secrets."""
    told = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "message": message}
    return json.dumps(_cleaned({**told, **(_about or {}), **fields}, clean), allow_nan=False)


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(inside, clean) for key, inside in value.items()}
    return [_cleaned(inside, clean) for inside in value] if isinstance(value, list | tuple) else value
