"""Home of the EXIF orientation: where it stands, and how what it asks for is undone."""

import struct

from PIL import Image

ORIENTATION = 0x0112
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
