"""Home of what a picture is to the decoder, and of how a Pillow image becomes pixels."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rayae.formats.refusal import Refused
from rayae.results import Status

Pixels = NDArray[np.uint8]
FloatRange = tuple[float, float]
"""The values that become black and white in pictures of floats or wide integers."""


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


def refuse_size(source: Source, max_pixels: int, min_side: int) -> None:
    """Refuse a picture that is too large or too small, by what its header says."""
    width, height = source.width, source.height
    found = f"The {source.kind} has {width:,} x {height:,} pixels"
    if width * height > max_pixels:
        raise Refused(Status.TOO_LARGE, f"{found}, more than max_pixels={max_pixels}.")
    if min(width, height) < min_side:
        raise Refused(Status.TOO_SMALL, f"{found}, its shorter side less than min_side={min_side}.")


def without_transparency(image: Image.Image, mode: str) -> Image.Image:
    """A picture of mode L, or RGB where it has colour and `mode` wants it; the transparent lies on black."""
    has_colour = image.mode not in ("1", "L", "LA")
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    if has_colour:
        image = image.convert("RGB")
    return image if has_colour and mode == "rgb" else image.convert("L")


def array_of(image: Image.Image) -> Pixels:
    return np.asarray(image).reshape(image.height, image.width, -1)
