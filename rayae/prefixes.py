"""LIST object storage: home of what lies below a prefix or matches a pattern, in the order of the keys.

A pattern is taken apart at its slashes: folders in it are looked up level by level, and what is below those that match
is listed in parallel and held against the whole pattern.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from rayae import keyspace, objects, storage
from rayae.access import AZURE, KINDS
from rayae.folders import GLOB_CHARACTERS
from rayae.objects import PAGE
from rayae.selection import regex_of

TABLE_ROWS = 65_536
WORKERS_WITHOUT_CUTS = 1
"""Azure lists from the beginning whatever key a listing is to start after, so cutting a range gains nothing there."""


def objects_below(prefix_uris: Sequence[str]) -> Iterator[pa.Table]:
    """The objects below these prefixes, one after the other, each in the order of its keys, in tables."""
    is_cut = all(KINDS[uri.partition("://")[0]] != AZURE for uri in prefix_uris)
    workers = keyspace.WORKERS if is_cut else WORKERS_WITHOUT_CUTS
    return _together(keyspace.listed(prefix_uris, objects.pages, workers))


def is_prefix(prefix_uri: str) -> bool:
    """Whether there is an object below a prefix."""
    return any(page.num_rows for page in objects.pages(prefix_uri))


def objects_named(uris: Iterable[str]) -> Iterator[pa.Table]:
    """These objects, looked at one by one; one that is not there has no size, and comes out as `missing` later."""
    answers = ((uri, objects.size_and_etag(uri)) for uri in uris)
    rows = [(uri, answer and answer.size_bytes, answer and answer.etag, None) for uri, answer in answers]
    columns = zip(*rows, strict=True)
    yield pa.table([pa.array(column, field.type) for column, field in zip(columns, PAGE, strict=True)], schema=PAGE)


def objects_matching(pattern: str) -> Iterator[pa.Table]:
    """The objects that match a pattern; a name with a dot before it only where the pattern has it too."""
    return _matching(pattern, "$")


def objects_in_folders_matching(pattern: str) -> Iterator[pa.Table]:
    """The objects below the folders that match a pattern."""
    return _matching(pattern, "/")


def base_of(pattern: str) -> str:
    """The part of a pattern up to the last `/` before its first special character; of a name the folder it lies in."""
    special = min((pattern.find(character) for character in GLOB_CHARACTERS & set(pattern)), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, special) + 1]


def other_files(uri: str, method: str) -> tuple[pa.Table, list[str]]:
    """Of a storage that only fsspec knows: the files below a prefix (`find`) or that match (`glob`), and folders."""
    with storage.explained("list", uri):
        filesystem, path = storage.filesystem_of(uri)
        found = list(getattr(filesystem, method)(path, detail=True).values())
        named = sorted((filesystem.unstrip_protocol(one["name"]), one) for one in found if one["type"] == "file")
        folders = sorted(filesystem.unstrip_protocol(one["name"]) for one in found if one["type"] == "directory")
    etags = (one.get("ETag") or one.get("etag") for _, one in named)
    columns = [
        pa.array([name for name, _ in named], pa.string()),
        pa.array([one.get("size") for _, one in named], pa.int64()),
        pa.array([etag and str(etag).strip('"') for etag in etags], pa.string()),
        pa.nulls(len(named), PAGE.field("modified").type),
    ]
    return pa.table(columns, schema=PAGE), folders


def _matching(pattern: str, end: str) -> Iterator[pa.Table]:
    base = base_of(pattern)
    is_match = f"(?s)^{re.escape(base)}{regex_of(pattern[len(base) :])}{end}"
    is_hidden = rf"(?s)^{re.escape(base)}(.*/)?\." if not re.search(r"(^|/)\.", pattern[len(base) :]) else None
    prefixes = _prefixes_of(pattern)
    for table in objects_below(prefixes) if prefixes else ():
        found = table.filter(pc.match_substring_regex(table["uri"], is_match))
        if is_hidden is not None and end == "$":
            found = found.filter(pc.invert(pc.match_substring_regex(found["uri"], is_hidden)))
        if found.num_rows:
            yield found


def _prefixes_of(pattern: str) -> list[str]:
    """What the keys that match a pattern begin with: folders looked up, up to `**` or to the last part."""
    base = base_of(pattern)
    *above, last = pattern[len(base) :].split("/")
    prefixes = [base]
    for part in above:
        if "**" in part:
            last = part
            break
        if GLOB_CHARACTERS & set(part):
            prefixes = _folders_matching(prefixes, part)
        else:
            prefixes = [f"{prefix}{part}/" for prefix in prefixes]
    beginning = "".join(itertools.takewhile(lambda character: character not in GLOB_CHARACTERS, last))
    return [prefix + beginning for prefix in prefixes]


def _folders_matching(prefixes: list[str], part: str) -> list[str]:
    is_match = re.compile(f"(?s){regex_of(part)}/")
    with ThreadPoolExecutor(keyspace.WORKERS) as pool:
        levels = list(pool.map(lambda prefix: (prefix, objects.level(prefix)[1]), prefixes))
    below = [(folder, folder[len(prefix) :]) for prefix, folders in levels for folder in folders]
    return sorted(
        folder for folder, name in below if is_match.fullmatch(name) and (part[0] == "." or not name.startswith("."))
    )


def _together(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches put together to tables of some 65,536 rows, which cost little more to work on than one of 1,000."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= TABLE_ROWS:
            yield pa.Table.from_batches(held).combine_chunks()
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()
