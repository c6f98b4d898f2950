"""LIST local files: home of the sorted walk through folders, and of globs.

A folder is gone through in the order of whole paths; only the names of the folders on the way are held.
"""

import fnmatch
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from rayae import storage
from rayae.errors import DataError
from rayae.objects import PAGE
from rayae.selection import HIDDEN, NO_ENDING
from rayae.tables import suffix

GLOB_CHARACTERS = frozenset("*?[")
NO_FILE = "no regular file"
TABLE_ROWS = 65_536
Row = tuple[str, int | None, str | None, int | None]


def files_below(folder: str, suffixes: frozenset[str], passed_over: Counter[str]) -> Iterator[pa.Table]:
    """The files below a folder whose names have these endings, in any case; others are counted."""
    return _tables(_rows_below(folder, suffixes, passed_over))


def files_named(paths: Iterable[str]) -> Iterator[pa.Table]:
    """These files, whatever their names; a link that leads nowhere has no size, and comes out as `missing` later."""
    return _tables(_row(path, _status(path)) for path in paths)


def matches(pattern: str) -> tuple[list[str], list[str]]:
    """The files and the folders that a pattern names, sorted."""
    paths = sorted(set(_matches("/", [part for part in pattern.split("/") if part])))
    folders = [path for path in paths if os.path.isdir(path)]
    found = set(folders)
    return [path for path in paths if path not in found], folders


def _rows_below(folder: str, suffixes: frozenset[str], passed_over: Counter[str]) -> Iterator[Row]:
    for above, names in _runs(folder):
        for name in names:
            if name.startswith("."):
                passed_over[HIDDEN] += 1
            elif (ending := suffix(name)) not in suffixes:
                passed_over[ending or NO_ENDING] += 1
            else:
                path = os.path.join(above, name)
                status = _status(path)
                if status is None or stat.S_ISREG(status.st_mode):
                    yield _row(path, status)
                else:  # opening a pipe would wait for ever
                    passed_over[NO_FILE] += 1


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _row(path: str, status: os.stat_result | None) -> Row:
    if status is None:
        return storage.canonical(path), None, None, None
    return storage.canonical(path), status.st_size, f"{status.st_mtime_ns:x}", status.st_mtime_ns // 1000


def _tables(rows: Iterable[Row]) -> Iterator[pa.Table]:
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == TABLE_ROWS:
            yield _table(held)
            held = []
    if held:
        yield _table(held)


def _table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, PAGE, strict=True)], schema=PAGE)


def _runs(top: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder below one, once, with names of files in it, in the order of whole paths; hidden folders are left out.

    A folder comes without files first, then with those before, between and after its own folders. Links to folders are
    followed last, so that an image has the name of its real place where it has one.
    """
    waiting, visited = [top], set[tuple[int, int]]()
    while waiting:
        linked: list[str] = []
        for start in sorted(waiting):
            steps = [_steps(start, visited, linked)]
            while steps:
                step = next(steps[-1], None)
                if step is None:
                    steps.pop()
                elif isinstance(step, str):
                    steps.append(_steps(step, visited, linked))
                else:
                    yield step
        waiting = linked


def _steps(folder: str, visited: set[tuple[int, int]], linked: list[str]) -> Iterator[tuple[str, list[str]] | str]:
    """What lies in a folder, sorted: runs of files, and between them the paths of folders; nothing the second time."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            return
        visited.add((status.st_dev, status.st_ino))
        yield folder, []
        with os.scandir(folder) as entries:
            names = [f"{entry.name}/" if _is_folder(entry) else entry.name for entry in entries]
    except OSError as error:
        raise _not_listed(error) from error
    run: list[str] = []
    for name in sorted(names):
        if not name.endswith("/"):
            run.append(name)
        elif not name.startswith("."):
            below = os.path.join(folder, name[:-1])
            if os.path.islink(below):
                linked.append(below)
            else:
                if run:
                    yield folder, run
                    run = []
                yield below
    if run:
        yield folder, run


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or a folder that may be listed and not entered
        return False


def _not_listed(error: OSError) -> DataError:
    return DataError(
        f"cannot list the folder {error.filename}: {error.strerror}; give this user access to it, "
        "or name the images without it."
    )


def _matches(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """The paths below a folder that match a pattern; as a shell does, but a folder that cannot be read is an error."""
    if not parts:
        yield folder
    elif not os.path.isdir(folder):
        return
    elif list(parts[:2]) == ["**", "**"]:
        yield from _matches(folder, parts[1:])
    elif parts[0] == "**":
        for path, names in _runs(folder):
            if not parts[1:]:
                yield from (os.path.join(path, name) for name in names if not name.startswith("."))
            elif not names:
                yield from _matches(path, parts[1:])
    elif GLOB_CHARACTERS & set(parts[0]):
        for name in _names(folder):
            if fnmatch.fnmatchcase(name, parts[0]) and (parts[0].startswith(".") or not name.startswith(".")):
                yield from _matches(os.path.join(folder, name), parts[1:])
    elif os.path.lexists(os.path.join(folder, parts[0])):
        yield from _matches(os.path.join(folder, parts[0]), parts[1:])


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise _not_listed(error) from error
