"""Home of which picture format some bytes are, by their beginning, and of what else they look like."""

import re

from rayae.formats.refusal import Refused
from rayae.results import Status

KINDS = (
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"II[*+]\0|MM\0[*+]", "TIFF"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"....ftyp(avi[fs]|(mif1|msf1).{4}(.{4})*?avi[fs])", "AVIF"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "HEIC"),
    (rb"BM(.{0,15}\Z|.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0)", "BMP"),
)
OTHER_KINDS = (
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


def recognise(data: bytes) -> str:
    """The kind of picture by its first bytes, or a refusal that says what they look like."""
    if not data:
        raise Refused(Status.EMPTY, "The file has no bytes.")
    if kind := _matching(KINDS, data[:64]):
        return kind
    if kind := _matching(OTHER_KINDS, data[:132]):
        decoded = ", ".join(kind for _, kind in KINDS)
        raise Refused(Status.UNSUPPORTED, f"This is a {kind} picture, which is not decoded; {decoded} are.")
    if looks := _matching(NO_PICTURES, data[:132].removeprefix(b"\xef\xbb\xbf").lower()):
        raise Refused(Status.NOT_AN_IMAGE, f"This is no picture: it starts like {looks}.")
    raise Refused(Status.NOT_AN_IMAGE, f"This is no picture that is known: it starts with {data[:16]!r}.")


def _matching(patterns: tuple[tuple[bytes, str], ...], head: bytes) -> str | None:
    return next((name for pattern, name in patterns if re.match(pattern, head, re.DOTALL)), None)
