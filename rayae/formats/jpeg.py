"""JPEG: header and pixels, by libjpeg-turbo, strictly."""

import struct
from collections.abc import Iterator

import simplejpeg
from PIL import Image

from rayae.formats.exif import exif_orientation
from rayae.formats.refusal import Refused, damaged, judged
from rayae.formats.source import Pixels, array_of, without_transparency
from rayae.results import Status

MAX_SCANS = 100
"""Scans of a JPEG: encoders write about ten; each takes time for the whole picture and few bytes."""
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Jpeg:
    """A JPEG: its header is read here, its pixels are decoded by libjpeg-turbo, strictly."""

    kind = "JPEG"

    def __init__(self, data: bytes) -> None:
        frame = exif = scan = b""
        for marker, start, end in _jpeg_segments(data):
            if marker in FRAME_MARKERS:
                frame = frame or data[start - 4 : end]
            elif marker == 0xE1 and data.startswith(b"Exif\0\0", start):
                exif = exif or data[start:end]
            elif marker == 0xDA and end <= len(data):
                scan = data[start:end]
                self.first_scan = start
        if len(frame) < 13 or not scan:
            raise damaged("JPEG", "it breaks off before its pixels begin")
        self.data, self.orientation = data, exif_orientation(exif)
        self.bits, self.height, self.width, self.components = struct.unpack_from(">BHHB", frame, 4)
        self.sampling = [divmod(factors, 16) for factors in frame[11::3]]
        self.process = frame[1]
        self.has_one_scan = self.process in (0xC0, 0xC1) and scan[0] == self.components

    def load(self) -> None:
        if self.process not in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA):
            raise Refused(Status.UNSUPPORTED, f"The JPEG is lossless or hierarchical (SOF {self.process:X}).")
        if self.bits != 8 or self.components not in (1, 3, 4):
            found = f"The JPEG has {self.components} channels of {self.bits} bits"
            raise Refused(Status.UNSUPPORTED, f"{found}; 1, 3 or 4 channels of 8 bits are decoded.")
        if self.components == 3 and not _is_usual_sampling(*self.sampling):
            raise Refused(Status.UNSUPPORTED, f"The JPEG has an odd chroma sampling, {self.sampling}.")
        if self.has_one_scan:
            return
        end = self.data.find(b"\xff\xd9", self.first_scan)  # up to it, FF DA can only begin a scan
        scans = 1 + self.data.count(b"\xff\xda", self.first_scan, end if end >= 0 else len(self.data))
        if scans > MAX_SCANS:
            raise Refused(Status.TOO_LARGE, f"The JPEG has {scans} scans; more than {MAX_SCANS} are refused.")

    def shrunk(self, factor: int, mode: str) -> Pixels:
        is_grey = mode == "grey" or self.components == 1
        space = "CMYK" if self.components == 4 else "GRAY" if is_grey else "RGB"
        least = {"min_height": -(-self.height // factor), "min_width": -(-self.width // factor)}
        with judged("JPEG"):
            pixels: Pixels = simplejpeg.decode_jpeg(self.data, space, strict=True, **least)
            if space == "CMYK":
                size = (pixels.shape[1], pixels.shape[0])
                pixels = array_of(without_transparency(Image.frombytes("CMYK", size, (255 - pixels).tobytes()), mode))
        if pixels.shape[:2] != tuple(least.values()):
            raise damaged("JPEG", f"it has {pixels.shape[:2]} pixels where its header says {tuple(least.values())}")
        return pixels


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of what follows each marker, up to the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if (marker := data[at + 1]) == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield marker, at + 4, end
        if marker == 0xDA:
            return
        at = max(end, at + 4)


def _is_usual_sampling(*sampling: tuple[int, int]) -> bool:
    """Whether the chroma is sampled in a way that libjpeg-turbo's fast interface knows."""
    (across, down), *chroma = sampling
    known = {(h * f, v * g) for h, v in chroma for f, g in ((1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4))}
    return len(set(chroma)) == 1 and (across, down) in known
