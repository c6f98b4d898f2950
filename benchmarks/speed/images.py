"""Home of the images that all programs score: JPEGs of photographs in their statistics, and the list of them."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

DISTINCT = 64
"""Different pictures of a set; the others are hard links to them, which are read and decoded all the same."""
QUALITY = 90


@dataclass(frozen=True)
class ImageSet:
    """A list of images of one size."""

    side: int
    """Of a picture, in pixels."""
    count: int
    list: str
    """A Parquet file with the column `uri`."""


def make(folder: Path, side: int, count: int) -> ImageSet:
    """So many JPEGs of `side` by `side` pixels in a folder."""
    place = folder / f"{side}"
    place.mkdir(parents=True)
    generator = np.random.default_rng(side)
    distinct = [photograph(generator, side) for _ in range(min(DISTINCT, count))]
    paths = [place / f"{number:07d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < len(distinct):
            path.write_bytes(distinct[number])
        else:
            os.link(paths[number % len(distinct)], path)
    table = pa.table({"uri": [str(path) for path in paths]})
    pq.write_table(table, folder / f"{side}.parquet")
    return ImageSet(side, count, str(folder / f"{side}.parquet"))


def photograph(generator: np.random.Generator, side: int) -> bytes:
    """A JPEG whose spectrum falls as that of a photograph, amplitude as 1 / frequency, a little noise of a sensor."""
    frequencies = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    amplitudes = 1 / np.maximum(frequencies, 1 / side)
    layers = [
        np.fft.irfft2(amplitudes * np.exp(2j * np.pi * generator.random(amplitudes.shape)), (side, side))
        for _ in range(3)
    ]
    colour = np.stack([layers[0], layers[0] + layers[1] / 4, layers[0] + layers[2] / 4], axis=2)
    pixels = 128 + 48 * colour / colour.std() + generator.normal(0, 2, colour.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
