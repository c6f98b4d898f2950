"""DECODE: how bytes become pixels. One code for training and scoring; no exception for what bytes can do.

The rules; each is held by a test in `test_preprocess.py` or `test_formats.py`.

- Formats: JPEG, PNG, TIFF, WebP, BMP, GIF, JPEG 2000, AVIF, and HEIC with the extra `heic`, known by their
  first bytes, never by the file's name. Other kinds of picture are `unsupported`; what is no picture is
  `not_an_image`, and the sentence says what it looks like.
- Strict: a cut picture is `truncated`, and so is a damaged one where the format or its decoder can tell. A
  JPEG without its end marker is cut, even where every pixel seems to be there, and any warning of
  libjpeg-turbo is damage. Of a PNG every checksum is checked. What follows the first frame of an animation
  is not read; of a TIFF one page is, the first one unless another is asked for.
- Limits: `too_large` and `too_small` are judged by the header, before memory for pixels is taken. Text or a
  colour profile that unpacks to more than 1 MiB, and a JPEG of more than 100 scans, are `too_large` as well.
- Depth: of 16 bits the upper 8 are kept, without stretching. Floats, signed and 32-bit integers, which only a
  TIFF has, are `unsupported`, unless `float_range` says which values become black and white: it is linear
  between them, what lies beyond is black or white, infinite values too, and what is no number is black.
- Colour: transparent pixels lie on black. Grey is the Y of a JPEG and the ITU-R 601 luma of all else: the two
  agree to one grey level. CMYK JPEGs are taken as inverted, as Adobe writes them. Colour profiles and gamma
  are not applied.
- Orientation: the EXIF tag turns the pixels, as viewers do. XMP is not looked at; EXIF that cannot be read is
  none. An AVIF or HEIC is always turned as its container says, before all else; its EXIF is not looked at.
- Size: the picture fills the output, whatever its shape. First it is made 2, 4 or 8 times smaller, as far as
  both sides stay at or above the target: a JPEG while it is decoded (DCT domain), all else by the mean of
  blocks. The rest is Pillow's HAMMING filter where a side shrinks and BILINEAR where it grows.

Why HAMMING: over 10 photographs and textures of 300 to 2,003 px it is 1.1 grey levels (mean absolute
difference) from the true area average, BOX 2.3 (it does not split pixels), BILINEAR 1.9, BICUBIC 1.3. Why
powers of two: there DCT and block mean agree. A JPEG and a PNG of the same pixels differ by 0.1 grey levels
in grey, at most 0.2 a picture; in colour by 0.3, at most 0.6 a photograph, and 2.3 a texture of colour noise
in 4:2:0, whose chroma libjpeg smooths. Scales of n/8 and BOX would make it 2 to 5.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from rayae.errors import ConfigError
from rayae.formats import FloatRange, Pixels, Refused, Source, open_source, refuse_size
from rayae.results import Status

LONGEST_SENTENCE = 300


@dataclass(frozen=True)
class Picture:
    """What `decode` made of some bytes; `pixels` is `[H, W, C]` uint8, None unless the status is `scored`.

    `width` and `height` are those of the original as stored, before turning; None without a readable header.
    """

    pixels: Pixels | None
    status: Status
    error: str | None
    width: int | None
    height: int | None


@dataclass(frozen=True)
class Preprocess:
    """How bytes become pixels; two that are equal give the same pixels for the same bytes."""

    mode: Literal["grey", "rgb"]
    height: int
    width: int
    resize_filter: Literal["area"] = "area"
    exif: Literal["apply", "ignore"] = "apply"
    max_pixels: int = 100_000_000
    min_side: int = 8
    float_range: FloatRange | None = None

    def __post_init__(self) -> None:
        known = {"mode": ("grey", "rgb"), "resize_filter": ("area",), "exif": ("apply", "ignore")}
        for name, values in known.items():
            if (value := getattr(self, name)) not in values:
                raise ConfigError(f"preprocess.{name} is {value!r}; this version of rayae knows {values}.")
        if self.float_range is not None and not -math.inf < self.float_range[0] < self.float_range[1] < math.inf:
            raise ConfigError(
                f"preprocess.float_range is {list(self.float_range)}; give two numbers, the lower one first: the "
                "values that become black and white."
            )

    @property
    def channels(self) -> int:
        return 1 if self.mode == "grey" else 3

    def to_dict(self) -> dict[str, Any]:
        """All fields, as they come back from JSON."""
        return asdict(self) | {"float_range": None if self.float_range is None else list(self.float_range)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        low_and_high = values.get("float_range")
        return cls(**{**values, "float_range": None if low_and_high is None else tuple(low_and_high)})

    def hash(self) -> str:
        """SHA-256 of the canonical JSON of all fields, in hex."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def decode(self, data: bytes, page: int = 0) -> Picture:
        """Make pixels of a file's bytes, or a status and a sentence; many threads may call this at once.

        Of a TIFF it is the page of that number, from 0.
        """
        width = height = None
        try:
            source = open_source(data, page, self.float_range)
            width, height = source.width, source.height
            refuse_size(source, self.max_pixels, self.min_side)
            source.load()
            return Picture(self._pixels(source), Status.SCORED, None, width, height)
        except Refused as refused:
            return Picture(None, refused.status, _one_line(refused.sentence), width, height)

    def _pixels(self, source: Source) -> Pixels:
        orientation = source.orientation if self.exif == "apply" else 1
        width, height = (self.width, self.height) if orientation < 5 else (self.height, self.width)
        fits = (f for f in (8, 4, 2) if source.width >= f * width and source.height >= f * height)
        factor = next(fits, 1)
        covered = (source.width / factor, source.height / factor)
        pixels = _resized(source.shrunk(factor, self.mode), covered, (width, height))
        if pixels.shape[2] < self.channels:
            pixels = np.repeat(pixels, self.channels, axis=2)
        return np.ascontiguousarray(TURNS[orientation](pixels))


def _resized(pixels: Pixels, covered: tuple[float, float], target: tuple[int, int]) -> Pixels:
    """Pixels at the target width and height; `covered` is how much of them, from the corner, is picture."""
    height, width = pixels.shape[:2]
    if (width, height) == target:
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    smaller = (min(width, target[0]), min(height, target[1]))
    image = image.resize(smaller, Image.Resampling.HAMMING, box=(0, 0, *covered))
    image = image.resize(target, Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(target[1], target[0], -1)


def _one_line(text: str) -> str:
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    return line if len(line) <= LONGEST_SENTENCE else line[: LONGEST_SENTENCE - 2] + " …"


TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}
"""What each EXIF orientation asks for, on pixels as stored."""
