"""TIFF: its pages, by our own walk over their directories, and the pixels of one, by Pillow."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import TiffImageFile

from rayae.formats.exif import ORIENTATION, TURN_BACK
from rayae.formats.refusal import Refused, damaged
from rayae.formats.source import FloatRange
from rayae.formats.still import Still
from rayae.results import Status

SUBFILE_TYPE, IMAGE_WIDTH, IMAGE_LENGTH, BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 254, 256, 257, 258, 262, 339
TILE_WIDTH, TILE_LENGTH = 322, 323
MOST_TILE_PIXELS, TILE_BEYOND = 2**24, 4
"""Tiles may be larger than the picture that is in them, but not without end."""
MOST_PAGES = 65_535
MOST_TAGS = 65_535


class BrokenDirectory(Exception):
    """From this byte on the directories of a TIFF cannot be followed."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


@dataclass(frozen=True, slots=True)
class Layout:
    """How numbers are laid out: byte order, and the struct codes of offsets and of counts."""

    order: str
    offset: str
    count: str
    entry_bytes: int
    first: int
    """The byte at which the offset of the first directory stands."""

    def number(self, code: str, data: bytes, at: int = 0) -> int:
        found: int = struct.unpack_from(self.order + code, data, at)[0]
        return found


@dataclass(frozen=True, slots=True)
class Directory:
    """One page: where its tags begin, and what NewSubfileType says it is."""

    first: int
    subfile_type: int


def layout_of(head: bytes) -> Layout | None:
    """How a TIFF is laid out, by its first bytes; None when they are no whole header."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None:
        return None
    if head[2:4] in (b"+\0", b"\0+") and len(head) >= 16:
        return Layout(order, "Q", "Q", 20, 8)
    return Layout(order, "I", "H", 12, 4) if head[2:4] in (b"*\0", b"\0*") and len(head) >= 8 else None


def directories(read: Callable[[int, int], bytes], size_bytes: int) -> Iterator[Directory]:
    """The pages of a TIFF in order; `read(first, length)` gives its bytes. BrokenDirectory where the chain breaks.

    A directory that comes again, more than 65,535 of them, and directories that lie in one another break it too.
    """
    head = read(0, 16)
    layout = layout_of(head)
    if layout is None:
        raise BrokenDirectory(0)
    offset_bytes, count_bytes = struct.calcsize(layout.offset), struct.calcsize(layout.count)
    first, visited, read_bytes = layout.number(layout.offset, head, layout.first), set[int](), 0
    if first == 0:
        raise BrokenDirectory(layout.first)
    while first:
        start = read(first, count_bytes)
        if first in visited or len(visited) >= MOST_PAGES or len(start) < count_bytes:
            raise BrokenDirectory(first)
        count = layout.number(layout.count, start)
        length = count * layout.entry_bytes + offset_bytes
        read_bytes += length
        body = read(first + count_bytes, length) if count <= MOST_TAGS and read_bytes <= size_bytes else b""
        if not count or len(body) < length:
            raise BrokenDirectory(first)
        visited.add(first)
        yield Directory(first, _subfile_type(layout, body, count))
        first = layout.number(layout.offset, body, length - offset_bytes)


def _subfile_type(layout: Layout, body: bytes, count: int) -> int:
    for at in range(0, count * layout.entry_bytes, layout.entry_bytes):
        tag = layout.number("H", body, at)
        if tag == SUBFILE_TYPE:
            return layout.number("I", body, at + layout.entry_bytes - struct.calcsize(layout.offset))
        if tag > SUBFILE_TYPE:  # they are sorted
            break
    return 0


class _FromPage(io.BytesIO):
    """A TIFF whose header leads to another page: Pillow then sees one file a page, and its bytes are not copied."""

    def __init__(self, data: bytes, head: bytes) -> None:
        super().__init__(data)
        self.head = head

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        data = super().read(size)
        head = self.head[at : at + len(data)]
        return head + data[len(head) :] if head else data


class Tiff(Still):
    """One page of a TIFF."""

    image: TiffImageFile

    def __init__(self, data: bytes, page: int, float_range: FloatRange | None) -> None:
        self.page = page
        super().__init__("TIFF", data, float_range)

    def open(self) -> tuple[int, int]:
        self.image = TiffImageFile(_FromPage(self.data, self._head(self._directory())))
        tags = self.image.tag_v2
        width, height = int(tags[IMAGE_WIDTH]), int(tags[IMAGE_LENGTH])  # its own size is that of the turned picture
        across, down = int(tags.get(TILE_WIDTH, 0)), int(tags.get(TILE_LENGTH, 0))
        if across * down > max(MOST_TILE_PIXELS, TILE_BEYOND * width * height):
            found = f"The TIFF has {width:,} x {height:,} pixels in tiles of {across:,} x {down:,}"
            raise Refused(Status.TOO_LARGE, f"{found}; its decoder takes memory for whole tiles.")
        return width, height

    def _directory(self) -> Directory:
        data, number = self.data, -1
        try:
            for number, directory in enumerate(directories(lambda at, count: data[at : at + count], len(data))):
                if number == self.page:
                    return directory
        except BrokenDirectory as broken:
            where = f"page {number + 2}, at byte {broken.first}," if self.page else "its tags"
            raise damaged("TIFF", f"the directory of {where} is not in the file") from broken
        raise Refused(Status.TRUNCATED, f"The TIFF has no page {self.page + 1}; it has {number + 1}.")

    def _head(self, directory: Directory) -> bytes:
        layout = layout_of(self.data)
        if layout is None or not self.page:
            return b""
        return self.data[: layout.first] + struct.pack(layout.order + layout.offset, directory.first)

    def decode(self) -> None:
        """Pillow turns a TIFF itself, by XMP too: turn it back, so that one rule holds for all formats."""
        tag = self.image.tag_v2.get(ORIENTATION)
        self.orientation = tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
        turned = self.image.getexif().get(ORIENTATION)
        self.image.load()
        self.stored = self.image.transpose(TURN_BACK[turned]) if turned in TURN_BACK else self.image

    def white_is_zero(self) -> bool:
        return bool(self.image.tag_v2.get(PHOTOMETRIC) == 0)

    def values(self) -> NDArray[Any]:
        values = np.asarray(self.stored)
        tags = self.image.tag_v2
        is_unsigned = self.stored.mode == "I" and tags.get(SAMPLE_FORMAT, (1,))[0] == 1
        return values.view(np.uint32) if is_unsigned and tags.get(BITS_PER_SAMPLE) == (32,) else values
