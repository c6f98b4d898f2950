"""Home of the part of the picture that matters: what lies outside counts in no loss and in no score."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rayae import storage
from rayae.errors import ConfigError
from rayae.preprocess import Preprocess

LEAST_PIXELS = 64
"""Fewer than these have no worst 1 % and no structure."""
BORDER = 5
"""Pixels along each side that are the centre of no window of SSIM, so they cannot be all that is looked at."""


def read_region(asked: str | Sequence[float] | None, preprocess: Preprocess) -> NDArray[np.uint8] | None:
    """The weights of the pixels of the network's input, `[H, W]`, 0 to 255; None when all of them matter.

    `asked` is the URI of a mask picture, white where to look, which is sized as the images are; or a rectangle: left,
    top, right and bottom as fractions of the width and height. ConfigError when it leaves too little to look at.
    """
    if asked is None:
        return None
    weights = _mask(asked, preprocess) if isinstance(asked, str) else _rectangle(asked, preprocess)
    seen = int(np.count_nonzero(weights[BORDER:-BORDER, BORDER:-BORDER]))
    if seen < LEAST_PIXELS:
        raise ConfigError(
            f"region={asked} leaves {seen} of {weights.size:,} pixels of the network's input further than {BORDER} "
            f"from its border, and at least {LEAST_PIXELS} are needed: a mask is white where to look, a rectangle is "
            "[left, top, right, bottom], each between 0 and 1."
        )
    return weights


def _mask(uri: str, preprocess: Preprocess) -> NDArray[np.uint8]:
    picture = replace(preprocess, mode="grey", min_side=1).decode(storage.read_bytes(storage.absolute(uri)))
    if picture.pixels is None:
        raise ConfigError(f"region={uri} cannot be read as a picture: {picture.error}")
    return picture.pixels[..., 0]


def _rectangle(sides: Sequence[float], preprocess: Preprocess) -> NDArray[np.uint8]:
    left, top, right, bottom = sides
    weights = np.zeros((preprocess.height, preprocess.width), dtype=np.uint8)
    rows = slice(round(top * preprocess.height), round(bottom * preprocess.height))
    columns = slice(round(left * preprocess.width), round(right * preprocess.width))
    weights[rows, columns] = 255
    return weights
