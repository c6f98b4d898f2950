"""Home of what is taken of that which is listed: pictures by their ending, and `select`: patterns, sizes, times.

The rule of the patterns. `*`, `?` and `[...]` stay within one name, `**` goes across folders. A pattern without `/` is
held against the name alone; one with `/`, as `cam1/**/*.png`, against the whole path below the folder that `images=`
names; one with `://` in it or `/` at its beginning against the whole URI. Images of a list have no folder above them:
for them every pattern with `/` is held against the whole URI. An archive is left out with all that is in it when it is
excluded; when it is included, so is all that is in it.
"""

import functools
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from rayae.errors import ConfigError
from rayae.tables import WEB_QUERY

HIDDEN = "hidden"
NOT_SELECTED = "not selected"
NO_ENDING = "no ending"
PAGE_OF_A_FILE = r"(?is)(\.tiff?)!/page-[0-9]+$"
"""Pages are taken or left out with the TIFF that they are of."""
ENDING = r"(?s)(?P<ending>\.[^./]*)$"


@dataclass(frozen=True)
class Select:
    """Which of the images that are listed are taken, and what is taken for one. Everything, when nothing is set."""

    include: tuple[str, ...] = ()
    """Patterns of which one must match; none: all do."""
    exclude: tuple[str, ...] = ()
    """Patterns of which none may match."""
    min_bytes: int | None = None
    max_bytes: int | None = None
    newer: datetime | None = None
    """Written at this time or later; it has a time zone."""
    older: datetime | None = None
    """Written before this time."""
    image_column: str | None = None
    """The column of Parquet files that holds the images."""
    pages: Literal["first", "all"] = "first"
    """Of TIFFs with several pages."""

    @property
    def needs_sizes(self) -> bool:
        return self.min_bytes is not None or self.max_bytes is not None

    @property
    def needs_times(self) -> bool:
        return self.newer is not None or self.older is not None

    def without_include(self) -> "Select":
        """For the members of an archive that is itself among the included."""
        return replace(self, include=())

    def excludes(self, table: pa.Table, prefix: str) -> pa.ChunkedArray:
        """Which rows are left out by `exclude` or by their time; for an archive: before it is opened."""
        out = _matches(table["uri"], self.exclude, prefix)
        if self.needs_times and "modified" in table.column_names:
            out = pc.or_(out, pc.invert(_is_within(table["modified"], self.newer, self.older)))
        return out

    def includes(self, table: pa.Table, prefix: str) -> pa.ChunkedArray:
        """Which rows are among the included."""
        return _matches(table["uri"], self.include, prefix)

    def keeps(self, table: pa.Table, prefix: str) -> pa.ChunkedArray:
        """Which rows are taken; `prefix` is what stands before their path. What is not known of an image keeps it."""
        kept = pc.invert(self.excludes(table, prefix))
        if self.include:
            kept = pc.and_(kept, self.includes(table, prefix))
        if self.needs_sizes:
            kept = pc.and_(kept, _is_between(table["size_bytes"], self.min_bytes, self.max_bytes))
        return kept


def pictures(table: pa.Table, prefix: str, suffixes: frozenset[str], passed_over: Counter[str]) -> pa.Table:
    """What of a folder is taken: names with these endings, in any case, that are not hidden; the rest is counted."""
    hidden = pc.match_substring_regex(table["uri"], rf"(?s)^{re.escape(prefix)}(.*/)?\.")
    named = pc.match_substring_regex(table["uri"], _any_ending(suffixes))
    taken = pc.and_not(named, hidden)
    if not pc.all(taken, min_count=0).as_py():
        passed_over[HIDDEN] += pc.sum(hidden, min_count=0).as_py()
        others = table["uri"].filter(pc.invert(pc.or_(named, hidden)))
        endings = pc.struct_field(pc.extract_regex(others, ENDING), "ending")
        for counted in pc.value_counts(pc.ascii_lower(endings)).to_pylist():
            passed_over[counted["values"] or NO_ENDING] += counted["counts"]
        passed_over -= Counter()  # what counted zero
    return table.filter(taken)


def select(table: pa.Table, prefix: str, asked: Select, passed_over: Counter[str]) -> pa.Table:
    """The rows that are taken; the others are counted."""
    if asked == Select(image_column=asked.image_column, pages=asked.pages):
        return table
    kept = table.filter(asked.keeps(table, prefix))
    if kept.num_rows < table.num_rows:
        passed_over[NOT_SELECTED] += table.num_rows - kept.num_rows
    return kept


def has_ending(uris: pa.ChunkedArray, suffixes: frozenset[str]) -> pa.ChunkedArray:
    """Which URIs end so, in any case; a query on the web is no part of an ending."""
    if pc.any(pc.starts_with(uris, "http"), min_count=0).as_py():
        uris = pc.replace_substring_regex(uris, WEB_QUERY, r"\1")
    return pc.match_substring_regex(uris, _any_ending(suffixes))


@functools.lru_cache(maxsize=1024)
def regex_of(pattern: str) -> str:
    """A pattern as a regular expression, without its ends; ConfigError when it is none."""
    regex = "".join(map(_part, re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|(?s:.)", pattern)))
    try:
        pc.match_substring_regex(pa.array([""]), regex)
    except (pa.ArrowInvalid, UnicodeEncodeError) as error:
        reason = str(error).rpartition(": ")[2]
        raise ConfigError(
            f"the pattern {pattern!r} cannot be matched ({reason}); mend what is in its brackets."
        ) from error
    return regex


def _part(part: str) -> str:
    fixed = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part)
    if fixed is not None:
        return fixed
    if len(part) > 2 and part[0] == "[":
        inside = part[1:-1]
        is_not, inside = inside.startswith("!"), inside.removeprefix("!")
        inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside)
        return f"[^/{inside}]" if is_not else f"[{inside}]"
    return re.escape(part)


def _any_ending(suffixes: frozenset[str]) -> str:
    return rf"(?i)[^/](?:{'|'.join(map(re.escape, sorted(suffixes)))})$"


def _matches(uris: pa.ChunkedArray, patterns: tuple[str, ...], prefix: str) -> pa.ChunkedArray:
    if not patterns:
        return pa.chunked_array([pa.repeat(False, len(uris))])
    whole = []
    for pattern in patterns:
        if "/" not in pattern:
            whole.append(rf"(?:.*/)?{regex_of(pattern)}")
        elif "://" in pattern or pattern.startswith("/"):
            whole.append(regex_of(pattern))
        else:
            whole.append(re.escape(prefix) + regex_of(pattern))
    files = pc.replace_substring_regex(uris, PAGE_OF_A_FILE, r"\1")
    return pc.match_substring_regex(files, rf"(?s)^(?:{'|'.join(whole)})$")


def _is_between(values: pa.ChunkedArray, least: int | None, most: int | None) -> pa.ChunkedArray:
    kept = pc.is_valid(values)
    if least is not None:
        kept = pc.and_(kept, pc.greater_equal(values, least))
    if most is not None:
        kept = pc.and_(kept, pc.less_equal(values, most))
    return pc.fill_null(kept, True)


def _is_within(times: pa.ChunkedArray, begin: datetime | None, end: datetime | None) -> pa.ChunkedArray:
    kept = pc.is_valid(times)
    if begin is not None:
        kept = pc.and_(kept, pc.greater_equal(times, pa.scalar(begin, times.type)))
    if end is not None:
        kept = pc.and_(kept, pc.less(times, pa.scalar(end, times.type)))
    return pc.fill_null(kept, True)
