"""STILL: PNG, WebP, BMP, GIF and JPEG 2000, by Pillow."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rayae.formats.exif import exif_orientation
from rayae.formats.refusal import Refused, damaged, judged
from rayae.formats.source import FloatRange, Pixels, array_of, without_transparency
from rayae.results import Status

PLUGINS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "PNG": PngImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG 2000": Jpeg2KImageFile,
}


class Still:
    """A picture in one of the formats that Pillow decodes.

    The plugin is called by its class, not through `Image.open`. So one decoder sees the bytes, its own words
    reach the sentence, and Pillow's guard against decompression bombs stays out of the way: that is one limit
    for the process, with a warning up to twice of it; ours is a setting, judged in many threads at once.
    """

    image: ImageFile
    stored: Image.Image
    """The first frame, as stored; known after `load`."""

    def __init__(self, kind: str, data: bytes, float_range: FloatRange | None) -> None:
        self.kind, self.data, self.float_range, self.orientation = kind, data, float_range, 1
        with judged(kind):
            self.width, self.height = self.open()

    def open(self) -> tuple[int, int]:
        """Read the header: width and height."""
        if self.kind == "WebP":  # its plugin takes memory for the canvas when it is made
            return _webp_size(self.data)
        self.image = PLUGINS[self.kind](io.BytesIO(self.data))
        return self.image.size

    def load(self) -> None:
        with judged(self.kind):
            self.decode()
        if self.stored.size != (self.width, self.height):
            found = f"{self.stored.width} x {self.stored.height}"
            raise damaged(self.kind, f"it has {found} pixels where its header says {self.width} x {self.height}")

    def decode(self) -> None:
        """Set the stored picture and its orientation."""
        if self.kind == "WebP":
            self.image = WebPImageFile(io.BytesIO(self.data))
        elif self.kind == "PNG":
            _check_png(self.data)
        elif self.kind == "JPEG 2000" and self.data.find(b"\xff\xd9", self.data.find(b"\xff\x93")) < 0:
            raise damaged(self.kind, "its end marker is missing")
        self.image.load()
        self.orientation = exif_orientation(self.image.info.get("exif") or b"")
        self.stored = self.image

    def shrunk(self, factor: int, mode: str) -> Pixels:
        with judged(self.kind):
            if self.stored.mode.startswith("I;16") or (self.kind == "PNG" and self.stored.mode == "I"):
                plain = Image.fromarray(self._inverted((np.asarray(self.stored) >> 8).astype(np.uint8)))
            elif self.stored.mode in ("I", "F"):
                plain = Image.fromarray(self._scaled())
            else:
                plain = without_transparency(self.stored, mode)
            return array_of(plain.reduce(factor))

    def white_is_zero(self) -> bool:
        """Whether the values must be turned round; Pillow heeds that for 8 bits only."""
        return False

    def values(self) -> NDArray[Any]:
        """The stored values of a picture of one channel."""
        return np.asarray(self.stored)

    def _inverted(self, pixels: Pixels) -> Pixels:
        return 255 - pixels if self.white_is_zero() else pixels

    def _scaled(self) -> Pixels:
        """Floats and wide integers, between the values of the setting; what is no number is black."""
        if self.float_range is None:
            found = f"The {self.kind} has floats or 32-bit integers (mode {self.stored.mode})"
            advice = "set preprocess.float_range=[low,high] to the values that become black and white"
            raise Refused(Status.UNSUPPORTED, f"{found}; {advice}.")
        low, high = self.float_range
        values = self.values().astype(np.float32)
        is_number = ~np.isnan(values)
        np.clip(values, low, high, out=values)
        values = (values - np.float32(low)) * np.float32(255 / (high - low))
        return np.where(is_number, self._inverted(np.rint(np.nan_to_num(values)).astype(np.uint8)), np.uint8(0))


def _check_png(data: bytes) -> None:
    """Every chunk must be whole, with a right checksum, up to the end chunk; Pillow skips those of pixels."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise damaged("PNG", f"the checksum of its {name!r} chunk at byte {at} is wrong")
        if name == b"IEND":
            return
        at = end + 4
    raise damaged("PNG", f"it ends after {len(data)} bytes, before its end chunk")


def _webp_size(data: bytes) -> tuple[int, int]:
    if len(data) < 30:
        raise damaged("WebP", "it breaks off in its header")
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
