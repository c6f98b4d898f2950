"""Home of archives among what is listed: each is opened, and its members stand in its place, in its order."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae import archives
from rayae.disk import NotAFile
from rayae.manifest import COLUMNS
from rayae.reach import Forbidden
from rayae.selection import NOT_SELECTED, Select, has_ending, select

FOUND = {"uri": pa.string(), "size_bytes": pa.int64(), "etag": pa.string()}
"""What is known of an archive that is to be opened."""
OPENED_AT_ONCE = 16
"""Archives that are opened ahead of the one whose turn it is."""
Opened = tuple[list[pa.Table], Counter[str]]


def expanded(table: pa.Table, prefix: str, asked: Select, passed_over: Counter[str]) -> Iterator[pa.Table]:
    """The rows that are taken, and in the place of each archive its members, with the other columns of its row."""
    is_archive = _are_archives(table, asked)
    if not pc.any(is_archive, min_count=0).as_py():
        yield select(table, prefix, asked, passed_over)
        return
    kept = pc.invert(asked.excludes(table, prefix))
    passed_over[NOT_SELECTED] += len(kept) - pc.sum(kept).as_py()
    passed_over -= Counter()  # what counted zero
    table, is_archive = table.filter(kept), is_archive.filter(kept)
    places = np.flatnonzero(is_archive.to_numpy())
    opened = _opened(table.take(pa.array(places)), asked)
    begin = 0
    for place in places.tolist():
        yield select(table.slice(begin, place - begin), prefix, asked, passed_over)
        begin = place + 1
        row = table.slice(place, 1)
        inside = asked.without_include() if asked.include and asked.includes(row, prefix)[0].as_py() else asked
        members, others = next(opened)
        passed_over.update(others)
        for member in members:
            yield select(_with_columns_of(row, member), prefix, inside, passed_over)
    yield select(table.slice(begin), prefix, asked, passed_over)


def _are_archives(table: pa.Table, asked: Select) -> pa.ChunkedArray:
    suffixes = archives.SUFFIXES | archives.PAGED if asked.pages == "all" else archives.SUFFIXES
    found = has_ending(table["uri"], suffixes)
    return pc.and_(found, table["place"].is_null()) if "place" in table.column_names else found


def _opened(rows: pa.Table, asked: Select) -> Iterator[Opened]:
    """The members of each archive, in order, with what was passed over in it; some are opened ahead."""
    waiting: list[Future[Opened]] = []
    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
        for row in rows.select([name for name in FOUND if name in rows.column_names]).to_pylist():
            waiting.append(pool.submit(_open, row, asked))
            if len(waiting) == OPENED_AT_ONCE:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def _open(row: dict[str, Any], asked: Select) -> Opened:
    """What is in an archive; where a name may not lead there, or to no file, the archive itself: its row says why."""
    passed_over: Counter[str] = Counter()
    try:
        found = archives.expand(**row, pages=asked.pages == "all", passed_over=passed_over)
        return list(found), passed_over
    except (Forbidden, NotAFile):
        return [pa.table({name: pa.array([value], FOUND[name]) for name, value in row.items()})], Counter()


def _with_columns_of(row: pa.Table, members: pa.Table) -> pa.Table:
    """The members with the columns of their archive that they lack: label, group, the user's own."""
    taken = pa.array(np.zeros(members.num_rows, np.int64))
    for name in row.column_names:
        if name not in members.column_names and (name not in COLUMNS.names or row[name].null_count == 0):
            members = members.append_column(name, row[name].take(taken))
    return members
