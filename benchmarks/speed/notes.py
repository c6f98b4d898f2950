"""Home of the notes that a program takes while it works: when it has scored how many images."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.speed.model import Score, opened

FIRST, LAST = 0.2, 0.95
"""Shares of the images between which a rate is steady: after every start, and before the first worker has no more."""


def noting(bundle: str, out: str) -> Score:
    """The model, which adds a line to a file in `out` after each batch."""
    score, path = opened(bundle), Path(out, f"notes-{os.getpid()}.txt")

    def scored(pixels: np.ndarray) -> np.ndarray:
        found = score(pixels)
        with path.open("a") as file:
            file.write(f"{time.time():.4f} {len(pixels)}\n")
        return found

    return scored


def notes_in(out: Path) -> list[tuple[float, int]]:
    """All notes of a run: when, and how many images."""
    lines = [line.split() for path in out.glob("notes-*.txt") for line in path.read_text().splitlines()]
    return [(float(when), int(images)) for when, images in lines]


def steady_rate(notes: Iterable[tuple[float, int]]) -> float:
    """Images a second: the slope of a line through the images done by each moment of the steady part."""
    when, images = (np.array(column, dtype=float) for column in zip(*sorted(notes), strict=True))
    done = images.cumsum()
    steady = (done >= FIRST * done[-1]) & (done <= LAST * done[-1])
    return float(np.polyfit(when[steady] - when[0], done[steady], 1)[0])
