"""Home of the pictures on a page: made small, error maps coloured on one scale, packed into `data:` URIs."""

import base64
import io
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

LONGEST_SIDE = 384
"""Longest side of a picture on the page, in pixels: three side by side on screens of two pixels a point."""
MANY_PICTURES, SIDE_OF_MANY = 24, 192
"""Where there are more of them they are shown smaller: 200 with 384 pixels would be a page of 150 MB."""
IN_SCALE = 0.995
"""Share of the error pixels within the colour scale, so that one glaring pixel does not darken the rest."""
INFERNO = (
    "#000004",
    "#1b0c41",
    "#4a0c6b",
    "#781c6d",
    "#a52c60",
    "#cf4446",
    "#ed6925",
    "#fb9b06",
    "#f7d13d",
    "#fcffa4",
)
"""Ten stops of the perceptual colour map inferno, dark to bright."""


def side_of(count: int) -> int:
    """The longest side of a picture, in pixels, on a page that shows so many images."""
    return LONGEST_SIDE if count <= MANY_PICTURES else SIDE_OF_MANY


def small(pixels: NDArray[np.uint8], side: int = LONGEST_SIDE) -> NDArray[np.uint8]:
    """Pixels [H, W, C] with no side longer than the page needs, each the mean of those it stands for."""
    picture = _picture(pixels)
    picture.thumbnail((side, side), Pillow.Resampling.BOX)
    return np.asarray(picture).reshape(picture.height, picture.width, -1)


def small_peaks(error_map: NDArray[Any], side: int = LONGEST_SIDE) -> NDArray[Any]:
    """An error map [H, W] made small by the highest error of each block, so that a small defect stays."""
    factor = math.ceil(max(error_map.shape) / side)
    padding = [(0, -length % factor) for length in error_map.shape]
    rows, columns = (-(-length // factor) for length in error_map.shape)
    blocks: NDArray[Any] = np.pad(error_map, padding).reshape(rows, factor, columns, factor)
    highest: NDArray[Any] = blocks.max(axis=(1, 3))
    return highest


def brightest(error_maps: Sequence[NDArray[Any]]) -> float:
    """The error that gets the brightest colour when these maps share one scale; 0 when there is no error."""
    errors = np.concatenate([error_map.ravel() for error_map in error_maps]).astype(np.float64)
    errors = errors[np.isfinite(errors)]
    return float(np.quantile(errors, IN_SCALE) or errors.max()) if len(errors) else 0.0


def photograph(pixels: NDArray[np.uint8]) -> str:
    """Pixels [H, W, 1 or 3] as a PNG in a `data:` URI."""
    return _data_uri(_picture(pixels))


def heat(error_map: NDArray[Any], brightest: float) -> str:
    """An error map [H, W] as a PNG in a `data:` URI: dark is 0, the other end is `brightest` and above."""
    return _data_uri(_heat(error_map, brightest))


def coloured(error_map: NDArray[Any], brightest: float) -> NDArray[np.uint8]:
    """An error map [H, W] in the colours of `heat`, [H, W, 3]."""
    return np.asarray(_heat(error_map, brightest).convert("RGB"))


def _heat(error_map: NDArray[Any], brightest: float) -> Pillow.Image:
    share = np.nan_to_num(error_map.astype(np.float64), nan=0.0, posinf=brightest) / (brightest or 1.0)
    picture = Pillow.fromarray((np.clip(share, 0, 1) * 255).round().astype(np.uint8))
    picture.putpalette(_palette())
    return picture


@cache
def _palette() -> bytes:
    stops = np.array([list(bytes.fromhex(stop[1:])) for stop in INFERNO], dtype=np.float64)
    places = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(places, range(len(stops)), channel) for channel in stops.T]
    return np.stack(channels, axis=1).round().astype(np.uint8).tobytes()


def _picture(pixels: NDArray[np.uint8]) -> Pillow.Image:
    return Pillow.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _data_uri(picture: Pillow.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
