"""Home of what DuckDB says when a question fails: an error of ours, by whose fault it is."""

import contextlib
import re
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from rayae.errors import ConfigError, RayaeError, RunError

KIND = re.compile(r"([A-Z][A-Za-z ]*) Error: ")
"""How DuckDB begins what it says. A library within it that finds a damaged file begins otherwise, or with `Invalid`."""


@contextlib.contextmanager
def told(files: Mapping[str, str]) -> Iterator[None]:
    """What DuckDB says as an error of ours, in its own sentence; a stream of Arrow hands it on in errors of others."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _explained(str(error), files) from error


def _explained(said: str, files: Mapping[str, str]) -> RayaeError:
    """Whose fault it is: a RunError for what names a file of the run or is of no question, else a ConfigError."""
    sentence = _sentence(said)
    begins = KIND.match(sentence)
    kind = None if begins is None else begins[1]
    if kind == "Out of Memory":
        return ConfigError(f"the question needs more memory than `memory_bytes=` gives: {sentence}.")
    named = next((name for name in files if name in said), None)
    if named is not None and kind == "Permission":  # it is not there, so DuckDB looks for a folder of that name
        return RunError(f"the results cannot be read: there is no {files[named]} any more; `rayae verify` says more.")
    if named is not None:
        sentence = sentence.replace(named, files[named])
        return RunError(f"the results cannot be read: {sentence}; `rayae verify` says more.")
    if kind is None or kind == "Invalid":
        return RunError(f"the results cannot be read: {sentence}; `rayae verify` says more.")
    if kind == "IO":
        return RunError(f"the question could not be answered: {sentence}; look at the disk, or try `rayae verify`.")
    if kind == "Permission":
        return ConfigError(f"a question sees the tables of the run and nothing else: {sentence}.")
    return ConfigError(f"the question cannot be answered: {sentence}.")


def _sentence(said: str) -> str:
    """Without the place in the question; of a traceback of ours, out of a thread of DuckDB, what the error says."""
    if said.startswith("Traceback "):
        said = said.strip().rpartition("\n")[2].partition(": ")[2]
    return " ".join(said.partition("\n\nLINE")[0].split()).rstrip(".: ")
