"""Home of the settings of the verbs that ask runs of any size: `query`, `top`, `report`, `compare` and `drift`."""

from typing import Annotated, Literal

from pydantic import Field

from rayae.settings.base import OpenFraction
from rayae.settings.score import RunVerbSettings
from rayae.settings.verb import VerbSettings


class MemorySettings(VerbSettings):
    memory_bytes: Annotated[int, Field(ge=64 * 1024**2)] = 1024**3
    """Memory that DuckDB may take, in bytes; what needs more goes to a temporary directory of this machine."""


class AnalysisSettings(MemorySettings, RunVerbSettings):
    pass


class QuerySettings(AnalysisSettings):
    sql: str
    """The question, one SELECT over the tables results, images, failures, chunks, thresholds, decisions, flags."""
    format: Literal["table", "csv", "json", "parquet"] | None = None
    """How rows are given: a table, CSV, an object a line, or Parquet; default: by the ending of `out`, else a table."""
    out: str | None = None
    """File that all rows are written to; default: the terminal."""
    rows: Annotated[int, Field(gt=0, le=100_000)] = 100
    """Rows that a table shows at most."""


class TopSettings(AnalysisSettings):
    n: Annotated[int, Field(gt=0, le=100_000)] = 50
    """How many images are shown."""
    by: str = "score"
    """The column of numbers that they are the highest of, one of the scores or pixel statistics."""


class ReportSettings(AnalysisSettings):
    out: str | None = None
    """Where the page is written; default: `report.html` in the run, or beside the decision."""
    decision: str | None = None
    """Decision of `rayae flag` whose flags are told; default: the flags that the run was scored with."""
    worst: Annotated[int, Field(ge=0, le=200)] = 12
    """Images with the highest scores that are shown at least, where fewer are flagged."""
    gallery: Annotated[int, Field(ge=0, le=2000)] = 200
    """Images that are shown with reconstruction and error map: the first of the rows."""
    rows: Annotated[int, Field(ge=0, le=20_000)] = 5000
    """Images that the page holds at most, by score from the highest down; they are sorted and filtered in the page."""


class CompareSettings(MemorySettings):
    run_a: str
    """The directory of the one run."""
    run_b: str
    """The directory of the other run, of the same images or of some of them."""
    decision_a: str | None = None
    """Decision about the one run whose flags are compared; default: the run's own flags."""
    decision_b: str | None = None
    """Decision about the other run, likewise."""
    labels: str | None = None
    """Labels in place of those of the one run, as for `evaluate`: a CSV with `path` and `label`, or `folder`. The URIs
    of its images are in memory then."""
    n: Annotated[int, Field(gt=0, le=1_000_000)] = 1000
    """How many of the images are written on which the runs disagree most."""
    pictures: Annotated[int, Field(ge=0, le=200)] = 12
    """How many of these, half of them higher in either run, a page shows with their error maps; 0 writes no page."""
    confidence: OpenFraction = 0.95
    """Confidence of the intervals."""
    out: str | None = None
    """Directory that figures and images are written to; default: one under `comparisons` in the first run."""


class DriftSettings(AnalysisSettings):
    against: str | None = None
    """Another run of the same bundle that this one is held against; default: the bundle's calibration images."""
    by: str | None = None
    """`day`, `group` or another column of the manifest: the run is told for each of its values, too, of which it has
    10 images or more."""
    time: str | None = None
    """Of by=day: the column with the time or the date; default: the only one that the manifest has."""
    smallest_effect: OpenFraction = 0.2
    """The least that matters, as Cliff's delta: 0.2 means that the images of the run are higher in 60 % of pairs."""
    confidence: OpenFraction = 0.95
    """Confidence of the intervals of a table, all together."""
    rows: Annotated[int, Field(gt=0, le=100_000)] = 50
    """Rows that a table shows at most."""
    out: str | None = None
    """Directory that the figures are written to; default: one under `drift` in the run."""
