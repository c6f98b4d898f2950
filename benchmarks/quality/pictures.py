"""Two normal crops of each texture as PNG files, for the docs: `python -m benchmarks.quality.pictures FOLDER`."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality.data import KINDS, texture

EACH = 2
SHEETS = 6


def write(folder: str) -> None:
    """Each from another sheet."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        pictures = texture(f"{kind}-rgb", SHEETS)
        normal = np.flatnonzero(~pictures.is_defect)
        for number, row in enumerate(normal[:: len(normal) // EACH][:EACH]):
            Image.fromarray(pictures.pixels[row]).save(Path(folder) / f"{kind}-{number}.png")


if __name__ == "__main__":
    write(*sys.argv[1:])
