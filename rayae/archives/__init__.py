"""Home of images inside other files: tar, ZIP, Parquet, and the pages of a TIFF; how they are listed, and read.

The rules; each is held by a test in `test_archives_*.py`.

- A member is read by its place in the archive, with one request where its bytes lie together. The rows of a Parquet
  file and the pages of a TIFF share what is read of the file: it is kept in a small cache.
- Members are pictures by the ending of their name. Others are passed over and counted, as are hidden files, folders and
  links. The rows of a Parquet file are all images.
- A broken archive costs its own tail: what stands before is listed, and one row, `damaged-FIRST`, stands for all from
  that byte on. It is `truncated` when it is read. A ZIP archive without a directory, and a Parquet file without a
  footer, are damaged from byte 0 on, and so is what is no archive at all. A tar without its end mark is broken too.
- A compressed tar (`.tar.gz`) that is named is refused with what to do; what is called `.tar` and is compressed is one
  row, `compressed`, and `unsupported`. So are encrypted members, and compressions but deflate.
- Names in a tar lose `./` at their beginning, and bytes that are no UTF-8 are written as `\\xNN`.
- Rows of a Parquet file count from 0, as `row-17`; pages from 1, as `page-2`. A TIFF of one page is listed as the file
  that it is. Pages of TIFFs in a tar or ZIP are found when it is listed, for which a ZIP's TIFFs are read; of TIFFs in
  a Parquet file the first page is taken.
"""

import re
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from rayae.archives import pages as tiff_pages
from rayae.archives import parquet, tar, zip
from rayae.archives.cache import Cache, Shelf
from rayae.archives.member import COMPRESSED, Fetch, Unreadable, bad_place, fields_of, member_tables
from rayae.archives.pages import NOT_LOOKED_INTO, PAGED
from rayae.archives.parquet import UNREADABLE
from rayae.archives.tar import is_compressed_tar, refuse_compressed
from rayae.errors import ConfigError
from rayae.ranges import open_ranges
from rayae.reach import needed
from rayae.results import Status
from rayae.tables import suffix

__all__ = [
    "NOT_LOOKED_INTO",
    "PAGED",
    "SUFFIXES",
    "UNREADABLE",
    "Cache",
    "Shelf",
    "Unreadable",
    "expand",
    "has_images",
    "is_compressed_tar",
    "page_of",
    "read_member",
    "refuse_compressed",
]

SUFFIXES = frozenset({".tar", ".zip"})
"""Files with these endings, in any case, are archives in a folder as well."""
PAGE = re.compile(r"page:([0-9]+)(?::((?:tar|zip):.*))?\Z", re.DOTALL)


def expand(
    uri: str,
    size_bytes: int | None = None,
    etag: str | None = None,
    image_column: str | None = None,
    pages: bool = False,
    passed_over: Counter[str] | None = None,
) -> Iterator[pa.Table]:
    """The images in an archive, or the pages of a TIFF, as columns of a manifest, in tables of 65,536 rows at most.

    `image_column` says which column of a Parquet file holds the images; its other columns come along. `passed_over`
    counts what is not taken. DataError for a compressed tar and where it is not clear what to read of a Parquet file.
    """
    counter = Counter[str]() if passed_over is None else passed_over
    ending = suffix(uri)
    if is_compressed_tar(uri):
        refuse_compressed(uri)
    if ending not in SUFFIXES | {".parquet"} and not (pages and ending in PAGED):
        raise ConfigError(
            f"{uri} is no archive of images; .tar, .zip, .parquet, and with select.pages=all .tif and .tiff, are."
        )
    ranges = open_ranges(uri, size_bytes, etag)
    if ending == ".parquet":
        return parquet.image_tables(ranges, image_column, counter)
    if ending not in PAGED:
        members = (tar if ending == ".tar" else zip).members(ranges, counter)
        return member_tables(ranges, tiff_pages.opened(ranges, members, counter) if pages else members)
    return tiff_pages.page_tables(ranges, counter)


def has_images(uri: str, size_bytes: int | None = None, etag: str | None = None) -> bool:
    """Whether a Parquet file holds the bytes of images, and is no list of them; DataError when it cannot be read."""
    return parquet.has_images(open_ranges(uri, size_bytes, etag))


def page_of(place: str | None) -> int:
    """The page that a place means, from 0; 0 where it means none."""
    found = PAGE.match(needed(place)[1] or "")
    return int(found[1]) if found else 0


def read_member(place: str, size_bytes: int | None, fetch: Fetch, shelf: Shelf) -> bytes:
    """The bytes of an image in an archive; of a page those of the whole file. Unreadable when it does not give them.

    `shelf` is that of the archive in the reader's cache. What `fetch` raises goes through.
    """
    kind = place.split(":", 1)[0]
    if kind == "tar":
        return tar.read(place, size_bytes, fetch)
    if kind == "zip":
        return zip.read(place, size_bytes, fetch)
    if kind == "row":
        return parquet.read(place, fetch, shelf)
    page = PAGE.match(place)
    if page:
        inside = page[2]
        return shelf.get(
            ("file", inside), lambda: read_member(inside, size_bytes, fetch, shelf) if inside else fetch(0, None), len
        )
    if kind == "damaged":
        (first,) = fields_of(place, 1)
        if COMPRESSED in first:
            how = first.removeprefix("0:")
            raise Unreadable(Status.UNSUPPORTED, f"The tar is {how}; unpack it, or write it as a plain .tar.")
        what = "The archive is cut, damaged or none" if first == "0" else "The archive is cut or damaged"
        raise Unreadable(Status.TRUNCATED, f"{what}, from byte {first} on; what it held there is not known.")
    raise bad_place(place)
