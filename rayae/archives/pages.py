"""PAGES: the pages of a TIFF as images of their own, counted without reading pixels."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from rayae.archives import tar, zip
from rayae.archives.member import Member, Unreadable, damaged_rest, member_tables, rows
from rayae.archives.window import Window
from rayae.formats.tiff import BrokenDirectory, directories
from rayae.ranges import Ranges
from rayae.tables import suffix

SMALLER_COPY, MASK = 1, 4
"""Bits of NewSubfileType: such a page is no picture of its own."""
NO_PICTURE = "page that is a smaller copy or a mask"
MOST_INFLATED = 256 * 1024**2
"""Bytes of a TIFF in a ZIP archive above which it is not looked into, since it would have to be inflated whole."""
NOT_LOOKED_INTO = "large TIFF in a ZIP archive"
"""What is counted of such TIFFs: their first page is taken."""
PAGED = frozenset({".tif", ".tiff"})
"""Files with these endings may have several pages."""


def page_tables(ranges: Ranges, passed_over: Counter[str]) -> Iterator[pa.Table]:
    """The pages of a TIFF as rows of a manifest; where it has but one, or none can be found, the file as it is."""
    pages = list(members(ranges, passed_over))
    if len(pages) <= 1 and all(page.place.startswith(("page:0", "damaged:")) for page in pages):
        yield rows(ranges, [ranges.uri], [ranges.size_bytes], None)
    else:
        yield from member_tables(ranges, pages)


def members(ranges: Ranges, passed_over: Counter[str]) -> Iterator[Member]:
    """The pages of a TIFF; one member for the rest where the chain of its directories breaks off or goes round."""
    pages = directories(Window(ranges).read, ranges.size_bytes)
    try:
        for number, directory in enumerate(pages):
            if directory.subfile_type & (SMALLER_COPY | MASK):
                passed_over[NO_PICTURE] += 1
            else:
                yield Member(f"page-{number + 1}", ranges.size_bytes, f"page:{number}")
    except BrokenDirectory as broken:
        yield damaged_rest(broken.first)


def opened(ranges: Ranges, members: Iterable[Member], passed_over: Counter[str]) -> Iterator[Member]:
    """The members of a tar or ZIP archive, and in the place of a TIFF with several pages its pages.

    A page that cannot be found is a row all the same: it is `truncated` when it is read.
    """
    for member in members:
        if suffix(member.name) not in PAGED:
            yield member
            continue
        if member.place.startswith("zip:") and (member.size_bytes or 0) > MOST_INFLATED:
            passed_over[NOT_LOOKED_INTO] += 1
            yield member
            continue
        pages = _pages_inside(ranges, member, passed_over)
        if pages in ([], [0]):
            yield member
            continue
        for number in pages:
            yield Member(f"{member.name}!/page-{number + 1}", member.size_bytes, f"page:{number}:{member.place}")


def _pages_inside(ranges: Ranges, member: Member, passed_over: Counter[str]) -> list[int]:
    """The numbers of the pages of a TIFF in an archive, and of the one where the chain of its directories breaks."""
    number, found = -1, list[int]()
    try:
        for number, directory in enumerate(directories(_reading(ranges, member), member.size_bytes or 0)):
            if directory.subfile_type & (SMALLER_COPY | MASK):
                passed_over[NO_PICTURE] += 1
            else:
                found.append(number)
    except BrokenDirectory:
        found.append(number + 1)
    except Unreadable:  # the row will say so
        return []
    return found


def _reading(ranges: Ranges, member: Member) -> Callable[[int, int], bytes]:
    """What reads parts of a member: of a tar by their place, of a ZIP out of the whole member."""
    kind, _, first = member.place.partition(":")
    if kind == "tar" and first.isdigit():
        size_bytes, window = member.size_bytes or 0, Window(ranges)
        return lambda at, count: window.read(int(first) + at, min(count, max(0, size_bytes - at)))
    read = zip.read if kind == "zip" else tar.read
    data = read(member.place, member.size_bytes, lambda begin, count: ranges.read(begin, count or 0))
    return lambda at, count: data[at : at + count]
