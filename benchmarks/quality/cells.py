"""Home of the cells: the scores of one detector on one fold, kept as JSON lines, so that a run of hours can go on.

Scores are kept, not figures: a difference is taken picture by picture, and figures can be had anew without training.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.budget import Budget
from benchmarks.quality.data import PictureSet
from benchmarks.quality.detectors import Fit
from benchmarks.quality.folds import Sides
from rayae.errors import DataError

DIGITS = 7
"""Significant digits that are kept of a score, as float32 has."""


@dataclass(frozen=True)
class Plan:
    """What a cell is of; two cells of one plan hold the same scores."""

    set: str
    digest: str
    """Of the pictures, so that a set that was made anew in another way is not mixed with the old one."""
    split: str
    fold: int
    detector: str
    seed: int
    minutes: float


@dataclass(frozen=True)
class Cell:
    """The scores of the test pictures of a fold, in the order of the set, and what training took."""

    plan: Plan
    cpu_minutes: float
    wall_minutes: float
    scores: dict[str, list[float]]


def fill(plan: Plan, pictures: PictureSet, sides: Sides, fit: Fit) -> Cell:
    """Train and score; DataError when the detector gives other than a finite number a picture."""
    budget = Budget(plan.minutes)
    score = fit(pictures.pixels[sides.train], pictures.pixels[sides.calibration], plan.seed, plan.minutes)
    cpu_minutes, wall_minutes = budget.cpu_minutes, budget.wall_minutes
    found = score(pictures.pixels[sides.test])
    for name, values in found.items():
        if values.shape != sides.test.shape or not np.isfinite(values).all():
            raise DataError(
                f"{plan.detector} was asked for {len(sides.test):,} finite scores {name} of {plan.set}, and gave "
                f"{int(np.isfinite(values).sum()):,} in the shape {list(values.shape)}; mend the detector."
            )
    scores = {name: [_rounded(value) for value in values] for name, values in found.items()}
    return Cell(plan, round(cpu_minutes, 3), round(wall_minutes, 3), scores)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


class CellFile:
    """The finished cells, one a line."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def read(self) -> dict[Plan, Cell]:
        """All that are there; a last line without its end was cut, and is taken away. DataError for other damage."""
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            self.path.write_bytes(whole)
        cells = [self._parse(number, line) for number, line in enumerate(whole.splitlines(), 1)]
        return {cell.plan: cell for cell in cells}

    def append(self, cell: Cell) -> None:
        """Add a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(cell), allow_nan=False) + "\n")

    def _parse(self, number: int, line: bytes) -> Cell:
        try:
            values = json.loads(line)
            return Cell(**{**values, "plan": Plan(**values["plan"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"line {number} of {self.path} is no finished cell: {error}; delete that line.") from error


def joined(cells: Iterable[Cell], sides: list[Sides], rows: int) -> dict[str, NDArray[np.float64]] | None:
    """Each score of every picture `[N]`, from one cell a fold; None where a fold is not there yet."""
    by_fold = {cell.plan.fold: cell for cell in cells}
    if len(by_fold) < len(sides):
        return None
    found = {name: np.full(rows, np.nan) for name in by_fold[0].scores}
    for fold, side in enumerate(sides):
        for name, values in by_fold[fold].scores.items():
            found[name][side.test] = values
    return found
