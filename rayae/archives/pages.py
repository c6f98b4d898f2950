"""PAGES: the pages of a TIFF as images of their own, counted without reading pixels."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from rayae.archives.cache import Shelf
from rayae.archives.member import Fetch, Member, damaged_rest, member_tables, rows
from rayae.archives.window import Window
from rayae.formats.tiff import BrokenDirectory, directories
from rayae.ranges import Ranges

SMALLER_COPY, MASK = 1, 4
"""Bits of NewSubfileType: such a page is no picture of its own."""


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
                passed_over["page that is a smaller copy or a mask"] += 1
            else:
                yield Member(f"page-{number + 1}", ranges.size_bytes, f"page:{number}")
    except BrokenDirectory as broken:
        yield damaged_rest(broken.first)


def read(fetch: Fetch, shelf: Shelf) -> bytes:
    """The bytes of the whole file, kept on the shelf for the pages that follow."""
    return shelf.get("file", lambda: fetch(0, None), len)
