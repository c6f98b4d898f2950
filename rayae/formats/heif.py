"""HEIF: AVIF, by Pillow where it was built so, and HEIC, by `pi-heif`, an extra of rayae."""

import functools
import io
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

from PIL import AvifImagePlugin, features
from PIL.ImageOps import exif_transpose

from rayae.formats.refusal import Refused
from rayae.formats.still import Still
from rayae.results import Status

MOST_PIXELS = 2**28
"""More is refused by libavif, without a word of what is wrong."""
HEADER_BYTES = 64 * 1024
TURNED_ASIDE = (5, 6, 7, 8)
ADVICE = {
    "AVIF": "This is an AVIF picture, which this Pillow does not decode; install Pillow 11.3 or newer, as a wheel.",
    "HEIC": "This is a HEIC picture; they are decoded where rayae has its extra heic: pip install 'rayae[heic]'.",
}


@functools.cache
def plugin_of(kind: str) -> Any:
    """What decodes this kind here; None when nothing does. Threads are those of the loader: one a picture."""
    if kind == "AVIF":
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        return AvifImagePlugin.AvifImageFile if features.check("avif") else None
    try:
        import pi_heif
    except ImportError:
        return None
    pi_heif.options.DECODE_THREADS = 1
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    return pi_heif.HeifImageFile


def _declared_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height in each `ispe` box: those of the picture, of its tiles and of its thumbnails."""
    for box in re.finditer(rb"ispe\0{4}(.{8})", data[:HEADER_BYTES], re.DOTALL):
        yield struct.unpack(">II", box[1])


class Heif(Still):
    """An AVIF or a HEIC. The container says how it is turned, and that is done always; EXIF has no say in it."""

    def __init__(self, kind: str, data: bytes) -> None:
        if plugin_of(kind) is None:
            raise Refused(Status.UNSUPPORTED, ADVICE[kind])
        super().__init__(kind, data, None)

    def open(self) -> tuple[int, int]:
        width, height = max(_declared_sizes(self.data), key=math.prod, default=(0, 0))
        if width * height > MOST_PIXELS:
            found = f"The {self.kind} has {width:,} x {height:,} pixels"
            raise Refused(Status.TOO_LARGE, f"{found}, more than its decoder takes ({MOST_PIXELS:,}).")
        self.image = plugin_of(self.kind)(io.BytesIO(self.data))
        width, height = self.image.size
        is_aside = self.kind == "AVIF" and self.image.getexif().get(0x0112) in TURNED_ASIDE
        return (height, width) if is_aside else (width, height)

    def decode(self) -> None:
        """Of HEIC the library turns the pixels; of AVIF Pillow writes into the EXIF what the container says."""
        self.image.load()
        self.stored = exif_transpose(self.image) if self.kind == "AVIF" else self.image
