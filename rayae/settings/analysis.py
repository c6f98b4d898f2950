"""Home of the settings of the verbs that ask a run of any size: `query` and `top`."""

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
