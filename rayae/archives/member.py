"""Home of what all archives share: a member, its place, which members are pictures, and why one cannot be read."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from rayae.errors import DataError
from rayae.formats import PICTURE_SUFFIXES
from rayae.ranges import Ranges
from rayae.results import Status
from rayae.tables import suffix

TABLE_ROWS = 65_536
HIDDEN = "hidden"
COMPRESSED = "compressed by "
"""What stands in a place for an archive of which no member can be read by its place."""
Fetch = Callable[[int, int | None], bytes]
"""Reads `length` bytes of an archive from `first` on, or all up to its end; fewer where the archive ends before."""


class Unreadable(Exception):
    """An archive does not give this member: the status and the sentence of its row."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[Status, str]]:
        return type(self), (self.status, self.sentence)


@dataclass(frozen=True, slots=True)
class Member:
    """One image of an archive: its name there, bytes as far as they are known, and its place in the archive."""

    name: str
    size_bytes: int | None
    place: str


def damaged_rest(first: int) -> Member:
    """The one row that stands for all that a broken archive holds from a byte on."""
    return Member(f"damaged-{first}", None, f"damaged:{first}")


def compressed_whole(method: str) -> Member:
    """The one row that stands for all that is in an archive which was compressed as a whole."""
    return Member("compressed", None, f"damaged:0:{COMPRESSED}{method}")


def is_wanted(name: str, passed_over: Counter[str]) -> bool:
    """Whether a member is a picture by its name; others are counted."""
    if any(part.startswith(".") and part not in (".", "..") for part in name.split("/")):
        passed_over[HIDDEN] += 1
        return False
    if suffix(name) in PICTURE_SUFFIXES:
        return True
    passed_over[suffix(name) or "no ending"] += 1
    return False


def member_tables(container: Ranges, members: Iterable[Member]) -> Iterator[pa.Table]:
    """Tables of the members of an archive; a name that comes again has `!2`, `!3` and so on at its end."""
    left, seen = iter(members), Counter[str]()
    while batch := list(itertools.islice(left, TABLE_ROWS)):
        names = []
        for member in batch:
            seen[member.name] += 1
            names.append(member.name if seen[member.name] == 1 else f"{member.name}!{seen[member.name]}")
        sizes, places = [member.size_bytes for member in batch], [member.place for member in batch]
        yield rows(container, [f"{container.uri}!/{name}" for name in names], sizes, places)


def rows(container: Ranges, uris: list[str], sizes: list[int | None], places: list[str] | None) -> pa.Table:
    """The columns of a manifest that say where images are: at places of a container, or each in a file of its own."""
    count = len(uris)
    return pa.table(
        {
            "uri": pa.array(uris, pa.string()),
            "size_bytes": pa.array(sizes, pa.int64()),
            "etag": pa.array([container.etag] * count, pa.string()),
            "container": pa.array([container.uri if places else None] * count, pa.string()),
            "place": pa.array(places, pa.string()) if places else pa.nulls(count, pa.string()),
        }
    )


def fields_of(place: str, count: int) -> list[str]:
    """What stands behind the kind in a place; the last field may hold colons. DataError when it is no such place."""
    fields = place.split(":", count)[1:]
    if len(fields) != count:
        raise bad_place(place)
    return fields


def number_in(place: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise bad_place(place) from error


def bad_place(place: str) -> DataError:
    return DataError(f"the manifest has place={place!r}, which is no place in an archive; write it with `rayae index`.")
