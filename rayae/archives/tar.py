"""TAR: the members of a plain tar by a walk over its headers; bytes between them are not read where they are many.

The walk is our own, since the `tarfile` of Python 3.11 can go round for ever on offsets below zero (CVE-2025-8194), and
reads one header at a time. Each step goes forward by a block of 512 bytes at least. What `tarfile` still does is take
one header apart. Names and sizes of pax and GNU headers count. Links hold no bytes, and are passed over.
"""

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rayae.archives.member import (
    Fetch,
    Member,
    Unreadable,
    compressed_whole,
    damaged_rest,
    fields_of,
    is_wanted,
    number_in,
)
from rayae.archives.window import Window
from rayae.errors import DataError
from rayae.ranges import Ranges
from rayae.results import Status

BLOCK = 512
MOST_EXTENDED = 1024**2
"""Bytes of one pax header or long name: names have some hundred."""
MOST_PADDING = 1024**2
"""Zero bytes after the last member: a tar is filled up to whole records, 10,240 bytes as a rule."""
COMPRESSED = re.compile(r"\.(tar\.(gz|bz2|xz|zst|lz4|lzma|z)|tgz|tbz2?|txz|tzst)\Z", re.IGNORECASE)
PAX_RECORD = re.compile(rb"([0-9]{1,20}) ([^=]+)=")
SPARSE_RECORDS = "GNU.sparse"
MAGIC_OF_COMPRESSION = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


FILE, SPARSE, FOLDER, LINK, NO_FILE = "file", "sparse", "folder", "link", "no regular file"
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class Broken(Exception):
    """From this byte on a tar cannot be walked."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


@dataclass(frozen=True, slots=True)
class Entry:
    """What a header says: the name, where its bytes lie, how many they are, and what kind of thing it is."""

    name: str
    first: int
    size_bytes: int
    kind: str


def is_compressed_tar(uri: str) -> bool:
    """Whether a name is that of a compressed tar, of which no member can be read by its place."""
    return COMPRESSED.search(uri) is not None


def refuse_compressed(uri: str) -> None:
    """DataError for a compressed tar that is named."""
    raise DataError(
        f"{uri} is a compressed tar: its images cannot be read one by one; unpack it, or write it as a plain .tar "
        "(pictures are compressed already)."
    )


def members(ranges: Ranges, passed_over: Counter[str]) -> Iterator[Member]:
    """The pictures of a tar in their order; where it breaks off, one member for the rest."""
    window = Window(ranges)
    try:
        for entry in walk(window):
            if entry.kind in (LINK, NO_FILE):
                passed_over[entry.kind] += 1
            elif entry.kind != FOLDER and is_wanted(entry.name, passed_over):
                place = f"tar:{entry.first}" + f":{SPARSE}" * (entry.kind == SPARSE)
                yield Member(entry.name, entry.size_bytes, place)
    except Broken as broken:
        head = b"" if broken.first else ranges.read(0, 8)
        method = next((name for magic, name in MAGIC_OF_COMPRESSION.items() if head.startswith(magic)), None)
        yield damaged_rest(broken.first) if method is None else compressed_whole(method)


def walk(window: Window) -> Iterator[Entry]:
    """What each header says, in order; raises Broken where there should be a header and is none, or a member is cut."""
    for_all: dict[str, str] = {}
    at = _after_zeros(window, 0)
    while at is not None:
        begin, told = at, dict(for_all)
        header, at = _header(window, begin, begin)
        while header.type in EXTENDED:  # they say something of the next member, or of all
            extended, at = _body(window, at, header.size, begin)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                told["path"] = extended.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            elif header.type == tarfile.XGLTYPE:
                for_all |= _records(extended, begin)
                told = for_all | told
            elif header.type != tarfile.GNUTYPE_LONGLINK:
                told |= _records(extended, begin)
            header, at = _header(window, at, begin)
        at = _after_sparse_map(window, header, at, begin)
        entry = _entry(header, told, at, begin)
        if at + entry.size_bytes > window.size_bytes:
            raise Broken(begin)
        yield entry
        at = _after_zeros(window, at + _whole_blocks(entry.size_bytes))


def _header(window: Window, at: int, begin: int) -> tuple[tarfile.TarInfo, int]:
    """The header at a byte, and the byte behind it."""
    try:
        header = tarfile.TarInfo.frombuf(window.read(at, BLOCK), "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise Broken(begin) from error
    if header.size < 0:
        raise Broken(begin)
    return header, at + BLOCK


def _body(window: Window, at: int, size_bytes: int, begin: int) -> tuple[bytes, int]:
    """The bytes of an extended header, and the byte behind them."""
    body = window.read(at, size_bytes) if size_bytes <= MOST_EXTENDED else b""
    if len(body) != size_bytes:
        raise Broken(begin)
    return body, at + _whole_blocks(size_bytes)


def _records(body: bytes, begin: int) -> dict[str, str]:
    """What a pax header says of the name and the size, and whether it is of a sparse file."""
    found, at = {}, 0
    while at < len(body) and body[at]:
        record = PAX_RECORD.match(body, at)
        end = at + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(body) or body[end - 1] != 0x0A:
            raise Broken(begin)
        name = record[2].decode("utf-8", "replace")
        if name.startswith(SPARSE_RECORDS):
            found[SPARSE_RECORDS] = ""
        elif name in ("path", "size"):
            found[name] = body[record.end() : end - 1].decode("utf-8", "surrogateescape")
        at = end
    return found


def _after_sparse_map(window: Window, header: tarfile.TarInfo, at: int, begin: int) -> int:
    """Behind the further blocks in which an old GNU header says where the bytes of a sparse file belong."""
    goes_on = header.type == tarfile.GNUTYPE_SPARSE and window.read(at - BLOCK, BLOCK)[482]
    while goes_on:
        block, at = _body(window, at, BLOCK, begin)
        goes_on = block[504]
    return at


def _entry(header: tarfile.TarInfo, told: dict[str, str], first: int, begin: int) -> Entry:
    name = (told.get("path") or header.name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    size = told.get("size") or str(header.size)
    if not re.fullmatch("[0-9]{1,20}", size):
        raise Broken(begin)
    if header.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        kind = LINK
    elif header.isdir():
        kind = FOLDER
    elif header.type in (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
        kind = NO_FILE
    else:  # kinds that nobody knows are files, says POSIX
        is_sparse = header.type == tarfile.GNUTYPE_SPARSE or SPARSE_RECORDS in told
        return Entry(_shown(name), first, int(size), SPARSE if is_sparse else FILE)
    return Entry(_shown(name), first, 0, kind)


def _shown(name: str) -> str:
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _after_zeros(window: Window, at: int) -> int | None:
    """The byte where the next header begins: there may be blocks of zeros, which end a tar. None at the end of all."""
    if not window.read(at, BLOCK):
        raise Broken(at)  # it ends without them: the writer did not finish, or something cut it between two members
    for block in range(at, at + MOST_PADDING, BLOCK):
        data = window.read(block, BLOCK)
        if not data:
            return None
        if data.strip(b"\0"):
            return block
    raise Broken(at)


def _whole_blocks(size_bytes: int) -> int:
    return -(-size_bytes // BLOCK) * BLOCK


def read(place: str, size_bytes: int | None, fetch: Fetch) -> bytes:
    """The bytes of a member."""
    (text,) = fields_of(place, 1)
    if text.endswith(f":{SPARSE}"):
        raise Unreadable(Status.UNSUPPORTED, "The tar holds it as a sparse file; write the tar without --sparse.")
    first = number_in(place, text)
    if not size_bytes:
        return b""
    data = fetch(first, size_bytes)
    if len(data) != size_bytes:
        found = f"{len(data):,} of its {size_bytes:,} bytes"
        raise Unreadable(Status.TRUNCATED, f"The tar is cut: from byte {first} on it holds {found}.")
    return data
