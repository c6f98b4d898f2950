"""Home of the sizes in a spec: whole numbers above zero, some of them multiples of a step."""

from collections.abc import Mapping
from typing import Any


def unfit(spec: Mapping[str, Any], steps: Mapping[str, int]) -> list[str]:
    """The keys of `steps` whose value the spec lacks or has not as a positive multiple of the step; then other keys."""
    wrong = [key for key, step in steps.items() if not _is_size(spec.get(key), step)]
    return wrong + sorted(str(key) for key in spec if key not in steps)


def _is_size(value: object, step: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0 and value % step == 0
