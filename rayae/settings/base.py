"""Home of what all settings have in common: the base class, and the kinds of values."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Placement = Literal["together", "apart", "inline"]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
Alpha = Annotated[float, Field(ge=1e-9, lt=1)]
"""A false-positive rate; a lower one needs more calibration images than there ever are."""


def moment(text: str) -> datetime:
    """A time in ISO 8601, `2026-11-24` or `2026-11-24T02:15+01:00`; without a zone it is UTC. ValueError for others."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _checked_moment(text: str) -> str:
    try:
        moment(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time in ISO 8601, as 2026-11-24 or 2026-11-24T02:15+01:00") from error
    return text


Moment = Annotated[str, AfterValidator(_checked_moment)]
Images = Annotated[
    str | list[str],
    Field(
        description="The images: folders, globs, prefixes of object storage, manifests, archives, or lists of URIs "
        "(YAML, or a .txt, .csv, .jsonl or .parquet with `uri` or `path`)."
    ),
]


class Settings(BaseModel):
    """Base of all settings: frozen, strangers refused, each field described by the sentence under it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
