"""Home of the folds: every picture is tested once, by a detector that has not seen it, nor by group its neighbours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayae.splits import split_by_group
from rayae.statistics import Bools

FOLDS = 4
CALIBRATION_SHARE = 0.2
SPLITS = ("group", "random")


@dataclass(frozen=True)
class Sides:
    """Rows of one fold: training and calibration are normal pictures, testing is both."""

    train: NDArray[np.intp]
    calibration: NDArray[np.intp]
    test: NDArray[np.intp]


def number_folds(is_defect: Bools, groups: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each picture, from 0; a group is in one fold only, and both classes are spread evenly.

    Groups, the largest first and equals by lot, go where both classes stay nearest to an even share. To split at
    random, give each picture a group of its own.
    """
    count = int(groups.max()) + 1
    sizes = np.stack([np.bincount(groups[chosen], minlength=count) for chosen in (~is_defect, is_defect)], axis=1)
    shares = sizes / np.maximum(sizes.sum(0), 1)
    lot = np.random.default_rng(seed).permutation(count)
    order = lot[np.argsort(-shares[lot].sum(1), kind="stable")]
    filled, placed = np.zeros((folds, 2)), np.zeros(count, dtype=np.intp)
    for group in order:
        cost = (filled * shares[group]).sum(1)  # how much the sum of squared shares would grow, less what is the same
        placed[group] = int(cost.argmin())
        filled[placed[group]] += shares[group]
    return placed[groups]


def split(
    is_defect: Bools, groups: NDArray[np.intp] | None, kind: str, seed: int
) -> tuple[NDArray[np.intp], list[Sides]]:
    """The fold of each picture and the sides of each fold; `kind` is `group` or `random`.

    Calibration is a fifth of the normal pictures of the other folds, by group where there are groups and the folds
    are by group.
    """
    alone = np.arange(len(is_defect))
    clusters = alone if groups is None or kind == "random" else groups
    numbers = number_folds(is_defect, clusters, FOLDS, seed)
    return numbers, [_sides(is_defect, clusters, numbers, fold, seed) for fold in range(FOLDS)]


def _sides(is_defect: Bools, clusters: NDArray[np.intp], numbers: NDArray[np.intp], fold: int, seed: int) -> Sides:
    normals = np.flatnonzero((numbers != fold) & ~is_defect)
    shares = {"calibration": CALIBRATION_SHARE}
    names = split_by_group(clusters[normals].astype(np.int64), shares, "train", seed + fold)
    return Sides(normals[names == "train"], normals[names == "calibration"], np.flatnonzero(numbers == fold))
