"""Home of the picture formats: which one some bytes are, and how each gives its pixels, by which decoder.

The rules that are kept here are written in `preprocess`.
"""

from rayae.formats.heif import Heif
from rayae.formats.jpeg import Jpeg
from rayae.formats.kinds import recognise
from rayae.formats.refusal import Refused
from rayae.formats.source import FloatRange, Pixels, Source, refuse_size
from rayae.formats.still import Still
from rayae.formats.tiff import Tiff
from rayae.results import Status

__all__ = ["PICTURE_SUFFIXES", "FloatRange", "Pixels", "Refused", "Source", "open_source", "refuse_size"]

COMMON_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"})
PICTURE_SUFFIXES = COMMON_SUFFIXES | {".jp2", ".j2k", ".heic", ".heif", ".avif"}
"""Files in a folder and members of an archive with these endings, in any case, are taken for pictures."""


def open_source(data: bytes, page: int = 0, float_range: FloatRange | None = None) -> Source:
    """Read the header of a picture, whatever its format; `page` counts from 0, and only a TIFF has more than one."""
    kind = recognise(data)
    if kind == "TIFF":
        return Tiff(data, page, float_range)
    if page:
        raise Refused(Status.TRUNCATED, f"The {kind} has no page {page + 1}; only a TIFF has pages.")
    if kind == "JPEG":
        return Jpeg(data)
    return Heif(kind, data) if kind in ("AVIF", "HEIC") else Still(kind, data, float_range)
