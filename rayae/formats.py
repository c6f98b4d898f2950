"""Home of the picture formats: which one some bytes are, and how each gives its pixels, by which decoder.

The rules that are kept here are written in `preprocess`.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from rayae.results import Status

Pixels = NDArray[np.uint8]

MAX_SCANS = 100
"""Scans of a JPEG: encoders write about ten; each takes time for the whole picture and few bytes."""

PLUGINS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG 2000": Jpeg2KImageFile,
}
KINDS = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"BM(.{0,15}\Z|.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0)", "BMP"),
)
OTHER_KINDS = (
    (rb"....ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (rb"....ftypavi", "AVIF"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"8BPS", "Photoshop"),
    (rb"v/1\x01", "OpenEXR"),
    (rb"P[1-7]\s", "PNM"),
    (rb"\0\0\x01\0", "Windows icon"),
    (rb".{128}DICM", "DICOM"),
)
NO_PICTURES = (  # in lower case
    (rb"\s*<(!doctype html|html|head|body)", "an HTML page, often an error page saved as a picture"),
    (rb"\s*<[?!a-z]", "an XML text, such as SVG or an error message of object storage"),
    (rb"%pdf", "a PDF"),
    (rb"pk\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "gzip-compressed data"),
    (rb"version https://git-lfs", "a Git LFS pointer; the picture itself was not fetched"),
    (rb"....ftyp", "a video"),
    (rb"\s*[{\[]", "a JSON text"),
    (rb"\0{16}", "zero bytes, often a write that did not finish"),
)

FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
ORIENTATION, PHOTOMETRIC, IMAGE_WIDTH, IMAGE_LENGTH = 0x0112, 0x0106, 0x0100, 0x0101
TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How to undo what each EXIF orientation asks for."""


class Refused(Exception):
    """These bytes get no pixels, for this reason; it never leaves `Preprocess.decode`."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Source(Protocol):
    """A picture whose header was read; `orientation` (EXIF) and pixels are known after `load`."""

    kind: str
    width: int
    height: int
    orientation: int

    def load(self) -> None: ...

    def shrunk(self, factor: int, mode: str) -> Pixels:
        """Pixels as stored, `[ceil(height / factor), ceil(width / factor), C]`; C is 1 without colour."""
        ...


def open_source(data: bytes) -> Source:
    """Read the header of a picture, whatever its format."""
    kind = recognise(data)
    return Jpeg(data) if kind == "JPEG" else ByPillow(kind, data)


def recognise(data: bytes) -> str:
    """The kind of picture by its first bytes, or a refusal that says what they look like."""
    if not data:
        raise Refused(Status.EMPTY, "The file has no bytes.")
    if kind := _matching(KINDS, data[:32]):
        return kind
    if kind := _matching(OTHER_KINDS, data[:132]):
        decoded = ", ".join(kind for _, kind in KINDS)
        raise Refused(Status.UNSUPPORTED, f"This is a {kind} picture, which is not decoded; {decoded} are.")
    if looks := _matching(NO_PICTURES, data[:132].removeprefix(b"\xef\xbb\xbf").lower()):
        raise Refused(Status.NOT_AN_IMAGE, f"This is no picture: it starts like {looks}.")
    raise Refused(Status.NOT_AN_IMAGE, f"This is no picture that is known: it starts with {data[:16]!r}.")


def _matching(patterns: tuple[tuple[bytes, str], ...], head: bytes) -> str | None:
    return next((name for pattern, name in patterns if re.match(pattern, head, re.DOTALL)), None)


def refuse_size(source: Source, max_pixels: int, min_side: int) -> None:
    """Refuse a picture that is too large or too small, by what its header says."""
    width, height = source.width, source.height
    found = f"The {source.kind} has {width:,} x {height:,} pixels"
    if width * height > max_pixels:
        raise Refused(Status.TOO_LARGE, f"{found}, more than max_pixels={max_pixels}.")
    if min(width, height) < min_side:
        raise Refused(Status.TOO_SMALL, f"{found}, its shorter side less than min_side={min_side}.")


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
                pixels = _array(_plain(Image.frombytes("CMYK", size, (255 - pixels).tobytes()), mode))
        if pixels.shape[:2] != tuple(least.values()):
            raise damaged("JPEG", f"it has {pixels.shape[:2]} pixels where its header says {tuple(least.values())}")
        return pixels


class ByPillow:
    """A picture in one of the other formats.

    The plugin is called by its class, not through `Image.open`. So one decoder sees the bytes, its own words
    reach the sentence, and Pillow's guard against decompression bombs stays out of the way: that is one limit
    for the process, with a warning up to twice of it; ours is a setting, judged in many threads at once.
    """

    def __init__(self, kind: str, data: bytes) -> None:
        self.kind, self.data, self.orientation = kind, data, 1
        with judged(kind):
            if kind == "WebP":  # its plugin takes memory for the canvas when it is made
                self.width, self.height = _webp_size(data)
                return
            if kind == "TIFF" and not _tiff_directory_is_whole(data):
                raise damaged(kind, "the directory of its tags is not in the file")
            self.image = PLUGINS[kind](io.BytesIO(data))
            self.width, self.height = self.image.size
            if isinstance(self.image, TiffImageFile):  # its size is that of the turned picture
                self.width, self.height = (int(self.image.tag_v2[tag]) for tag in (IMAGE_WIDTH, IMAGE_LENGTH))

    def load(self) -> None:
        with judged(self.kind):
            if self.kind == "WebP":
                self.image = WebPImageFile(io.BytesIO(self.data))
            elif self.kind == "PNG":
                _check_png(self.data)
            elif self.kind == "JPEG 2000" and self.data.find(b"\xff\xd9", self.data.find(b"\xff\x93")) < 0:
                raise damaged(self.kind, "its end marker is missing")
            if isinstance(self.image, TiffImageFile):
                self._load_tiff(self.image)
            else:
                self.image.load()
                self.orientation = exif_orientation(self.image.info.get("exif") or b"")
                self.stored: Image.Image = self.image
        if self.stored.size != (self.width, self.height):
            found = f"{self.stored.width} x {self.stored.height}"
            raise damaged(self.kind, f"it has {found} pixels where its header says {self.width} x {self.height}")

    def _load_tiff(self, image: TiffImageFile) -> None:
        """Pillow turns a TIFF itself, by XMP too: turn it back, so that one rule holds for all formats."""
        tag = image.tag_v2.get(ORIENTATION)
        self.orientation = tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
        turned = image.getexif().get(ORIENTATION)
        image.load()
        self.stored = image.transpose(TURN_BACK[turned]) if turned in TURN_BACK else image

    def shrunk(self, factor: int, mode: str) -> Pixels:
        with judged(self.kind):
            if self.stored.mode.startswith("I;16") or (self.kind == "PNG" and self.stored.mode == "I"):
                plain = Image.fromarray(self._upper_byte())
            elif self.stored.mode in ("I", "F"):
                found = f"The {self.kind} has 32-bit pixels (mode {self.stored.mode})"
                raise Refused(Status.UNSUPPORTED, f"{found}; pictures of 8 and 16 bits are decoded.")
            else:
                plain = _plain(self.stored, mode)
            return _array(plain.reduce(factor))

    def _upper_byte(self) -> Pixels:
        upper = (np.asarray(self.stored) >> 8).astype(np.uint8)
        is_inverted = isinstance(self.image, TiffImageFile) and self.image.tag_v2.get(PHOTOMETRIC) == 0
        return 255 - upper if is_inverted else upper  # white is zero: Pillow heeds that for 8 bits only


@contextmanager
def judged(kind: str) -> Iterator[None]:
    """Turn what a decoder library raises into a refusal."""
    try:
        yield
    except Refused:
        raise
    # What they raise on hostile bytes is open-ended (OSError, SyntaxError, ValueError, EOFError, IndexError,
    # KeyError, TypeError, AttributeError, OverflowError, MemoryError, struct.error, zlib.error), and a row in
    # is a row out. Nothing is hidden: its text stands in the sentence, and the failure budget counts the row.
    except Exception as error:
        raise _verdict(kind, error) from error


def _verdict(kind: str, error: Exception) -> Refused:
    text = str(error).rstrip(".: ")
    if " " not in text:  # a KeyError stands for a number that is in none of Pillow's tables, such as a compression
        text = f"unsupported {text}" if isinstance(error.__cause__, KeyError) else f"{type(error).__name__} {text}"
    if isinstance(error, Image.DecompressionBombError | MemoryError) or "MAX_TEXT" in text:
        return Refused(Status.TOO_LARGE, f"The {kind} unpacks to more than is allowed: {text}.")
    unknown = r"unsupported (?!marker)|not supported|unknown pixel mode|conversion not"
    if re.search(unknown, text, re.IGNORECASE):
        return Refused(Status.UNSUPPORTED, f"The {kind} is of a variety that is not decoded: {text}.")
    return damaged(kind, text)


def damaged(kind: str, what: str) -> Refused:
    return Refused(Status.TRUNCATED, f"The {kind} is cut or damaged: {what}.")


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """A picture of mode L, or RGB where it has colour and `mode` wants it; the transparent lies on black."""
    has_colour = image.mode not in ("1", "L", "LA")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    if has_colour:
        image = image.convert("RGB")
    return image if has_colour and mode == "rgb" else image.convert("L")


def _array(image: Image.Image) -> Pixels:
    return np.asarray(image).reshape(image.height, image.width, -1)


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in the first directory of EXIF data; 1 where none can be read."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    (count,) = struct.unpack(order + "H", tiff[first : first + 2].ljust(2, b"\0"))
    for at in range(first + 2, min(first + 2 + 12 * count, len(tiff) - 11), 12):
        tag, form = struct.unpack_from(order + "HH", tiff, at)
        if tag == ORIENTATION:
            value = struct.unpack_from(order + ("I" if form == 4 else "H"), tiff, at + 8)[0]
            return value if 1 <= value <= 8 else 1
    return 1


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


def _tiff_directory_is_whole(data: bytes) -> bool:
    """Whether the first directory lies in the file; Pillow would go on with the tags that are there."""
    order = "<" if data.startswith(b"I") else ">"
    is_big = 43 in data[2:4]
    offset, count, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    try:
        (first,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + count, data, first)
    except struct.error:
        return False
    return bool(first + struct.calcsize(count) + entry * entries <= len(data))


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
