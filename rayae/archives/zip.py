"""ZIP: the members of a ZIP archive by its central directory, and their bytes, stored or deflated."""

import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator

from rayae.archives.member import Fetch, Member, Unreadable, damaged_rest, fields_of, is_wanted, number_in
from rayae.archives.window import PartFile, Window
from rayae.ranges import Ranges
from rayae.results import Status

LOCAL_HEADER = 30
SLACK = 1024
"""Bytes that the name and the extra field in the local header are taken for; where they are more, one more request."""
IS_ENCRYPTED = 1
ENCRYPTED = "encrypted"
METHODS = {1: "shrunk", 6: "imploded", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd"}


class NoDirectory(Exception):
    """The central directory is not there, or damaged."""


def members(ranges: Ranges, passed_over: Counter[str]) -> Iterator[Member]:
    """The pictures of a ZIP archive in the order of its directory; one member for all when that cannot be read."""
    file = PartFile(ranges.size_bytes, Window(ranges).read)
    try:
        infos = _infos(file)
    except NoDirectory:
        yield damaged_rest(0)
        return
    for info in infos:
        if not info.filename.endswith("/") and is_wanted(info.filename, passed_over):
            method = ENCRYPTED if info.flag_bits & IS_ENCRYPTED else info.compress_type
            place = (
                "damaged:0"
                if info.header_offset < 0
                else f"zip:{info.header_offset}:{info.compress_size}:{method}:{info.CRC:08x}"
            )
            yield Member(info.filename, info.file_size, place)


def _infos(file: PartFile) -> list[zipfile.ZipInfo]:
    try:
        return zipfile.ZipFile(file).infolist()
    # What zipfile raises on hostile bytes is open-ended (BadZipFile, NotImplementedError, struct.error, ValueError,
    # UnicodeDecodeError, OverflowError, IndexError, OSError), and an archive in is a row out.
    except Exception as error:
        raise (file.failure or NoDirectory()) from error


def read(place: str, size_bytes: int | None, fetch: Fetch) -> bytes:
    """The bytes of a member, by one request where its local header is no longer than usual; checked by its CRC."""
    texts = fields_of(place, 4)
    if texts[2] not in ("0", "8"):
        raise _unsupported(texts[2])
    header, compressed = (number_in(place, text) for text in texts[:2])
    if not size_bytes:
        return b""
    if header < 0 or not 0 <= compressed <= size_bytes + size_bytes // 100 + SLACK:  # more than deflate ever adds
        raise _damaged(header, "its directory says sizes that do not fit together")
    data = _inflated(_stored(header, compressed, fetch), texts[2], size_bytes, header)
    if f"{zlib.crc32(data):08x}" != texts[3]:
        raise _damaged(header, "its checksum is wrong")
    return data


def _stored(header: int, compressed: int, fetch: Fetch) -> bytes:
    """The bytes of a member as they stand in the archive."""
    asked = LOCAL_HEADER + SLACK + compressed
    data = fetch(header, asked)
    if len(data) < LOCAL_HEADER or not data.startswith(b"PK\3\4"):
        raise _damaged(header, "there is no member where its directory says")
    begin = LOCAL_HEADER + sum(struct.unpack_from("<HH", data, 26))
    missing = begin + compressed - len(data)
    if missing > 0 and len(data) == asked:
        data += fetch(header + asked, missing)
    if len(data) < begin + compressed:
        raise _damaged(header, "the archive ends before it")
    return data[begin : begin + compressed]


def _inflated(stored: bytes, method: str, size_bytes: int, header: int) -> bytes:
    if method == "0":
        data = stored
    else:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(stored, size_bytes + 1)
        except zlib.error as error:
            raise _damaged(header, f"it cannot be inflated ({error})") from error
    if len(data) != size_bytes:
        raise _damaged(header, f"it has not the {size_bytes:,} bytes that its directory says")
    return data


def _unsupported(method: str) -> Unreadable:
    if method == ENCRYPTED:
        sentence = "The ZIP archive holds it encrypted; unpack the archive with its password."
    else:
        name = METHODS.get(int(method), f"method {method}") if method.isdigit() else f"method {method}"
        sentence = f"The ZIP archive holds it compressed by {name}; stored and deflated members are read."
    return Unreadable(Status.UNSUPPORTED, sentence)


def _damaged(header: int, what: str) -> Unreadable:
    return Unreadable(Status.TRUNCATED, f"The ZIP archive is damaged at byte {header}: {what}.")
