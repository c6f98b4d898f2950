"""Home of the settings that say which images: of `index`, and of every verb that lists."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rayae.settings.base import Images, Moment, Settings, moment
from rayae.settings.verb import VerbSettings

Patterns = str | list[str] | None


class SelectSettings(Settings):
    """Which of the images that `images=` names are taken; the rule of the patterns stands in `selection`."""

    include: Patterns = None
    """Patterns of which one must match, such as `*.png` for the name, or `cam1/**` for the path below the folder."""
    exclude: Patterns = None
    """Patterns of which none may match."""
    min_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """Smallest file that is taken, in bytes."""
    max_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """Largest file that is taken, in bytes."""
    newer: Moment | None = None
    """Takes what was written at this time or later: ISO 8601, as `2026-11-24` or `2026-11-24T02:15+01:00`, else UTC."""
    older: Moment | None = None
    """Takes what was written before this time, given in the same way."""
    image_column: str | None = None
    """The column of Parquet files that holds the images, where there are several; `a.b` for a field of a struct."""
    pages: Literal["first", "all"] = "first"
    """Of a TIFF with several pages: its first, or each as an image of its own."""

    @model_validator(mode="after")
    def _takes_something(self) -> "SelectSettings":
        if self.min_bytes is not None and self.max_bytes is not None and self.min_bytes > self.max_bytes:
            raise ValueError(f"min_bytes={self.min_bytes} is above max_bytes={self.max_bytes}: nothing would be taken")
        if self.newer is not None and self.older is not None and moment(self.newer) >= moment(self.older):
            raise ValueError(f"newer={self.newer} is not before older={self.older}: nothing would be taken")
        return self


class Labelled(VerbSettings):
    select: SelectSettings = SelectSettings()
    labels: str | None = None
    """Labels: a CSV with `path`, `label`, perhaps `group`, `split`, own columns; or `folder` for the folder names."""


class IndexSettings(Labelled):
    images: Images | None = None
    """The images: folders, globs, prefixes, manifests, archives, or lists of URIs; required, but for `update`."""
    out: str
    """Where the manifest is written, a .parquet file."""
    update: bool = False
    """Whether the manifest at `out` is made anew, with the images that are new, changed or gone told and written."""
