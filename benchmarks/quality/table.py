"""Home of the tables: one a set and split, one row a detector and score, against the best of principal components."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.cells import Cell, joined
from benchmarks.quality.comparison import Standing, compare, point
from benchmarks.quality.data import PictureSet
from benchmarks.quality.folds import split
from rayae.statistics import Figure

TITLES = ("detector", "score", "AUROC", "95 %", "less PCA", "95 %", "better", "CPU min")
STATISTICS, PCA = "statistics/none", "reconstruction/pca"
IN_HINDSIGHT = (STATISTICS, PCA)
"""Of these only the score that ranks the test pictures best is shown: the choice is in favour of the floor."""
Name = tuple[str, int, str]
"""Detector, seed and score."""
Scores = NDArray[np.float64]


def rank(pictures: PictureSet, kind: str, cells: Iterable[Cell], seed: int) -> list[list[str]]:
    """The rows of one set and split; detectors of which a fold is not there yet have none."""
    folds, sides = split(pictures.is_defect, pictures.groups, kind, seed)
    by_detector: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        by_detector[cell.plan.detector, cell.plan.seed].append(cell)
    scores: dict[Name, Scores] = {}
    for (detector, number), some in by_detector.items():
        columns = joined(some, sides, len(folds))
        if columns is not None:
            if detector == STATISTICS:
                columns = oriented(with_file_size(columns, pictures), pictures, folds)
            chosen = best(columns, pictures, folds) if detector in IN_HINDSIGHT else columns
            scores |= {(detector, number, name): values for name, values in chosen.items()}
    minutes = {name: float(np.mean([cell.cpu_minutes for cell in by_detector[name[:2]]])) for name in scores}
    standings = stand(scores, pictures, folds, seed)
    return [row(name, standings[name], minutes[name]) for name in scores]


def with_file_size(columns: Mapping[str, Scores], pictures: PictureSet) -> dict[str, Scores]:
    """The statistics, and the size of the file where there is one."""
    sizes = {} if pictures.file_bytes is None else {"size_bytes": pictures.file_bytes.astype(np.float64)}
    return {**columns, **sizes}


def oriented(columns: Mapping[str, Scores], pictures: PictureSet, folds: NDArray[np.intp]) -> dict[str, Scores]:
    """Each column in the direction in which it ranks the test pictures better."""
    found = {}
    for name, values in columns.items():
        is_upside_down = point(values, pictures.is_defect, folds) < 0.5
        found[f"low {name}" if is_upside_down else name] = -values if is_upside_down else values
    return found


def best(columns: Mapping[str, Scores], pictures: PictureSet, folds: NDArray[np.intp]) -> dict[str, Scores]:
    """The one column that ranks the test pictures best, marked by a star."""
    name = max(columns, key=lambda column: point(columns[column], pictures.is_defect, folds))
    return {f"{name} *": columns[name]}


def stand(
    scores: Mapping[Name, Scores], pictures: PictureSet, folds: NDArray[np.intp], seed: int
) -> dict[Name, Standing]:
    """The figures of each score, with the difference to the best of the principal components where that is there."""
    reference = next((name for name in scores if name[0] == PCA), None)
    texts = {str(name): values for name, values in scores.items()}
    asked = None if reference is None else str(reference)
    found = compare(texts, asked, pictures.is_defect, folds, pictures.clusters, seed)
    return {name: found[str(name)] for name in scores}


def row(name: Name, standing: Standing, minutes: float) -> list[str]:
    """One row, in text; seeds other than 0 stand with the detector."""
    detector, seed, score = name
    difference = standing.difference
    apart = ["", "", ""]
    if difference is not None:
        apart = [f"{difference.value:+.3f}", span(difference, "+"), "yes" if standing.is_better else "no"]
    figures = [f"{standing.auroc.value:.3f}", span(standing.auroc, ""), *apart, f"{minutes:.1f}"]
    return [f"{detector} #{seed}" if seed else detector, score, *figures]


def title(pictures: PictureSet, kind: str) -> str:
    """What a table is of, with the groups that its intervals stand on."""
    defects = pictures.is_defect
    counts = f"{int((~defects).sum()):,} normal, {int(defects.sum()):,} defects"
    groups = "no groups"
    if pictures.groups is not None:
        both = [len(np.unique(pictures.groups[chosen])) for chosen in (~defects, defects)]
        groups = f"normal of {both[0]:,} groups, defects of {both[1]:,}"
    return f"{pictures.name}, {'by group' if kind == 'group' else 'at random'}: {counts}; {groups}; * in hindsight"


def span(figure: Figure, sign: str) -> str:
    """An interval, or a dash where there is none."""
    return "-" if figure.low is None or figure.high is None else f"{figure.low:{sign}.3f} to {figure.high:{sign}.3f}"
