"""Home of the settings of the verbs that ask a run of any size: `query`, `top` and `report`."""

from typing import Annotated, Literal

from pydantic import Field

from rayae.settings.score import RunVerbSettings


class AnalysisSettings(RunVerbSettings):
    memory_bytes: Annotated[int, Field(ge=64 * 1024**2)] = 1024**3
    """Memory that DuckDB may take, in bytes; what needs more goes to a temporary directory of this machine."""


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
    """Where the page is written; default: `report.html` in the run."""
    decision: str | None = None
    """Decision of `rayae flag` whose flags are told; default: the flags that the run was scored with."""
    worst: Annotated[int, Field(ge=0, le=200)] = 12
    """Images with the highest scores that are shown at least, where fewer are flagged."""
    gallery: Annotated[int, Field(ge=0, le=2000)] = 200
    """Images that are shown with reconstruction and error map: the first of the rows."""
    rows: Annotated[int, Field(ge=0, le=20_000)] = 5000
    """Images that the page holds at most, by score from the highest down; they are sorted and filtered in the page."""
